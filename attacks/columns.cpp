#include "attacks/columns.h"

#include "kernels/launch/table.h"

namespace mith {
namespace {

const Kernel<float*, const float*, const float*, int64_t, int64_t, int64_t> add_columns_kernel{"add_columns"};
const Kernel<float*, const float*, float, float, int64_t*, int64_t, int64_t, int64_t> column_sign_step_kernel{
    "column_sign_step"};

}  // namespace

Tensor add_columns(const Tensor& x, const Tensor& columns) {
  check(columns.shape() == Shape{x.dim(0), x.dim(2), x.dim(3)}, "add_columns: columns ", columns.shape(),
        " for images ", x.shape());
  Tensor out = Tensor::empty_like(x);
  add_columns_kernel(x.stream(), out.data<float>(), x.data<float>(), columns.data<float>(), x.dim(0), x.dim(1),
                     x.dim(2) * x.dim(3));
  return out;
}

std::vector<float> random_columns(const std::vector<uint64_t>& ids, int64_t per_image, float eps, const DrawKey& key) {
  std::vector<float> columns;
  columns.reserve(ids.size() * static_cast<size_t>(per_image));
  for (uint64_t id : ids)
    for (uint64_t j = 0; j < static_cast<uint64_t>(per_image); ++j)
      columns.push_back(random_bits(key, id, j) >> 31 ? eps : -eps);
  return columns;
}

void column_sign_step(Tensor& columns, const Tensor& gradient, float alpha, float eps, Tensor& nan_count) {
  check(columns.shape() == Shape{gradient.dim(0), gradient.dim(2), gradient.dim(3)}, "column_sign_step: columns ",
        columns.shape(), " for a gradient ", gradient.shape());
  column_sign_step_kernel(columns.stream(), columns.data<float>(), gradient.data<float>(), alpha, eps,
                          nan_count.data<int64_t>(), gradient.dim(0), gradient.dim(1),
                          gradient.dim(2) * gradient.dim(3));
}

}  // namespace mith
