// APGD's start on the L-infinity sphere and its move in the L2 ball, f32: one block an image. Signatures:
//
//   linf_sphere_start (float* adv, const float* x, const int64_t* ids, DrawKey key, float eps, int64_t n_images,
//                      int64_t per_image)
//   apgd_l2_step      (float* adv, float* old, const float* x, const float* gradient, const float* step, float share,
//                      float eps, int64_t* nan_count, int64_t n_images, int64_t per_image)
//
// Squares are summed in double, as in l2.cu.
#include "kernels/launch/bytes.h"
#include "kernels/launch/launch.h"
#include "kernels/launch/philox.h"
#include "kernels/map/projection.h"

namespace mith::MITH_SPACE {

/// x + eps t / |t|_inf with t uniform in [-1, 1), limited to [0, 1]: some pixel moves by eps.
__global__ void linf_sphere_start(float* __restrict__ adv, const float* __restrict__ x, const int64_t* __restrict__ ids,
                                  DrawKey key, float eps, int64_t images, int64_t per_image) {
  for (auto image : block_items(images)) {
    uint64_t const id = static_cast<uint64_t>(ids[image]);
    float const largest = block_max<float>(per_image, [=](int64_t i) {
      float const t = 2 * uniform(key, id, static_cast<uint64_t>(i)) - 1;
      return t < 0 ? -t : t;
    });
    float const factor = largest > 0 ? eps / largest : 0.0f;
    for (auto i : block_stride(per_image)) {
      float const t = 2 * uniform(key, id, static_cast<uint64_t>(i)) - 1, origin = x[image * per_image + i];
      adv[image * per_image + i] = project_linf(origin + factor * t, origin, eps);
    }
  }
}

/// What brings a point at this distance from the ball's centre into the ball.
MITH_DEVICE float shrink_to(double length, float eps) { return length > eps ? static_cast<float>(eps / length) : 1.0f; }

/// As apgd_linf_step, with steps along the gradient's direction and P onto the L2 ball and then onto [0, 1]. An image
/// without a gradient moves by its momentum alone. Pixels whose gradient is not finite count as zero, and in nan_count.
__global__ void apgd_l2_step(float* __restrict__ adv, float* __restrict__ old, const float* __restrict__ x,
                             const float* __restrict__ gradient, const float* __restrict__ step, float share, float eps,
                             int64_t* nan_count, int64_t images, int64_t per_image) {
  for (auto image : block_items(images)) {
    float* const a = adv + image * per_image;
    float* const o = old + image * per_image;
    const float* const origin = x + image * per_image;
    const float* const g = gradient + image * per_image;
    int32_t bad = 0;
    double sum = 0;
    for (auto i : block_stride(per_image)) {
      bad += !is_finite(g[i]);
      sum += is_finite(g[i]) ? square(static_cast<double>(g[i])) : 0.0;
    }
    if (bad) atomic_add(nan_count, bad);
    double const length = std::sqrt(block_sum(sum)), factor = length > 0 ? step[image] / length : 0.0;
    auto const moved = [=](int64_t i) {
      return a[i] + (is_finite(g[i]) ? static_cast<float>(factor * static_cast<double>(g[i])) : 0.0f);
    };
    sum = 0;
    for (auto i : block_stride(per_image))
      sum += square(static_cast<double>(moved(i)) - static_cast<double>(origin[i]));
    float const shrink = shrink_to(std::sqrt(block_sum(sum)), eps);
    // A thread returns to the elements it wrote, so no barrier is needed between the passes.
    sum = 0;
    for (auto i : block_stride(per_image)) {
      float const z = a[i], u = clamp(origin[i] + (moved(i) - origin[i]) * shrink, 0.0f, 1.0f);
      float const next = z + share * (u - z) + (1 - share) * (z - o[i]);
      a[i] = next;
      o[i] = z;
      sum += square(static_cast<double>(next) - static_cast<double>(origin[i]));
    }
    float const last = shrink_to(std::sqrt(block_sum(sum)), eps);
    for (auto i : block_stride(per_image)) a[i] = clamp(origin[i] + (a[i] - origin[i]) * last, 0.0f, 1.0f);
  }
}

void launch_linf_sphere_start(const Stream& stream, float* adv, const float* x, const int64_t* ids, DrawKey key,
                              float eps, int64_t images, int64_t per_image) {
  launch_row(stream, {"linf_sphere_start", images, bytes_of<float>(2, images * per_image)}, per_image,
             linf_sphere_start, adv, x, ids, key, eps, images, per_image);
}

void launch_apgd_l2_step(const Stream& stream, float* adv, float* old, const float* x, const float* gradient,
                         const float* step, float share, float eps, int64_t* nan_count, int64_t images,
                         int64_t per_image) {
  launch_row(stream, {"apgd_l2_step", images, bytes_of<float>(6, images * per_image)}, per_image, apgd_l2_step, adv,
             old, x, gradient, step, share, eps, nan_count, images, per_image);
}

KERNEL(linf_sphere_start, launch_linf_sphere_start);
KERNEL(apgd_l2_step, launch_apgd_l2_step);

}  // namespace mith::MITH_SPACE
