#include "engine/ops/linear.h"

#include "engine/ops/support.h"

namespace mith {
namespace {

/// y[m,n] = op(a) op(b); the extents follow from y and a. With a leading dimension, so many of them.
void run(const Tensor& y, const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b,
         const Epilogue& epilogue = {}) {
  if (y.numel() == 0) return;
  MatmulProblem problem;
  problem.dtype = a.dtype();
  if (y.shape().rank() == 3) problem.batch = y.dim(0);
  problem.m = y.dim(-2);
  problem.n = y.dim(-1);
  problem.k = a.dim(transpose_a ? -2 : -1);
  problem.transpose_a = transpose_a;
  problem.transpose_b = transpose_b;
  problem.epilogue = epilogue;
  ScratchMemory memory(a.device());
  run_matmul(a.stream(), problem, y.raw(), a.raw(), b.raw(), memory.scratch());
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) {
  OperatorScope const scope("matmul");
  check_rank("matmul", a, 2);
  check_rank("matmul", b, 2);
  int64_t const m = a.dim(transpose_a ? 1 : 0), k = a.dim(transpose_a ? 0 : 1);
  int64_t const n = b.dim(transpose_b ? 0 : 1);
  check(b.dim(transpose_b ? 1 : 0) == k, "matmul: ", a.shape(), transpose_a ? " transposed" : "", " by ", b.shape(),
        transpose_b ? " transposed" : "");
  check_operand("matmul", "second operand", b, b.shape(), a);
  if (k == 0) return Tensor::zeros({m, n}, a.dtype(), a.device());
  Tensor y = Tensor::empty({m, n}, a.dtype(), a.device());
  run(y, a, b, transpose_a, transpose_b);
  return y;
}

void matmul_into(const Tensor& y, const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) {
  run(y, a, b, transpose_a, transpose_b);
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, Activation activation) {
  OperatorScope const scope("linear");
  check_rank("linear", x, 2);
  check(weight.defined() && weight.shape().rank() == 2, "linear: the weight must be [o,d]");
  check(x.dim(1) > 0, "linear: the input ", x.shape(), " has no features");
  int64_t const outputs = weight.dim(0);
  check_operand("linear", "weight", weight, {outputs, x.dim(1)}, x);
  Epilogue epilogue;
  epilogue.activation = activation;
  if (bias.defined()) {
    check_operand("linear", "bias", bias, {outputs}, x);
    epilogue.bias = bias.raw();
  }
  Tensor const y = Tensor::empty({x.dim(0), outputs}, x.dtype(), x.device());
  run(y, x, weight, false, true, epilogue);

  LinearNode node;
  node.activation = activation;
  node.weight = weight;
  node.has_bias = bias.defined();
  if (tracked(weight)) node.input = x;
  if (activation != Activation::none) node.output = y;
  return record(y, {x, weight, bias}, std::move(node));
}

std::vector<Attribute> LinearNode::attributes() const {
  return {{"bias", has_bias ? "yes" : "no"}, {"activation", activation == Activation::relu ? "relu" : "none"}};
}

int64_t LinearNode::flops() const { return 2 * outputs[0].shape[0] * weight.numel(); }

void LinearNode::backward(Gradients& g) {
  OperatorScope const scope("linear backward");
  Tensor const dy = activation == Activation::relu ? relu_mask(g.output(), output) : g.output();
  if (g.wants(0)) g.give(0, matmul(dy, weight));
  if (g.wants(1)) g.give(1, matmul(dy, input, true, false));
  if (g.wants(2)) g.give(2, column_sums(dy));
}

}  // namespace mith
