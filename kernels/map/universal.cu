// One perturbation for many images, f32: adding it, the mean of the images' gradients, and the ways to move it. An
// image is `rows` lines of `cols` elements (h and w * c). Signatures:
//
//   universal_apply    (float* out, const float* x, const float* v, int64_t n_images, int64_t rows, int64_t cols)
//       out = clamp(x + v, 0, 1)
//   universal_gradient (float* mean, const float* x, const float* v, const float* gradient, const float* loss, float
//                       cap, int exact, int64_t n_images, int64_t rows, int64_t cols)
//       mean over images of the gradient, without pixels whose gradient is NaN and images whose loss has reached `cap`;
//       `exact`: and without pixels that the clamp holds.
//   universal_mean_sign (float* mean, const float* delta, int64_t n_images, int64_t rows, int64_t cols)
//       mean over images of sign(delta), where NaN and both zeros have the sign 0
//   universal_shift    (float* v, const float* delta, float limit, int64_t n)
//       v = clamp(v + delta, -limit, limit)
#include "kernels/launch/bytes.h"
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

__global__ void universal_apply(float* __restrict__ out, const float* __restrict__ x, const float* __restrict__ v,
                                int64_t images, int64_t rows, int64_t cols) {
  for (auto r : grid_rows(images * rows)) {
    const float* __restrict__ from = x + r * cols;
    const float* __restrict__ shift = v + r % rows * cols;
    float* __restrict__ to = out + r * cols;
    for (auto j : row_cols(cols)) to[j] = clamp(from[j] + shift[j], 0.0f, 1.0f);
  }
}

/// Images are added in their order, whatever the device. The clamp passes the gradient of a pixel that lies on its
/// border, or a black pixel could never leave it.
__global__ void universal_gradient(float* __restrict__ mean, const float* __restrict__ x, const float* __restrict__ v,
                                   const float* __restrict__ gradient, const float* __restrict__ loss, float cap,
                                   bool exact, int64_t images, int64_t rows, int64_t cols) {
  float const share = 1.0f / static_cast<float>(images);
  for (auto r : grid_rows(rows)) {
    column_sums<1, float>(
        0, images, cols,
        [&](int64_t image, int64_t j, float* value) {
          int64_t const at = (image * rows + r) * cols + j;
          float const g = gradient[at], moved = x[at] + v[r * cols + j];
          bool const counts = !is_nan(g) && !(loss[image] >= cap) && (!exact || (moved >= 0.0f && moved <= 1.0f));
          value[0] = counts ? g : 0.0f;
        },
        [&](int64_t j, const float* sum) { mean[r * cols + j] = share * sum[0]; });
  }
}

__global__ void universal_mean_sign(float* __restrict__ mean, const float* __restrict__ delta, int64_t images,
                                    int64_t rows, int64_t cols) {
  float const share = 1.0f / static_cast<float>(images);
  for (auto r : grid_rows(rows)) {
    column_sums<1, float>(
        0, images, cols,
        [&](int64_t image, int64_t j, float* value) { value[0] = sign(delta[(image * rows + r) * cols + j]); },
        [&](int64_t j, const float* sum) { mean[r * cols + j] = share * sum[0]; });
  }
}

__global__ void universal_shift(float* __restrict__ v, const float* __restrict__ delta, float limit, int64_t n) {
  for (auto i : grid_stride(n)) v[i] = clamp(v[i] + delta[i], -limit, limit);
}

void launch_universal_apply(const Stream& stream, float* out, const float* x, const float* v, int64_t images,
                            int64_t rows, int64_t cols) {
  launch_rows_cols(stream, {"universal_apply", images * rows, bytes_of<float>(2, images * rows * cols)}, cols,
                   universal_apply, out, x, v, images, rows, cols);
}

void launch_universal_gradient(const Stream& stream, float* mean, const float* x, const float* v, const float* gradient,
                               const float* loss, float cap, int exact, int64_t images, int64_t rows, int64_t cols) {
  launch_rows_cols(stream, {"universal_gradient", rows, bytes_of<float>(2, images * rows * cols)}, cols,
                   universal_gradient, mean, x, v, gradient, loss, cap, exact != 0, images, rows, cols);
}

void launch_universal_mean_sign(const Stream& stream, float* mean, const float* delta, int64_t images, int64_t rows,
                                int64_t cols) {
  launch_rows_cols(stream, {"universal_mean_sign", rows, bytes_of<float>(1, images * rows * cols)}, cols,
                   universal_mean_sign, mean, delta, images, rows, cols);
}

void launch_universal_shift(const Stream& stream, float* v, const float* delta, float limit, int64_t n) {
  launch_map(stream, {"universal_shift", n, bytes_of<float>(3, n)}, universal_shift, v, delta, limit, n);
}

KERNEL(universal_apply, launch_universal_apply);
KERNEL(universal_gradient, launch_universal_gradient);
KERNEL(universal_mean_sign, launch_universal_mean_sign);
KERNEL(universal_shift, launch_universal_shift);

}  // namespace mith::MITH_SPACE
