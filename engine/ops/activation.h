// Activations beside ReLU, each element on its own. NaN stays NaN.
#pragma once
#include "engine/autograd/tape.h"
#include "kernels/map/activation.h"

namespace mith {

Tensor relu6(const Tensor& x);  ///< min(max(x, 0), 6)
Tensor leaky_relu(const Tensor& x, double negative_slope = 0.01);
Tensor sigmoid(const Tensor& x);
Tensor tanh(const Tensor& x);
Tensor silu(const Tensor& x);  ///< x * sigmoid(x)
Tensor gelu(const Tensor& x);  ///< x * Phi(x), the exact form by erf

/// What the activations share; each has a node of its own name.
struct ActivationNode : Node {
  Curve curve;
  double parameter = 0;  ///< leaky ReLU's slope
  Tensor kept;           ///< the output where it tells the slope, else the input
  explicit ActivationNode(Curve c) : curve(c) {}
  void backward(Gradients&) override;
  Tensor again(const std::vector<Tensor>& values) const override;
};

struct Relu6Node final : ActivationNode {
  Relu6Node() : ActivationNode(Curve::relu6) {}
  std::string_view name() const override { return "relu6"; }
};

struct LeakyReluNode final : ActivationNode {
  LeakyReluNode() : ActivationNode(Curve::leaky_relu) {}
  std::string_view name() const override { return "leaky_relu"; }
  std::vector<Attribute> attributes() const override;
};

struct SigmoidNode final : ActivationNode {
  SigmoidNode() : ActivationNode(Curve::sigmoid) {}
  std::string_view name() const override { return "sigmoid"; }
};

struct TanhNode final : ActivationNode {
  TanhNode() : ActivationNode(Curve::tanh) {}
  std::string_view name() const override { return "tanh"; }
};

struct SiluNode final : ActivationNode {
  SiluNode() : ActivationNode(Curve::silu) {}
  std::string_view name() const override { return "silu"; }
};

struct GeluNode final : ActivationNode {
  GeluNode() : ActivationNode(Curve::gelu) {}
  std::string_view name() const override { return "gelu"; }
};

}  // namespace mith
