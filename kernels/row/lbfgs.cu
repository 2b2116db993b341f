// L-BFGS in the box [0, 1] for many images at once, each with its own history: one block an image, f32, sums in double.
// The objective is weight |x - clean|^2 - loss(x). Signatures:
//
//   lbfgs_direction (float* x, float* gradient, float* direction, float* steps, float* changes, int32_t* count,
//                    const float* trial, const float* loss_gradient, const float* clean, const float* weight,
//                    const uint8_t* point, int64_t* nan_count, int64_t n_images, int64_t per_image)
//       moves to `trial` unless its LbfgsPoint is refused, remembers the step (steps and changes are [n, lbfgs_pairs,
//       per_image]; `count` is of all pairs ever kept), and finds the direction to go on in
//   lbfgs_trial     (float* trial, double* measures, const float* x, const float* gradient, const float* direction,
//                    const float* clean, const float* length, int64_t n_images, int64_t per_image)
//       trial = clamp(x + length direction, 0, 1); measures[image] = {<gradient, trial - x>, |trial - clean|^2}; a
//       length of 0 leaves an image alone
#include "kernels/row/lbfgs.h"

#include "kernels/launch/bytes.h"
#include "kernels/row/norms.h"

namespace mith::MITH_SPACE {

/// One image's search.
struct LbfgsImage {
  float *x, *gradient, *direction, *steps, *changes;
  int64_t n;

