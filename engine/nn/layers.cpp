#include "engine/nn/layers.h"

#include <cmath>

#include "engine/nn/initialisation.h"

namespace mith {
namespace {

/// Weight and bias of a layer: normal and zero where a deviation is given, else PyTorch's defaults, both uniform in
/// +-1/sqrt(fan_in) (He et al. 2015 with a = sqrt(5)).
void draw_layer(Parameter& weight, Parameter* bias, double deviation, int64_t fan_in, const DrawKey& key) {
  double const bound = 1 / std::sqrt(static_cast<double>(fan_in));
  if (deviation > 0) {
    draw_normal(weight, deviation, key);
    if (bias) fill(*bias, 0);
  } else {
    draw_uniform(weight, bound, key, 0);
    if (bias) draw_uniform(*bias, bound, key, 1);
  }
}

}  // namespace

Conv2d::Conv2d(const Options& o)
    : options(o),
      weight_(add_parameter("weight", {o.out, o.kernel_h, o.kernel_w, o.in / o.window.groups}, {OuterLayout::oihw})),
      bias_(o.bias ? &add_parameter("bias", {o.out}) : nullptr) {
  check(o.in % o.window.groups == 0 && o.out % o.window.groups == 0, "convolution of ", o.in, " to ", o.out,
        " channels in ", o.window.groups, " groups");
}

Tensor Conv2d::forward(const Tensor& x, Context&) {
  return conv2d(x, weight_.value, bias_ ? bias_->value : Tensor(), options.window, options.activation);
}

void Conv2d::initialise_own(const DrawKey& key) {
  int64_t const fan_in = options.in / options.window.groups * options.kernel_h * options.kernel_w;
  draw_layer(weight_, bias_, options.deviation, fan_in, key);
}

ConvTranspose2d::ConvTranspose2d(const Options& o)
    : options(o),
      weight_(add_parameter("weight", {o.in, o.kernel, o.kernel, o.out}, {OuterLayout::oihw})),
      bias_(add_parameter("bias", {o.out})) {}

Tensor ConvTranspose2d::forward(const Tensor& x, Context&) {
  return conv_transpose2d(x, weight_.value, bias_.value, options.window);
}

void ConvTranspose2d::initialise_own(const DrawKey& key) {
  // PyTorch takes the second dimension for what comes in, here too.
  draw_layer(weight_, &bias_, options.deviation, options.out * options.kernel * options.kernel, key);
}

Linear::Linear(const Options& o)
    : options(o),
      weight_(add_parameter("weight", {o.out, o.in}, o.layout)),
      bias_(!o.bias
                ? nullptr
                : &add_parameter("bias", {o.out},
                                 o.layout.kind == OuterLayout::linear_before_unflatten ? o.layout : OuterLayout{})) {}

Tensor Linear::forward(const Tensor& x, Context&) {
  return linear(x, weight_.value, bias_ ? bias_->value : Tensor(), options.activation);
}

void Linear::initialise_own(const DrawKey& key) { draw_layer(weight_, bias_, options.deviation, options.in, key); }

BatchNorm::BatchNorm(int64_t channels, const BatchNormOptions& options)
    : weight_(add_parameter("weight", {channels})),
      bias_(add_parameter("bias", {channels})),
      mean_(add_buffer("running_mean", Tensor::zeros({channels}))),
      variance_(add_buffer("running_var", Tensor::full({channels}, 1))),
      batches_(add_buffer("num_batches_tracked", Tensor::zeros({}, DType::i64))),
      options_(options) {
  fill(weight_, 1);
}

Tensor BatchNorm::operator()(const Tensor& x, const Tensor& residual, Context& context) {
  ScopeName const scope(name());
  return normalised(x, residual, context);
}

Tensor BatchNorm::normalised(const Tensor& x, const Tensor& residual, Context& context) {
  BatchNormState state{mean_.value, variance_.value, options_.momentum, options_.epsilon};
  BatchNormTail const tail{.activation = options_.activation, .residual = residual};
  bool const fixed = context.fixed_statistics || !weight_.trainable;  // frozen is frozen whole
  if (!context.training || fixed) return batch_norm_eval(x, weight_.value, bias_.value, state, tail);
  if (context.update_statistics) {
    int64_t const seen = batches_.value.to_host<int64_t>()[0] + 1;
    batches_.value.copy_from(Tensor::from(std::vector{seen}, {}, Device::cpu));
  }
  return batch_norm_train(x, weight_.value, bias_.value, state, context.update_statistics, tail);
}

void BatchNorm::initialise_own(const DrawKey&) {
  fill(weight_, 1);
  fill(bias_, 0);
  fill(mean_, 0);
  fill(variance_, 1);
  batches_.value.fill_zero();
}

Module& Sequential::then(std::unique_ptr<Module> layer) {
  Module& added = add(std::to_string(layers_.size()), std::move(layer));
  layers_.emplace_back([&added](const Tensor& x, Context& context) { return added(x, context); });
  return added;
}

Sequential& Sequential::then(Function layer) {
  layers_.push_back(std::move(layer));
  return *this;
}

Sequential& Sequential::then(Tensor (*layer)(const Tensor&)) {
  return then([layer](const Tensor& x, Context&) { return layer(x); });
}

Sequential& Sequential::skip() { return then(Function()); }

Tensor Sequential::forward(const Tensor& x, Context& context) {
  Tensor y = x;
  for (const Function& layer : layers_)
    if (layer) y = layer(y, context);
  return y;
}

Tensor Dropout::forward(const Tensor& x, Context& context) {
  if (!context.training || p_ == 0) return x;
  return dropout(x, p_, context.ids, context.key.with(Purpose::dropout, context.next_stream++));
}

}  // namespace mith
