// Steps along gradients of mean size 1, f32: one block an image. Signatures:
//
//   momentum_sign_step (float* adv, float* momentum, const float* x, const float* gradient, float mu, float alpha,
//                       float eps, int64_t* nan_count, int64_t n_images, int64_t per_image)
//   mean_size_step     (float* out, const float* x, const float* gradient, float length, int64_t n_images,
//                       int64_t per_image)
//
// The size of a gradient is the mean of |g| over the image, summed in double. Elements that are not finite count as 0,
// and their pixels stay where they are.
#include "kernels/launch/bytes.h"
#include "kernels/launch/launch.h"
#include "kernels/map/projection.h"

namespace mith::MITH_SPACE {

/// 1 / mean |g| over an image; 0 where the gradient is zero.
__device__ double inverse_mean_size(const float* __restrict__ g, int64_t n) {
  double sum = 0;
  for (auto i : block_stride(n)) {
    float const v = finite_or_zero(g[i]);
    sum += static_cast<double>(v < 0 ? -v : v);
  }
  sum = block_sum(sum);
  return sum > 0 ? static_cast<double>(n) / sum : 0.0;
}

/// momentum <- mu momentum + g / mean |g|; adv += alpha sign(momentum), projected (Dong et al. 2018, eq. 6 and 7).
/// Elements whose gradient is not finite are counted.
__global__ void momentum_sign_step(float* __restrict__ adv, float* __restrict__ momentum, const float* __restrict__ x,
                                   const float* __restrict__ gradient, float mu, float alpha, float eps,
                                   int64_t* nan_count, int64_t images, int64_t per_image) {
  for (auto image : block_items(images)) {
    int64_t const first = image * per_image;
    float *const a = adv + first, *const m = momentum + first;
    const float *const origin = x + first, *const g = gradient + first;
    double const inverse = inverse_mean_size(g, per_image);
    int32_t bad = 0;
    for (auto i : block_stride(per_image)) {
      bad += !is_finite(g[i]);
      float const moved = mu * m[i] + static_cast<float>(finite_or_zero(g[i]) * inverse);
      m[i] = moved;
      a[i] = is_finite(g[i]) ? project_linf(a[i] + alpha * sign(moved), origin[i], eps) : a[i];
    }
    if (bad) atomic_add(nan_count, bad);
  }
}

/// out = x + length g / mean |g|, not projected; x where the gradient is zero.
__global__ void mean_size_step(float* __restrict__ out, const float* __restrict__ x, const float* __restrict__ gradient,
                               float length, int64_t images, int64_t per_image) {
  for (auto image : block_items(images)) {
    int64_t const first = image * per_image;
    const float* const g = gradient + first;
    double const factor = length * inverse_mean_size(g, per_image);
    for (auto i : block_stride(per_image))
      out[first + i] = x[first + i] + static_cast<float>(factor * finite_or_zero(g[i]));
  }
}

void launch_momentum_sign_step(const Stream& stream, float* adv, float* momentum, const float* x, const float* gradient,
                               float mu, float alpha, float eps, int64_t* nan_count, int64_t images,
                               int64_t per_image) {
  launch_row(stream, {"momentum_sign_step", images, bytes_of<float>(6, images * per_image)}, per_image,
             momentum_sign_step, adv, momentum, x, gradient, mu, alpha, eps, nan_count, images, per_image);
}

void launch_mean_size_step(const Stream& stream, float* out, const float* x, const float* gradient, float length,
                           int64_t images, int64_t per_image) {
  launch_row(stream, {"mean_size_step", images, bytes_of<float>(3, images * per_image)}, per_image, mean_size_step, out,
             x, gradient, length, images, per_image);
}

KERNEL(momentum_sign_step, launch_momentum_sign_step);
KERNEL(mean_size_step, launch_mean_size_step);

}  // namespace mith::MITH_SPACE