  /// Zero where the box holds a pixel back, else 1: the direction is found among the pixels that may move (Bertsekas
  /// 1982).
  MITH_DEVICE float free(int64_t i) const {
    bool const held = (x[i] <= 0 && gradient[i] > 0) || (x[i] >= 1 && gradient[i] < 0);
    return held ? 0.0f : 1.0f;
  }
  MITH_DEVICE const float* step(int64_t pair) const { return steps + pair % lbfgs_pairs * n; }
  MITH_DEVICE const float* change(int64_t pair) const { return changes + pair % lbfgs_pairs * n; }
};

static __device__ double dot(const float* a, const float* b, int64_t n) {
  double sum = 0;
  for (auto i : block_stride(n)) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return block_sum(sum);
}

/// direction = -gradient * size among the free pixels.
static __device__ void steepest(const LbfgsImage& m, double size) {
  float const s = static_cast<float>(size);
  for (auto i : block_stride(m.n)) m.direction[i] = -s * m.free(i) * m.gradient[i];
}

/// The two loops over the remembered pairs (Nocedal & Wright 2006, algorithm 7.4), in the space of the free pixels;
/// pairs whose curvature there is not positive are passed over. False if none was of use.
static __device__ bool two_loops(const LbfgsImage& m, int64_t count) {
  double alpha[lbfgs_pairs], curvature[lbfgs_pairs], size = 0;
  int64_t const pairs = count < lbfgs_pairs ? count : lbfgs_pairs;
  for (int64_t p = 0; p < pairs; ++p) {  // the newest first
    const float *const s = m.step(count - 1 - p), *const y = m.change(count - 1 - p);
    double along = 0, changed = 0;
    for (auto i : block_stride(m.n)) {
      double const moved = static_cast<double>(m.free(i) * s[i]), change = static_cast<double>(y[i]);
      along += moved * change;
      changed += static_cast<double>(m.free(i)) * square(change);
    }
    curvature[p] = block_sum(along);
    changed = block_sum(changed);
    bool const useful = curvature[p] > 1e-10 * changed;
    alpha[p] = useful ? dot(s, m.direction, m.n) / curvature[p] : 0;
    if (!useful) curvature[p] = 0;
    if (useful && size == 0) size = curvature[p] / changed;
    float const a = static_cast<float>(alpha[p]);
    for (auto i : block_stride(m.n)) m.direction[i] -= a * m.free(i) * y[i];
  }
  if (size == 0) return false;
  for (auto i : block_stride(m.n)) m.direction[i] *= static_cast<float>(size);
  for (int64_t p = pairs - 1; p >= 0; --p) {
    const float *const s = m.step(count - 1 - p), *const y = m.change(count - 1 - p);
    double const beta = curvature[p] > 0 ? dot(y, m.direction, m.n) / curvature[p] : 0;
    float const a = static_cast<float>(alpha[p] - beta);
    for (auto i : block_stride(m.n)) m.direction[i] += a * m.free(i) * s[i];
  }
  return true;
}

__global__ void lbfgs_direction(float* __restrict__ x, float* __restrict__ gradient, float* __restrict__ direction,
                                float* __restrict__ steps, float* __restrict__ changes, int32_t* __restrict__ count,
                                const float* __restrict__ trial, const float* __restrict__ loss_gradient,
                                const float* __restrict__ clean, const float* __restrict__ weight,
                                const uint8_t* __restrict__ point, int64_t* nan_count, int64_t images, int64_t n) {
  for (auto image : block_items(images)) {
    auto const what = static_cast<LbfgsPoint>(point[image]);
    if (what == LbfgsPoint::refused) continue;
    int64_t const at = image * n;
    LbfgsImage const m{x + at, gradient + at, direction + at, steps + at * lbfgs_pairs, changes + at * lbfgs_pairs, n};
    float const c = weight[image];
    int32_t kept = count[image], bad = 0;
    // The direction is a place to keep the new gradient in until the old one is no longer needed.
    double along = 0, changed = 0;
    for (auto i : block_stride(n)) {
      float const pull = loss_gradient[at + i];
      bad += !is_finite(pull);
      float const now = 2 * c * (trial[at + i] - clean[at + i]) - finite_or_zero(pull);
      m.direction[i] = now;
      double const change = static_cast<double>(now) - static_cast<double>(m.gradient[i]);
      along += (static_cast<double>(trial[at + i]) - static_cast<double>(m.x[i])) * change;
      changed += square(change);
    }
    if (bad) atomic_add(nan_count, bad);
    along = block_sum(along);
    changed = block_sum(changed);
    if (what == LbfgsPoint::accepted && along > 1e-10 * changed) {
      int64_t const slot = kept % lbfgs_pairs * n;
      for (auto i : block_stride(n)) {
        m.steps[slot + i] = trial[at + i] - m.x[i];
        m.changes[slot + i] = m.direction[i] - m.gradient[i];
      }
      ++kept;
    }
    if (block_leader()) count[image] = kept;
    for (auto i : block_stride(n)) {
      m.x[i] = trial[at + i];
      m.gradient[i] = m.direction[i];
    }
    for (auto i : block_stride(n)) m.direction[i] = m.free(i) * m.gradient[i];
    if (two_loops(m, kept)) {
      for (auto i : block_stride(n)) m.direction[i] = -m.direction[i];
      if (dot(m.gradient, m.direction, n) < 0) continue;
    }
    // Without a history: at most a unit step, and no further than the distance's own curvature allows.
    double const length = L2Norm::of(n, [=](int64_t i) { return m.free(i) * m.gradient[i]; });
    steepest(m, 1 / kmax(length, static_cast<double>(2 * c)));
  }
}

__global__ void lbfgs_trial(float* __restrict__ trial, double* __restrict__ measures, const float* __restrict__ x,
                            const float* __restrict__ gradient, const float* __restrict__ direction,
                            const float* __restrict__ clean, const float* __restrict__ length, int64_t images,
                            int64_t n) {
  for (auto image : block_items(images)) {
    float const t = length[image];
    if (!(t > 0)) continue;
    double slope = 0, distance = 0;
    for (auto j : block_stride(n)) {
      int64_t const i = image * n + j;
      float const v = clamp(x[i] + t * direction[i], 0.0f, 1.0f);
      trial[i] = v;
      slope += static_cast<double>(gradient[i]) * (static_cast<double>(v) - static_cast<double>(x[i]));
      distance += square(static_cast<double>(v) - static_cast<double>(clean[i]));
    }
    slope = block_sum(slope);
    distance = block_sum(distance);
    if (block_leader()) {
      measures[2 * image] = slope;
      measures[2 * image + 1] = distance;
    }
  }
}

void launch_lbfgs_direction(const Stream& stream, float* x, float* gradient, float* direction, float* steps,
                            float* changes, int32_t* count, const float* trial, const float* loss_gradient,
                            const float* clean, const float* weight, const uint8_t* point, int64_t* nan_count,
                            int64_t images, int64_t per_image) {
  launch_row(stream, {"lbfgs_direction", images, bytes_of<float>(6 + 2 * lbfgs_pairs, images * per_image)}, per_image,
             lbfgs_direction, x, gradient, direction, steps, changes, count, trial, loss_gradient, clean, weight, point,
             nan_count, images, per_image);
}

void launch_lbfgs_trial(const Stream& stream, float* trial, double* measures, const float* x, const float* gradient,
                        const float* direction, const float* clean, const float* length, int64_t images,
                        int64_t per_image) {
  launch_row(stream, {"lbfgs_trial", images, bytes_of<float>(5, images * per_image)}, per_image, lbfgs_trial, trial,
             measures, x, gradient, direction, clean, length, images, per_image);
}

KERNEL(lbfgs_direction, launch_lbfgs_direction);
KERNEL(lbfgs_trial, launch_lbfgs_trial);

}  // namespace mith::MITH_SPACE
