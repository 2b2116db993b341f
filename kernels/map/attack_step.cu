// The element-wise halves of attacks, f32: L-infinity steps, starts and noise (row/l2.cu has the L2 ones). Images lie
// in [0, 1]; every draw is keyed by image id and element. Signatures:
//
//   linf_sign_step     (float* adv, const float* x, const float* gradient, float alpha, float eps, int64_t* nan_count,
//                       int64_t n)
//   linf_project       (float* adv, const float* x, float eps, int64_t n)
//   linf_random_start  (float* adv, const float* x, const int64_t* ids, DrawKey key, float eps, int64_t n_images,
//                       int64_t per_image)
//   sign_noise         (float* out, const float* x, const int64_t* ids, DrawKey key, float eps, int64_t n_images,
//                       int64_t per_image)
//   gaussian_noise     (float* out, const float* x, const int64_t* ids, DrawKey key, float sigma, int64_t n_images,
//                       int64_t per_image)
#include "kernels/launch/bytes.h"
#include "kernels/launch/divide.h"
#include "kernels/launch/launch.h"
#include "kernels/launch/philox.h"
#include "kernels/map/projection.h"

namespace mith::MITH_SPACE {

/// adv += alpha * sign(gradient), projected (Madry et al. 2018, section 3). A pixel whose gradient is NaN stays where
/// it is and is counted.
__global__ void linf_sign_step(float* __restrict__ adv, const float* __restrict__ x, const float* __restrict__ gradient,
                               float alpha, float eps, int64_t* nan_count, int64_t n) {
  int32_t bad = 0;
  for (auto i : grid_stride(n)) {
    float const g = gradient[i];
    bad += is_nan(g);
    adv[i] = project_linf(adv[i] + alpha * sign(g), x[i], eps);
  }
  if (bad) atomic_add(nan_count, bad);
}

__global__ void linf_project(float* __restrict__ adv, const float* __restrict__ x, float eps, int64_t n) {
  for (auto i : grid_stride(n)) adv[i] = project_linf(adv[i], x[i], eps);
}

/// adv = x + U(-eps, eps), clamped to [0, 1].
struct UniformNoise {
  MITH_DEVICE static float draw(const DrawKey& key, uint64_t image, uint64_t element) {
    return 2 * uniform(key, image, element) - 1;
  }
};

/// adv = x +- eps with equal chances, clamped to [0, 1].
struct SignNoise {
  MITH_DEVICE static float draw(const DrawKey& key, uint64_t image, uint64_t element) {
    return random_bits(key, image, element) >> 31 ? 1.0f : -1.0f;
  }
};

/// out = x + sigma N(0, 1), clamped to [0, 1].
struct GaussianNoise {
  MITH_DEVICE static float draw(const DrawKey& key, uint64_t image, uint64_t element) {
    return normal(key, image, element);
  }
};

template <class Noise>
__global__ void add_noise(float* __restrict__ out, const float* __restrict__ x, const int64_t* __restrict__ ids,
                          DrawKey key, float eps, Divider per_image, uint32_t n) {
  for (auto i : grid_stride(n)) {
    uint32_t const image = per_image.quotient(static_cast<uint32_t>(i));
    uint32_t const element = static_cast<uint32_t>(i) - image * per_image.divisor;
    out[i] = clamp(x[i] + eps * Noise::draw(key, static_cast<uint64_t>(ids[image]), element), 0.0f, 1.0f);
  }
}

void launch_linf_sign_step(const Stream& stream, float* adv, const float* x, const float* gradient, float alpha,
                           float eps, int64_t* nan_count, int64_t n) {
  launch_map(stream, {"linf_sign_step", n, bytes_of<float>(4, n)}, linf_sign_step, adv, x, gradient, alpha, eps,
             nan_count, n);
}

void launch_linf_project(const Stream& stream, float* adv, const float* x, float eps, int64_t n) {
  launch_map(stream, {"linf_project", n, bytes_of<float>(3, n)}, linf_project, adv, x, eps, n);
}

template <class Noise>
void launch_noise(const Stream& stream, const char* name, float* out, const float* x, const int64_t* ids,
                  const DrawKey& key, float eps, int64_t images, int64_t per_image) {
  int64_t const n = images * per_image;
  if (n == 0) return;
  launch_map(stream, {name, n, bytes_of<float>(2, n)}, add_noise<Noise>, out, x, ids, key, eps,
             Divider(per_image, n, name), n);
}

void launch_linf_random_start(const Stream& stream, float* adv, const float* x, const int64_t* ids, DrawKey key,
                              float eps, int64_t images, int64_t per_image) {
  launch_noise<UniformNoise>(stream, "linf_random_start", adv, x, ids, key, eps, images, per_image);
}

void launch_sign_noise(const Stream& stream, float* out, const float* x, const int64_t* ids, DrawKey key, float eps,
                       int64_t images, int64_t per_image) {
  launch_noise<SignNoise>(stream, "sign_noise", out, x, ids, key, eps, images, per_image);
}

void launch_gaussian_noise(const Stream& stream, float* out, const float* x, const int64_t* ids, DrawKey key,
                           float sigma, int64_t images, int64_t per_image) {
  launch_noise<GaussianNoise>(stream, "gaussian_noise", out, x, ids, key, sigma, images, per_image);
}

KERNEL(linf_sign_step, launch_linf_sign_step);
KERNEL(linf_project, launch_linf_project);
KERNEL(linf_random_start, launch_linf_random_start);
KERNEL(sign_noise, launch_sign_noise);
KERNEL(gaussian_noise, launch_gaussian_noise);

}  // namespace mith::MITH_SPACE
