#include "engine/ops/normalization.h"

#include "engine/ops/support.h"
#include "kernels/launch/table.h"
#include "kernels/row/column_groups.h"

namespace mith {
namespace {

template <class T>
const Kernel<double*, const T*, int64_t, int64_t> statistics_kernel{"batch_norm_statistics", dtype_of<T>};
template <class T>
const Kernel<T*, T*, T*, T*, const double*, const T*, double, double, int64_t, int64_t> finish_kernel{
    "batch_norm_finish", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, double, int64_t> inverse_std_kernel{"batch_norm_inverse_std", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, const T*, const T*, const T*, const T*, const T*, bool, int64_t, int64_t> forward_kernel{
    "batch_norm_forward", dtype_of<T>};
template <class T>
const Kernel<double*, const T*, const T*, const T*, const T*, const T*, const T*, bool, int64_t, int64_t>
    backward_sums_kernel{"batch_norm_backward_sums", dtype_of<T>};
template <class T>
const Kernel<T*, const double*, int64_t, int64_t> total_kernel{"column_sums_total", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, const T*, const T*, const T*, const T*, const T*, const T*, bool, int64_t, int64_t>
    backward_kernel{"batch_norm_backward", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, const T*, const T*, int64_t, int64_t> backward_eval_kernel{"batch_norm_backward_eval",
                                                                                      dtype_of<T>};

void check_operands(const Tensor& x, const Tensor& weight, const Tensor& bias, const BatchNormState& state,
                    const BatchNormTail& tail) {
  check(x.defined() && x.shape().rank() >= 2, "batch_norm: the input must be [..., c]");
  Shape const channels{x.dim(-1)};
  check_operand("batch_norm", "weight", weight, channels, x);
  check_operand("batch_norm", "bias", bias, channels, x);
  check_operand("batch_norm", "running mean", state.running_mean, channels, x);
  check_operand("batch_norm", "running variance", state.running_var, channels, x);
  if (tail.residual.defined()) check_operand("batch_norm", "residual", tail.residual, x.shape(), x);
}

/// Two column sums a group of rows.
Tensor partial_sums(const Tensor& x) {
  return Tensor::empty({column_groups(rows_of(x)), 2, x.dim(-1)}, DType::f64, x.device());
}

/// The output, recorded.
Tensor normalise(const Tensor& x, BatchNormNode node, const BatchNormTail& tail) {
  Tensor y = Tensor::empty_like(x);
  node.rectified = tail.activation == Activation::relu;
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T* const residual = tail.residual.defined() ? tail.residual.data<T>() : nullptr;
    forward_kernel<T>(x.stream(), y.data<T>(), x.data<T>(), node.mean.data<T>(), node.inverse_std.data<T>(),
                      node.weight.data<T>(), node.bias.data<T>(), residual, node.rectified, rows_of(x), x.dim(-1));
  });
  if (node.rectified && (!node.training || tail.residual.defined())) node.output = y;
  std::vector<Tensor> inputs{x, node.weight, node.bias};
  if (tail.residual.defined()) inputs.push_back(tail.residual);
  return record(y, inputs, std::move(node));
}

/// [2, c]: the gradients of bias and weight.
Tensor backward_sums(const BatchNormNode& node, const Tensor& dy) {
  Tensor const& x = node.input;
  int64_t const rows = rows_of(x), channels = x.dim(-1);
  Tensor const partial = partial_sums(x);
  Tensor sums = Tensor::empty({2, channels}, x.dtype(), x.device());
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    backward_sums_kernel<T>(x.stream(), partial.data<double>(), dy.data<T>(), x.data<T>(), node.mean.data<T>(),
                            node.inverse_std.data<T>(), node.weight.data<T>(), node.bias.data<T>(),
                            node.mask_from_input(), rows, channels);
    total_kernel<T>(x.stream(), sums.data<T>(), partial.data<double>(), column_groups(rows), 2 * channels);
  });
  return sums;
}

Tensor input_gradient(const BatchNormNode& node, const Tensor& dy, const Tensor& sums) {
  Tensor dx = Tensor::empty_like(dy);
  int64_t const rows = rows_of(dy), channels = dy.dim(-1);
  dispatch(dy.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T *const inverse_std = node.inverse_std.data<T>(), *const weight = node.weight.data<T>();
    if (node.training)
      backward_kernel<T>(dy.stream(), dx.data<T>(), dy.data<T>(), node.input.data<T>(), node.mean.data<T>(),
                         inverse_std, weight, node.bias.data<T>(), sums.data<T>(), node.mask_from_input(), rows,
                         channels);
    else
      backward_eval_kernel<T>(dy.stream(), dx.data<T>(), dy.data<T>(), inverse_std, weight, rows, channels);
  });
  return dx;
}

}  // namespace

