// A move of APGD in the L-infinity ball, f32 (row/apgd.cu has the L2 one). Signature:
//
//   apgd_linf_step (float* adv, float* old, const float* x, const float* gradient, const float* step, float share,
//                   float eps, int64_t* nan_count, int64_t n_images, int64_t per_image)
#include "kernels/launch/bytes.h"
#include "kernels/launch/divide.h"
#include "kernels/launch/launch.h"
#include "kernels/map/projection.h"

namespace mith::MITH_SPACE {

/// With z = adv: u = P(z + step[image] sign(gradient)), adv = P(z + share (u - z) + (1 - share)(z - old)), old = z
/// (Croce & Hein 2020, algorithm 1, lines 7 and 8). A pixel whose gradient is NaN counts as without one, and in
/// nan_count.
__global__ void apgd_linf_step(float* __restrict__ adv, float* __restrict__ old, const float* __restrict__ x,
                               const float* __restrict__ gradient, const float* __restrict__ step, float share,
                               float eps, int64_t* nan_count, Divider per_image, uint32_t n) {
  int32_t bad = 0;
  for (auto i : grid_stride(n)) {
    float const g = gradient[i], z = adv[i], length = step[per_image.quotient(static_cast<uint32_t>(i))];
    bad += is_nan(g);
    float const u = project_linf(z + length * sign(g), x[i], eps);
    adv[i] = project_linf(z + share * (u - z) + (1 - share) * (z - old[i]), x[i], eps);
    old[i] = z;
  }
  if (bad) atomic_add(nan_count, bad);
}

void launch_apgd_linf_step(const Stream& stream, float* adv, float* old, const float* x, const float* gradient,
                           const float* step, float share, float eps, int64_t* nan_count, int64_t images,
                           int64_t per_image) {
  int64_t const n = images * per_image;
  if (n == 0) return;
  launch_map(stream, {"apgd_linf_step", n, bytes_of<float>(6, n)}, apgd_linf_step, adv, old, x, gradient, step, share,
             eps, nan_count, Divider(per_image, n, "apgd_linf_step"), n);
}

KERNEL(apgd_linf_step, launch_apgd_linf_step);

}  // namespace mith::MITH_SPACE
