#include "engine/ops/normalization.h"
#include "engine/ops/support.h"
#include "kernels/launch/table.h"
#include "kernels/row/column_groups.h"

namespace mith {
namespace {

template <class T>
const Kernel<T*, T*, T*, const T*, const T*, const T*, double, int64_t, int64_t> forward_kernel{"layer_norm_forward",
                                                                                                dtype_of<T>};
template <class T>
const Kernel<T*, const T*, const T*, const T*, const T*, const T*, int64_t, int64_t> backward_kernel{
    "layer_norm_backward", dtype_of<T>};
template <class T>
const Kernel<double*, const T*, const T*, const T*, const T*, int64_t, int64_t> backward_sums_kernel{
    "layer_norm_backward_sums", dtype_of<T>};
template <class T>
const Kernel<T*, const double*, int64_t, int64_t> total_kernel{"column_sums_total", dtype_of<T>};

}  // namespace

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon) {
  OperatorScope const scope("layer_norm");
  check(x.defined() && x.shape().rank() >= 1 && x.dim(-1) > 0, "layer_norm: rows of the input are empty");
  check_operand("layer_norm", "weight", weight, {x.dim(-1)}, x);
  check_operand("layer_norm", "bias", bias, {x.dim(-1)}, x);
  LayerNormNode node;
  node.epsilon = epsilon;
  node.input = x;
  node.weight = weight;
  node.mean = Tensor::empty({rows_of(x)}, x.dtype(), x.device());
  node.inverse_std = Tensor::empty_like(node.mean);
  Tensor const y = filled(x.shape(), x, [&]<class T>(T* out) {
    forward_kernel<T>(x.stream(), out, node.mean.data<T>(), node.inverse_std.data<T>(), x.data<T>(), weight.data<T>(),
                      bias.data<T>(), epsilon, rows_of(x), x.dim(-1));
  });
  return record(y, {x, weight, bias}, std::move(node));
}

std::vector<Attribute> LayerNormNode::attributes() const { return {{"epsilon", cat(epsilon)}}; }

Tensor LayerNormNode::again(const std::vector<Tensor>& values) const {
  return layer_norm(values[0], values[1], values[2], epsilon);
}

void LayerNormNode::backward(Gradients& g) {
  OperatorScope const scope("layer_norm backward");
  Tensor const& dy = g.output();
  int64_t const rows = rows_of(dy), cols = dy.dim(-1);
  if (g.wants(0))
    g.give(0, filled(dy.shape(), dy, [&]<class T>(T* dx) {
             backward_kernel<T>(dy.stream(), dx, dy.data<T>(), input.data<T>(), mean.data<T>(), inverse_std.data<T>(),
                                weight.data<T>(), rows, cols);
           }));
  if (!g.wants(1) && !g.wants(2)) return;
  int64_t const groups = column_groups(rows);
  Tensor const partial = Tensor::empty({groups, 2, cols}, DType::f64, dy.device());
  Tensor const sums = filled({2, cols}, dy, [&]<class T>(T* out) {
    backward_sums_kernel<T>(dy.stream(), partial.data<double>(), dy.data<T>(), input.data<T>(), mean.data<T>(),
                            inverse_std.data<T>(), rows, cols);
    total_kernel<T>(dy.stream(), out, partial.data<double>(), groups, 2 * cols);
  });
  if (g.wants(1)) g.give(1, sums.rows(1, 1).view({cols}));
  if (g.wants(2)) g.give(2, sums.rows(0, 1).view({cols}));
}

}  // namespace mith
