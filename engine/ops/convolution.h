// Convolution: any kernel, stride, padding, dilation and groups, through the providers.
#pragma once
#include "engine/autograd/tape.h"
#include "kernels/providers/provider.h"

namespace mith {

struct Conv2dOptions {
  int64_t stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, dilation_h = 1, dilation_w = 1, groups = 1;
};

/// x [n,h,w,c], weight OHWI [o,kh,kw,c/groups], bias [o] or undefined -> [n,oh,ow,o]. With `activation` the ReLU runs
/// in the convolution's epilogue.
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& = {},
              Activation = Activation::none);

struct ConvTranspose2dOptions {
  int64_t stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, output_pad_h = 0, output_pad_w = 0, dilation_h = 1,
          dilation_w = 1;
};

/// The convolution's input gradient as an operator: x [n,h,w,c], weight [c,kh,kw,o] (PyTorch's [c,o,kh,kw], permuted as
/// OIHW is), bias [o] or undefined -> [n,oh,ow,o] with oh = (h-1) stride - 2 pad + dilation (kh-1) + output_pad + 1.
Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvTranspose2dOptions& = {});

struct Conv2dNode final : Node {
  Conv2dShape shape;
  Activation activation = Activation::none;
  Tensor input;  ///< kept if the weight's gradient may be asked for
  Tensor weight;
  Tensor output;  ///< kept with an activation: its sign is the mask
  bool has_bias = false;
  std::string_view name() const override { return "conv2d"; }
  std::vector<Attribute> attributes() const override;
  int64_t flops() const override;
  void backward(Gradients&) override;
};

struct ConvTranspose2dNode final : Node {
  Conv2dShape shape;  ///< of the convolution from the output to the input
  Tensor input;       ///< kept if the weight's gradient may be asked for
  Tensor weight;
  bool has_bias = false;
  std::string_view name() const override { return "conv_transpose2d"; }
  std::vector<Attribute> attributes() const override;
  int64_t flops() const override;
  void backward(Gradients&) override;
};

}  // namespace mith
