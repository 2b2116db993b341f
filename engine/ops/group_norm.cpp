#include "engine/ops/normalization.h"
#include "engine/ops/support.h"
#include "kernels/launch/table.h"
#include "kernels/row/column_groups.h"

namespace mith {
namespace {

template <class T>
const Kernel<double*, const T*, int64_t, int64_t, int64_t> statistics_kernel{"group_norm_statistics", dtype_of<T>};
template <class T>
const Kernel<T*, T*, const double*, const T*, double, int64_t, int64_t, int64_t, int64_t> finish_kernel{
    "group_norm_finish", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, const T*, const T*, const T*, const T*, int64_t, int64_t, int64_t> forward_kernel{
    "group_norm_forward", dtype_of<T>};
template <class T>
const Kernel<double*, const T*, const T*, const T*, const T*, int64_t, int64_t, int64_t> backward_sums_kernel{
    "group_norm_backward_sums", dtype_of<T>};
template <class T>
const Kernel<T*, T*, const double*, const T*, int64_t, int64_t, int64_t, int64_t> backward_finish_kernel{
    "group_norm_backward_finish", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, const T*, const T*, const T*, const T*, const T*, int64_t, int64_t, int64_t> backward_kernel{
    "group_norm_backward", dtype_of<T>};

template <class T>
const T* data_or_null(const Tensor& t) {
  return t.defined() ? t.data<T>() : nullptr;
}

}  // namespace

Tensor group_norm(const Tensor& x, int64_t groups, const Tensor& weight, const Tensor& bias, double epsilon) {
  OperatorScope const scope("group_norm");
  check_rank("group_norm", x, 4);
  int64_t const n = x.dim(0), pixels = x.dim(1) * x.dim(2), c = x.dim(3);
  check(groups > 0 && c > 0 && c % groups == 0 && pixels > 0, "group_norm: ", x.shape(), " in ", groups, " groups");
  check(weight.defined() == bias.defined(), "group_norm: weight and bias come together");
  if (weight.defined()) {
    check_operand("group_norm", "weight", weight, {c}, x);
    check_operand("group_norm", "bias", bias, {c}, x);
  }
  GroupNormNode node;
  node.groups = groups;
  node.epsilon = epsilon;
  node.input = x;
  node.weight = weight;
  node.mean = Tensor::empty({n, c}, x.dtype(), x.device());
  node.inverse_std = Tensor::empty_like(node.mean);
  Tensor const partial = Tensor::empty({n, column_groups(pixels), 2, c}, DType::f64, x.device());
  Tensor const y = filled(x.shape(), x, [&]<class T>(T* out) {
    T *const mean = node.mean.data<T>(), *const inverse_std = node.inverse_std.data<T>();
    statistics_kernel<T>(x.stream(), partial.data<double>(), x.data<T>(), n, pixels, c);
    finish_kernel<T>(x.stream(), mean, inverse_std, partial.data<double>(), x.data<T>(), epsilon, n, groups, pixels, c);
    forward_kernel<T>(x.stream(), out, x.data<T>(), mean, inverse_std, data_or_null<T>(weight), data_or_null<T>(bias),
                      n, pixels, c);
  });
  return record(y, {x, weight, bias}, std::move(node));
}

Tensor instance_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon) {
  check_rank("instance_norm", x, 4);
  return group_norm(x, x.dim(3), weight, bias, epsilon);
}

std::vector<Attribute> GroupNormNode::attributes() const {
  return {{"groups", cat(groups)}, {"epsilon", cat(epsilon)}};
}

Tensor GroupNormNode::again(const std::vector<Tensor>& values) const {
  return group_norm(values[0], groups, values[1], values[2], epsilon);
}

void GroupNormNode::backward(Gradients& g) {
  OperatorScope const scope("group_norm backward");
  Tensor const& dy = g.output();
  int64_t const n = dy.dim(0), pixels = dy.dim(1) * dy.dim(2), c = dy.dim(3);
  Tensor const partial = Tensor::empty({n, column_groups(pixels), 2, c}, DType::f64, dy.device());
  Tensor const share = Tensor::empty({n, 2, c}, dy.dtype(), dy.device());
  Tensor const by_image = filled({n, 2 * c}, dy, [&]<class T>(T* sums) {
    backward_sums_kernel<T>(dy.stream(), partial.data<double>(), dy.data<T>(), input.data<T>(), mean.data<T>(),
                            inverse_std.data<T>(), n, pixels, c);
    backward_finish_kernel<T>(dy.stream(), sums, share.data<T>(), partial.data<double>(), data_or_null<T>(weight), n,
                              groups, pixels, c);
  });
  if (g.wants(0))
    g.give(0, filled(dy.shape(), dy, [&]<class T>(T* dx) {
             backward_kernel<T>(dy.stream(), dx, dy.data<T>(), input.data<T>(), mean.data<T>(), inverse_std.data<T>(),
                                data_or_null<T>(weight), share.data<T>(), n, pixels, c);
           }));
  if (!g.wants(1) && !g.wants(2)) return;
  Tensor const sums = column_sums(by_image).view({2, c});
  if (g.wants(1)) g.give(1, sums.rows(1, 1).view({c}));
  if (g.wants(2)) g.give(2, sums.rows(0, 1).view({c}));
}

}  // namespace mith
