#include "engine/ops/activation.h"

#include "engine/ops/support.h"
#include "kernels/launch/table.h"

namespace mith {
namespace {

template <class T>
const Kernel<T*, const T*, Curve, double, int64_t> forward_kernel{"activation_forward", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, const T*, Curve, double, int64_t> backward_kernel{"activation_backward", dtype_of<T>};

template <class N>
Tensor apply(const char* op, const Tensor& x, N node) {
  OperatorScope const scope(op);
  check(x.defined(), op, ": the input is undefined");
  Tensor const y = filled(x.shape(), x, [&]<class T>(T* out) {
    forward_kernel<T>(x.stream(), out, x.data<T>(), node.curve, node.parameter, x.numel());
  });
  node.kept = output_tells_slope(node.curve) ? y : x;
  return record(y, {x}, std::move(node));
}

}  // namespace

Tensor relu6(const Tensor& x) { return apply("relu6", x, Relu6Node()); }
Tensor sigmoid(const Tensor& x) { return apply("sigmoid", x, SigmoidNode()); }
Tensor tanh(const Tensor& x) { return apply("tanh", x, TanhNode()); }
Tensor silu(const Tensor& x) { return apply("silu", x, SiluNode()); }
Tensor gelu(const Tensor& x) { return apply("gelu", x, GeluNode()); }

Tensor leaky_relu(const Tensor& x, double negative_slope) {
  LeakyReluNode node;
  node.parameter = negative_slope;
  return apply("leaky_relu", x, std::move(node));
}

std::vector<Attribute> LeakyReluNode::attributes() const { return {{"negative_slope", cat(parameter)}}; }

Tensor ActivationNode::again(const std::vector<Tensor>& values) const {
  switch (curve) {
    case Curve::relu6:
      return relu6(values[0]);
    case Curve::leaky_relu:
      return leaky_relu(values[0], parameter);
    case Curve::sigmoid:
      return sigmoid(values[0]);
    case Curve::tanh:
      return tanh(values[0]);
    case Curve::silu:
      return silu(values[0]);
    case Curve::gelu:
      return gelu(values[0]);
  }
  return Node::again(values);
}

void ActivationNode::backward(Gradients& g) {
  OperatorScope const scope("activation backward");
  Tensor const& dy = g.output();
  g.give(0, filled(dy.shape(), dy, [&]<class T>(T* dx) {
           backward_kernel<T>(dy.stream(), dx, dy.data<T>(), kept.data<T>(), curve, parameter, dy.numel());
         }));
}

}  // namespace mith
