#include "engine/ops/support.h"

#include "kernels/launch/table.h"
#include "kernels/row/column_groups.h"

namespace mith {
namespace {

template <class T>
const Kernel<double*, const T*, int64_t, int64_t> column_sums_partial{"column_sums_partial", dtype_of<T>};
template <class T>
const Kernel<T*, const double*, int64_t, int64_t> column_sums_total{"column_sums_total", dtype_of<T>};
template <class T>
const Kernel<double*, const T*, const T*, int64_t, int64_t, int64_t> image_sums_partial{"image_sums_partial",
                                                                                        dtype_of<T>};
template <class T>
const Kernel<T*, const double*, double, int64_t, int64_t, int64_t> image_sums_total{"image_sums_total", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, const T*, int64_t> relu_backward{"relu_backward", dtype_of<T>};

}  // namespace

void check_rank(const char* op, const Tensor& x, int rank) {
  check(x.defined(), op, ": the input is undefined");
  check(x.shape().rank() == rank, op, ": the input must have ", rank, " dimensions, not ", x.shape());
}

void check_same(const char* op, const Tensor& a, const Tensor& b) {
  check(a.defined() && b.defined(), op, ": an operand is undefined");
  check(a.shape() == b.shape() && a.dtype() == b.dtype() && a.device() == b.device(), op, ": ", a.shape(), " ",
        name_of(a.dtype()), " on ", name_of(a.device()), " and ", b.shape(), " ", name_of(b.dtype()), " on ",
        name_of(b.device()), " do not fit");
}

void check_operand(const char* op, const char* what, const Tensor& operand, const Shape& shape, const Tensor& x) {
  check(operand.defined(), op, ": the ", what, " is undefined");
  check(operand.shape() == shape, op, ": the ", what, " must be ", shape, ", not ", operand.shape(), ", for an input ",
        x.shape());
  check(operand.dtype() == x.dtype() && operand.device() == x.device(), op, ": the ", what, " is ",
        name_of(operand.dtype()), " on ", name_of(operand.device()), ", the input ", name_of(x.dtype()), " on ",
        name_of(x.device()));
}

Tensor column_sums(const Tensor& x) {
  int64_t const rows = rows_of(x), cols = x.dim(-1), groups = column_groups(rows);
  Tensor const partial = Tensor::empty({groups, cols}, DType::f64, x.device());
  Tensor sums = Tensor::empty({cols}, x.dtype(), x.device());
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    column_sums_partial<T>(x.stream(), partial.data<double>(), x.data<T>(), rows, cols);
    column_sums_total<T>(x.stream(), sums.data<T>(), partial.data<double>(), groups, cols);
  });
  return sums;
}

Tensor image_sums(const Tensor& x, const Tensor& other, double factor) {
  int64_t const images = x.dim(0), cols = x.dim(-1), pixels = images ? rows_of(x) / images : 0;
  Tensor const partial = Tensor::empty({images, column_groups(pixels), cols}, DType::f64, x.device());
  return filled({images, cols}, x, [&]<class T>(T* sums) {
    image_sums_partial<T>(x.stream(), partial.data<double>(), x.data<T>(), other.defined() ? other.data<T>() : nullptr,
                          images, pixels, cols);
    image_sums_total<T>(x.stream(), sums, partial.data<double>(), factor, images, pixels, cols);
  });
}

Tensor relu_mask(const Tensor& gradient, const Tensor& output) {
  Tensor masked = Tensor::empty_like(gradient);
  dispatch(gradient.dtype(), [&](auto zero) {
    using T = decltype(zero);
    relu_backward<T>(gradient.stream(), masked.data<T>(), gradient.data<T>(), output.data<T>(), gradient.numel());
  });
  return masked;
}

}  // namespace mith
