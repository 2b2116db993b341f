#include "engine/nn/attention.h"

#include <cmath>

#include "engine/nn/initialisation.h"

namespace mith {

LayerNorm::LayerNorm(int64_t channels, double epsilon)
    : weight_(add_parameter("weight", {channels})), bias_(add_parameter("bias", {channels})), epsilon_(epsilon) {
  fill(weight_, 1);
}

Tensor LayerNorm::forward(const Tensor& x, Context&) { return layer_norm(x, weight_.value, bias_.value, epsilon_); }

void LayerNorm::initialise_own(const DrawKey&) {
  fill(weight_, 1);
  fill(bias_, 0);
}

MultiheadAttention::MultiheadAttention(int64_t channels, int64_t heads)
    : heads_(heads),
      in_weight_(add_parameter("in_proj_weight", {3 * channels, channels})),
      in_bias_(add_parameter("in_proj_bias", {3 * channels})),
      out_(add("out_proj", std::make_unique<Linear>(Linear::Options{.in = channels, .out = channels}))) {
  check(heads > 0 && channels % heads == 0, "attention of ", channels, " channels in ", heads, " heads");
}

Tensor MultiheadAttention::forward(const Tensor& x, Context& context) {
  check(x.shape().rank() == 3, "attention: tokens must be [n,t,c], not ", x.shape());
  int64_t const n = x.dim(0), t = x.dim(1), c = x.dim(2);
  Tensor const qkv = linear(reshape(x, {n * t, c}), in_weight_.value, in_bias_.value);
  Tensor const mixed = self_attention(reshape(qkv, {n, t, 3 * c}), heads_);
  return reshape(out_(reshape(mixed, {n * t, c}), context), {n, t, c});
}

/// Uniform by Glorot & Bengio 2010; biases begin at zero.
void MultiheadAttention::initialise_own(const DrawKey& key) {
  Shape const& shape = in_weight_.value.shape();
  draw_uniform(in_weight_, std::sqrt(6.0 / static_cast<double>(shape[0] + shape[1])), key, 0);
  fill(in_bias_, 0);
}

}  // namespace mith
