#include "nets/blocks.h"

#include <cmath>

namespace mith {

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

void conv_norm_activation(Sequential& layers, const Conv2d::Options& convolution, Tensor (*activation)(const Tensor&)) {
  Sequential& block = layers.then<Sequential>();
  block.then<Conv2d>(convolution);
  block.then<BatchNorm>(convolution.out);
  if (activation) block.then(activation);
}

}  // namespace mith
