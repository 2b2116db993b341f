// Adam inside an attack, f32: what is attacked with, moved and limited in one pass. Signature:
//
//   adam_ascent_clamp (float* value, float* exp_avg, float* exp_avg_sq, const float* gradient, double rate,
//                      double beta1, double beta2, double epsilon, int64_t t, float low, float high,
//                      int64_t* nan_count, int64_t n)
//       value = clamp(value + rate mhat / (sqrt(vhat) + epsilon), low, high) at step t, from 1 (Kingma & Ba 2015); a
//       negative rate descends. A gradient that is not finite counts as zero, and in nan_count: it would stay in the
//       moments.
#include "kernels/launch/bytes.h"
#include "kernels/launch/launch.h"
#include "kernels/map/adam.h"

namespace mith::MITH_SPACE {

__global__ void adam_ascent_clamp(float* __restrict__ value, float* __restrict__ exp_avg,
                                  float* __restrict__ exp_avg_sq, const float* __restrict__ gradient,
                                  AdamMove<float> move, float low, float high, int64_t* nan_count, int64_t n) {
  int32_t bad = 0;
  for (auto i : grid_stride(n)) {
    float const g = gradient[i];
    bad += !is_finite(g);
    value[i] = clamp(value[i] + move(exp_avg[i], exp_avg_sq[i], finite_or_zero(g)), low, high);
  }
  if (bad) atomic_add(nan_count, bad);
}

void launch_adam_ascent_clamp(const Stream& stream, float* value, float* exp_avg, float* exp_avg_sq,
                              const float* gradient, double rate, double beta1, double beta2, double epsilon, int64_t t,
                              float low, float high, int64_t* nan_count, int64_t n) {
  launch_map(stream, {"adam_ascent_clamp", n, bytes_of<float>(7, n)}, adam_ascent_clamp, value, exp_avg, exp_avg_sq,
             gradient, AdamMove<float>(rate, beta1, beta2, epsilon, t), low, high, nan_count, n);
}

KERNEL(adam_ascent_clamp, launch_adam_ascent_clamp);

}  // namespace mith::MITH_SPACE
