// Fully connected layers, through the matrix product providers.
#pragma once
#include "engine/autograd/tape.h"
#include "kernels/providers/provider.h"

namespace mith {

/// x [n,d], weight [o,d], bias [o] or undefined -> [n,o]. With `activation` the ReLU runs in the product's epilogue.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, Activation = Activation::none);

struct LinearNode final : Node {
  Activation activation = Activation::none;
  Tensor input, weight, output;  ///< input: if the weight's gradient may be asked for; output: with an activation
  bool has_bias = false;
  std::string_view name() const override { return "linear"; }
  std::vector<Attribute> attributes() const override;
  int64_t flops() const override;
  void backward(Gradients&) override;
};

/// Plain product y = op(a) op(b), not recorded.
Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_a = false, bool transpose_b = false);

/// The same into y, which has the product's shape; or of [batch,..] operands, each with its own.
void matmul_into(const Tensor& y, const Tensor& a, const Tensor& b, bool transpose_a = false, bool transpose_b = false);

}  // namespace mith
