// Per-image norms, and the L2 halves of attacks, f32: one block an image. Signatures:
//
//   l2_normalized_step (float* adv, const float* x, const float* gradient, const int64_t* ids, DrawKey key,
//                       float alpha, float eps, int64_t* nan_count, int64_t n_images, int64_t per_image)
//   l2_random_start    (float* adv, const float* x, const int64_t* ids, DrawKey key, float eps, int radius,
//                       int64_t n_images, int64_t per_image)
//   linf_distance, l2_distance (float* out, const float* a, const float* b, int64_t n_images, int64_t per_image)
//
// Squares are summed in double. A gradient of 1e-30, whose squares would vanish in f32, keeps its direction that way
// (attacks.md 3.3) without a pass for its largest element.
#include "kernels/launch/bytes.h"
#include "kernels/launch/launch.h"
#include "kernels/launch/philox.h"
#include "kernels/row/norms.h"

namespace mith::MITH_SPACE {

struct GradientDirection {
  const float* g;
  MITH_DEVICE float operator()(int64_t i) const { return g[i]; }
};

/// The gradient where it is finite, else 0.
struct FiniteDirection {
  const float* g;
  MITH_DEVICE float operator()(int64_t i) const { return finite_or_zero(g[i]); }
};

struct NormalDirection {
  DrawKey key;
  uint64_t image;
  MITH_DEVICE float operator()(int64_t i) const { return normal(key, image, static_cast<uint64_t>(i)); }
};

/// A random one among the pixels whose gradient is finite.
struct RandomDirection {
  NormalDirection draws;
  const float* g;
  MITH_DEVICE float operator()(int64_t i) const { return is_finite(g[i]) ? draws(i) : 0.0f; }
};

/// adv += length * direction / norm, projected onto the ball around x, then clamped to [0, 1]. A thread returns to the
/// elements it wrote, so no barrier is needed between the passes.
template <class Direction>
__device__ void step_and_project(float* __restrict__ adv, const float* __restrict__ x, Direction direction, double norm,
                                 float alpha, float eps, int64_t n) {
  double const factor = alpha / norm;
  double sum = 0;
  for (auto i : block_stride(n)) {
    float const moved = adv[i] + static_cast<float>(factor * direction(i));
    adv[i] = moved;
    sum += square(static_cast<double>(moved) - static_cast<double>(x[i]));
  }
  double const length = std::sqrt(block_sum(sum));
  float const shrink = length > eps ? static_cast<float>(eps / length) : 1.0f;
  for (auto i : block_stride(n)) adv[i] = clamp(x[i] + (adv[i] - x[i]) * shrink, 0.0f, 1.0f);
}

/// One step of length alpha along the gradient. Where the gradient is zero, one along a random direction keyed by the
/// image's id, or none if ids is null. Pixels whose gradient is not finite take no step, and count in nan_count.
__global__ void l2_normalized_step(float* __restrict__ adv, const float* __restrict__ x,
                                   const float* __restrict__ gradient, const int64_t* __restrict__ ids, DrawKey key,
                                   float alpha, float eps, int64_t* nan_count, int64_t images, int64_t per_image) {
  for (auto image : block_items(images)) {
    float* const a = adv + image * per_image;
    const float* const origin = x + image * per_image;
    const float* const g = gradient + image * per_image;
    double const length = L2Norm::of(per_image, GradientDirection{g});
    if (length > 0 && is_finite(static_cast<float>(length))) {
      step_and_project(a, origin, GradientDirection{g}, length, alpha, eps, per_image);
      continue;
    }
    int32_t bad = 0;
    for (auto i : block_stride(per_image)) bad += !is_finite(g[i]);
    if (bad) atomic_add(nan_count, bad);
    double const of_finite = L2Norm::of(per_image, FiniteDirection{g});
    if (of_finite > 0) {
      step_and_project(a, origin, FiniteDirection{g}, of_finite, alpha, eps, per_image);
    } else if (ids) {
      RandomDirection const direction{{key, static_cast<uint64_t>(ids[image])}, g};
      double const of_random = L2Norm::of(per_image, direction);
      if (of_random > 0) step_and_project(a, origin, direction, of_random, alpha, eps, per_image);
    }
  }
}

/// x plus a random direction, clamped to [0, 1]. Its length is eps * u for `radius` 0, eps * u^(1/D), which is uniform
/// in the ball, for 1, and eps for 2. u is the uniform draw behind the image's normal pairs, element per_image rounded
/// up to even.
__global__ void l2_random_start(float* __restrict__ adv, const float* __restrict__ x, const int64_t* __restrict__ ids,
                                DrawKey key, float eps, int radius, int64_t images, int64_t per_image) {
  for (auto image : block_items(images)) {
    float* const a = adv + image * per_image;
    const float* const origin = x + image * per_image;
    NormalDirection const direction{key, static_cast<uint64_t>(ids[image])};
    double sum = 0;
    for (auto i : block_stride(per_image)) {
      a[i] = direction(i);
      sum += square(static_cast<double>(a[i]));
    }
    double const u = uniform(key, direction.image, static_cast<uint64_t>(per_image + per_image % 2));
    double const share = radius == 2 ? 1 : radius == 1 ? std::pow(u, 1.0 / static_cast<double>(per_image)) : u;
    double const length = std::sqrt(block_sum(sum));
    float const factor = length > 0 ? static_cast<float>(eps * share / length) : 0.0f;
    for (auto i : block_stride(per_image)) a[i] = clamp(origin[i] + factor * a[i], 0.0f, 1.0f);
  }
}

__global__ void linf_distance(float* __restrict__ out, const float* __restrict__ a, const float* __restrict__ b,
                              int64_t images, int64_t per_image) {
  for (auto image : block_items(images)) {
    float const largest = block_max<float>(per_image, [=](int64_t i) {
      float const d = a[image * per_image + i] - b[image * per_image + i];
      return d < 0 ? -d : d;
    });
    if (block_leader()) out[image] = largest;
  }
}

__global__ void l2_distance(float* __restrict__ out, const float* __restrict__ a, const float* __restrict__ b,
                            int64_t images, int64_t per_image) {
  for (auto image : block_items(images)) {
    double sum = 0;
    for (auto i : block_stride(per_image)) {
      sum += square(static_cast<double>(a[image * per_image + i]) - static_cast<double>(b[image * per_image + i]));
    }
    sum = block_sum(sum);
    if (block_leader()) out[image] = static_cast<float>(std::sqrt(sum));
  }
}

void launch_l2_normalized_step(const Stream& stream, float* adv, const float* x, const float* gradient,
                               const int64_t* ids, DrawKey key, float alpha, float eps, int64_t* nan_count,
                               int64_t images, int64_t per_image) {
  launch_row(stream, {"l2_normalized_step", images, bytes_of<float>(4, images * per_image)}, per_image,
             l2_normalized_step, adv, x, gradient, ids, key, alpha, eps, nan_count, images, per_image);
}

void launch_l2_random_start(const Stream& stream, float* adv, const float* x, const int64_t* ids, DrawKey key,
                            float eps, int radius, int64_t images, int64_t per_image) {
  launch_row(stream, {"l2_random_start", images, bytes_of<float>(2, images * per_image)}, per_image, l2_random_start,
             adv, x, ids, key, eps, radius, images, per_image);
}

void launch_linf_distance(const Stream& stream, float* out, const float* a, const float* b, int64_t images,
                          int64_t per_image) {
  launch_row(stream, {"linf_distance", images, bytes_of<float>(2, images * per_image)}, per_image, linf_distance, out,
             a, b, images, per_image);
}

void launch_l2_distance(const Stream& stream, float* out, const float* a, const float* b, int64_t images,
                        int64_t per_image) {
  launch_row(stream, {"l2_distance", images, bytes_of<float>(2, images * per_image)}, per_image, l2_distance, out, a, b,
             images, per_image);
}

KERNEL(l2_normalized_step, launch_l2_normalized_step);
KERNEL(l2_random_start, launch_l2_random_start);
KERNEL(linf_distance, launch_linf_distance);
KERNEL(l2_distance, launch_l2_distance);

}  // namespace mith::MITH_SPACE
