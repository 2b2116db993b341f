// The gradient step of a perturbation with one value a column and channel.
#include "kernels/launch/bytes.h"
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

/// columns += alpha * sign(sum of the gradient down each column), limited to +-eps. Elements whose gradient is NaN
/// count as zero, and in nan_count. columns f32 [n,cols], gradient f32 [n,h,cols].
__global__ void column_sign_step(float* __restrict__ columns, const float* __restrict__ gradient, float alpha,
                                 float eps, int64_t* nan_count, int64_t images, int64_t h, int64_t cols) {
  for (auto image : grid_rows(images)) {
    column_sums<2, double>(
        image * h, (image + 1) * h, cols,
        [&](int64_t row, int64_t col, double* values) {
          float const g = gradient[row * cols + col];
          values[0] = is_nan(g) ? 0.0 : static_cast<double>(g);
          values[1] = is_nan(g) ? 1.0 : 0.0;
        },
        [&](int64_t col, const double* sums) {
          float* const v = columns + image * cols + col;
          *v = clamp(*v + alpha * static_cast<float>(sign(sums[0])), -eps, eps);
          if (sums[1] > 0) atomic_add(nan_count, static_cast<int64_t>(sums[1]));
        });
  }
}

void launch_column_sign_step(const Stream& stream, float* columns, const float* gradient, float alpha, float eps,
                             int64_t* nan_count, int64_t images, int64_t h, int64_t cols) {
  launch_rows_cols(stream, {"column_sign_step", images, bytes_of<float>(1, images * h * cols)}, cols, column_sign_step,
                   columns, gradient, alpha, eps, nan_count, images, h, cols);
}

KERNEL(column_sign_step, launch_column_sign_step);

}  // namespace mith::MITH_SPACE
