#include "nets/blocks.h"

#include <cmath>

namespace mith {
namespace {

Tensor affine(const Tensor& x, double scale, double shift) {
  Shape const channels{x.dim(3)};
  return channel_affine(x, Tensor::full(channels, scale, x.dtype(), x.device()),
                        Tensor::full(channels, shift, x.dtype(), x.device()));
}

}  // namespace

Conv2d::Options convolution(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t groups) {
  return {
      .in = in,
      .out = out,
      .kernel_h = kernel,
      .kernel_w = kernel,
      .window = {.stride_h = stride, .stride_w = stride, .pad_h = kernel / 2, .pad_w = kernel / 2, .groups = groups},
      .bias = false,
      .deviation = std::sqrt(2.0 / static_cast<double>(out * kernel * kernel))};
}

Conv2d::Options biased_convolution(int64_t in, int64_t out, Activation activation) {
  return {.in = in, .out = out, .window = {.pad_h = 1, .pad_w = 1}, .activation = activation};
}

void conv_norm_activation(Sequential& layers, const Conv2d::Options& convolution, Tensor (*activation)(const Tensor&)) {
  Sequential& block = layers.then<Sequential>();
  block.then<Conv2d>(convolution);
  block.then<BatchNorm>(convolution.out);
  if (activation) block.then(activation);
}

void head_field(Fields& f, std::vector<int64_t>& widths) {
  f.integers("head", widths, "widths of dense layers with ReLU before the last, as in 256-64", 1, 65536);
}

std::unique_ptr<Module> classifier_head(Linear::Options last, const std::vector<int64_t>& widths) {
  if (widths.empty()) return std::make_unique<Linear>(last);
  auto head = std::make_unique<Sequential>();
  for (int64_t const width : widths) {
    head->then<Linear>(Linear::Options{.in = last.in, .out = width, .activation = Activation::relu});
    head->skip();
    last.in = width;
  }
  last.deviation = 0;
  head->then<Linear>(last);
  return head;
}

Tensor pooled_features(const Tensor& x, Context& context) {
  context.feature("features", x);
  Tensor means = global_avg_pool2d(x);
  context.feature("penultimate", means);
  return means;
}

Tensor padded_to_multiple(const Tensor& x, int64_t multiple) {
  auto const missing = [&](int64_t side) { return (multiple - side % multiple) % multiple; };
  int64_t const right = missing(x.dim(2)), bottom = missing(x.dim(1));
  return right || bottom ? reflection_pad2d(x, {.right = right, .bottom = bottom}) : x;
}

Tensor cropped(const Tensor& x, int64_t height, int64_t width) {
  Tensor const rows = x.dim(1) == height ? x : narrow(x, 1, 0, height);
  return x.dim(2) == width ? rows : narrow(rows, 2, 0, width);
}

Tensor to_signed(const Tensor& x) { return affine(x, 2, -1); }
Tensor from_signed(const Tensor& x) { return affine(x, 0.5, 0.5); }

}  // namespace mith