Tensor batch_norm_eval(const Tensor& x, const Tensor& weight, const Tensor& bias, const BatchNormState& state,
                       const BatchNormTail& tail) {
  OperatorScope const scope("batch_norm");
  check_operands(x, weight, bias, state, tail);
  BatchNormNode node;
  node.epsilon = state.epsilon;
  node.weight = weight;
  node.bias = bias;
  node.mean = state.running_mean;
  node.inverse_std = Tensor::empty_like(weight);
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    inverse_std_kernel<T>(x.stream(), node.inverse_std.data<T>(), state.running_var.data<T>(), state.epsilon,
                          x.dim(-1));
  });
  if (tracked(weight) || tracked(bias)) node.input = x;
  return normalise(x, std::move(node), tail);
}

Tensor batch_norm_train(const Tensor& x, const Tensor& weight, const Tensor& bias, BatchNormState& state, bool update,
                        const BatchNormTail& tail) {
  OperatorScope const scope("batch_norm");
  check_operands(x, weight, bias, state, tail);
  check(rows_of(x) >= 2, "batch_norm: training needs at least two values a channel, not ", x.shape());
  BatchNormNode node;
  node.training = true;
  node.epsilon = state.epsilon;
  node.input = x;
  node.weight = weight;
  node.bias = bias;
  node.mean = Tensor::empty_like(weight);
  node.inverse_std = Tensor::empty_like(weight);
  Tensor const partial = partial_sums(x);
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    statistics_kernel<T>(x.stream(), partial.data<double>(), x.data<T>(), rows_of(x), x.dim(-1));
    finish_kernel<T>(x.stream(), node.mean.data<T>(), node.inverse_std.data<T>(),
                     update ? state.running_mean.data<T>() : nullptr, update ? state.running_var.data<T>() : nullptr,
                     partial.data<double>(), x.data<T>(), state.momentum, state.epsilon, rows_of(x), x.dim(-1));
  });
  return normalise(x, std::move(node), tail);
}

std::vector<Attribute> BatchNormNode::attributes() const {
  std::vector<Attribute> all{{"epsilon", cat(epsilon)}, {"statistics", training ? "batch" : "running"}};
  if (inputs.size() > 3) all.emplace_back("residual", "added");
  if (rectified) all.emplace_back("activation", "relu");
  return all;
}

void BatchNormNode::backward(Gradients& g) {
  OperatorScope const scope("batch_norm backward");
  Tensor const dy = output.defined() ? relu_mask(g.output(), output) : g.output();
  Tensor sums;
  if (training || g.wants(1) || g.wants(2)) sums = backward_sums(*this, dy);
  if (g.wants(0)) g.give(0, input_gradient(*this, dy, sums));
  if (inputs.size() > 3 && g.wants(3)) g.give(3, dy);
  Shape const channels = weight.shape();
  if (g.wants(1)) g.give(1, sums.rows(1, 1).view(channels));
  if (g.wants(2)) g.give(2, sums.rows(0, 1).view(channels));
}

}  // namespace mith
