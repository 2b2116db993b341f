// Patches, f32: blended into a fixed window, or turned, scaled and moved by bilinear sampling; the gradients of both by
// gathering, so that nothing is written twice and sums have one order on every device. Signatures:
//
//   patch_blend          (float* out, const float* x, const float* patch, float beta, int64_t row, int64_t col,
//                         int64_t size, int64_t n, int64_t h, int64_t w, int64_t c)
//       out = x, and (1 - beta) x + beta patch in the window of the patch [size,size,c] at (row, col)
//   patch_blend_gradient (float* mean, const float* gradient, float beta, int64_t row, int64_t col, int64_t size,
//                         int64_t n, int64_t h, int64_t w, int64_t c)
//   patch_warp           (float* out, const float* x, const float* patch, const float* poses, float beta, int64_t size,
//                         int64_t n, int64_t h, int64_t w, int64_t c)
//       out = (1 - beta m) x + beta m patch(u, v), m = 1 - min((u^2 + v^2)^40, 1) with u, v in [-1, 1] across the
//       patch; a pose is five numbers an image, see PatchPose
//   patch_warp_gradient  (float* mean, const float* gradient, const float* poses, float beta, int64_t size, int64_t n,
//                         int64_t h, int64_t w, int64_t c)
//   gaussian_smooth_axis (float* out, const float* in, const float* weights, int64_t radius, int64_t outer, int64_t
//                         length, int64_t inner)
//       weighted sum of 2 radius + 1 neighbours along the middle axis of [outer, length, inner], mirrored at the ends
//
// Gradients are means over images, with respect to the patch; a pixel whose gradient is NaN counts as zero.
#include "kernels/launch/bytes.h"
#include "kernels/launch/divide.h"
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

struct PatchShape {
  int64_t size, n, h, w, c;
  MITH_DEVICE int64_t image() const { return h * w * c; }
};

/// One image's patch, turned, scaled and moved. Pixel centres lie at halves.
struct PatchPose {
  float centre_x, centre_y;  ///< in pixels
  float side;                ///< of the whole square, in pixels
  float cosine, sine;        ///< of the angle it is turned by
  MITH_DEVICE explicit PatchPose(const float* p)
      : centre_x(p[0]), centre_y(p[1]), side(p[2]), cosine(p[3]), sine(p[4]) {}
};

/// Between x and p, to the bit at both ends and where they are equal.
MITH_DEVICE float blend(float x, float p, float share) {
  return clamp((1.0f - share) * x + share * p, x < p ? x : p, x < p ? p : x);
}

__global__ void patch_blend(float* __restrict__ out, const float* __restrict__ x, const float* __restrict__ patch,
                            float beta, int64_t row, int64_t col, PatchShape s) {
  int64_t const cols = s.w * s.c, first = col * s.c, width = s.size * s.c;
  for (auto r : grid_rows(s.n * s.h)) {
    const float* __restrict__ from = x + r * cols;
    float* __restrict__ to = out + r * cols;
    for (auto j : row_cols(cols)) to[j] = from[j];
    int64_t const inside = r % s.h - row;
    if (inside < 0 || inside >= s.size) continue;
    for (auto j : row_cols(cols)) {
      int64_t const at = j - first;
      if (at >= 0 && at < width) to[j] = blend(from[j], patch[inside * width + at], beta);
    }
  }
}

__global__ void patch_blend_gradient(float* __restrict__ mean, const float* __restrict__ gradient, float beta,
                                     int64_t row, int64_t col, PatchShape s) {
  int64_t const width = s.size * s.c;
  float const share = beta / static_cast<float>(s.n);
  for (auto r : grid_rows(s.size)) {
    const float* __restrict__ from = gradient + ((row + r) * s.w + col) * s.c;
    column_sums<1, float>(
        0, s.n, width,
        [&](int64_t image, int64_t j, float* value) {
          float const g = from[image * s.image() + j];
          value[0] = is_nan(g) ? 0.0f : g;
        },
        [&](int64_t j, const float* sum) { mean[r * width + j] = share * sum[0]; });
  }
}

/// A pixel seen from the patch: how opaque the patch is there, and the texel coordinates, within [-1/2, size - 1/2].
struct PatchSample {
  float opacity, x, y;
};

MITH_DEVICE PatchSample patch_sample(const PatchPose& pose, int32_t i, int32_t j, float size) {
  float const dx = float(j) + 0.5f - pose.centre_x, dy = float(i) + 0.5f - pose.centre_y;
  float const scale = 2.0f / pose.side;
  float const u = scale * (pose.cosine * dx + pose.sine * dy), v = scale * (pose.cosine * dy - pose.sine * dx);
  float const distance = square(u) + square(v);
  if (!(distance < 1.0f)) return {0.0f, 0.0f, 0.0f};
  float const power8 = square(square(square(distance))), power32 = square(square(power8));
  return {1.0f - power8 * power32, 0.5f * ((u + 1.0f) * size - 1.0f), 0.5f * ((v + 1.0f) * size - 1.0f)};
}

/// The two texels that a coordinate lies between, the border's being repeated, and the second one's weight.
struct TexelPair {
  int32_t first, second;
  float weight;
  MITH_DEVICE TexelPair(float at, int32_t size) {
    float const below = floorf(at);
    first = clamp(int32_t(below), 0, size - 1);
    second = clamp(int32_t(below) + 1, 0, size - 1);
    weight = at - below;
  }
  /// How much of texel `at` is in the sample.
  MITH_DEVICE float share(int32_t at) const {
    return (at == first ? 1.0f - weight : 0.0f) + (at == second ? weight : 0.0f);
  }
};

__global__ void patch_warp(float* __restrict__ out, const float* __restrict__ x, const float* __restrict__ patch,
                           const float* __restrict__ poses, float beta, PatchShape s) {
  int32_t const size = int32_t(s.size);
  for (auto r : grid_rows(s.n * s.h)) {
    int64_t const image = r / s.h;
    int32_t const i = int32_t(r - image * s.h);
    PatchPose const pose(poses + 5 * image);
    const float* __restrict__ from = x + r * s.w * s.c;
    float* __restrict__ to = out + r * s.w * s.c;
    for (auto j : row_cols(s.w)) {
      for (int64_t k = 0; k < s.c; ++k) to[j * s.c + k] = from[j * s.c + k];
      PatchSample const sample = patch_sample(pose, i, int32_t(j), float(size));
      if (!(sample.opacity > 0.0f)) continue;
      TexelPair const column(sample.x, size), row(sample.y, size);
      const float* const upper = patch + int64_t(row.first) * size * s.c;
      const float* const lower = patch + int64_t(row.second) * size * s.c;
      for (int64_t k = 0; k < s.c; ++k) {
        int64_t const left = column.first * s.c + k, right = column.second * s.c + k;
        float const above = (1.0f - column.weight) * upper[left] + column.weight * upper[right];
        float const below = (1.0f - column.weight) * lower[left] + column.weight * lower[right];
        float const texel = (1.0f - row.weight) * above + row.weight * below;
        to[j * s.c + k] = blend(from[j * s.c + k], texel, beta * sample.opacity);
      }
    }
  }
}

/// The pixels [first, end) of one axis that may sample a texel: those nearer than `reach` to where it lies.
struct Reach {
  int32_t first, end;
  MITH_DEVICE Reach(float centre, float reach, int32_t size)
      : first(clamp(int32_t(floorf(centre - reach - 0.5f)), 0, size)),
        end(clamp(int32_t(floorf(centre + reach - 0.5f)) + 2, 0, size)) {}
};

__global__ void patch_warp_gradient(float* __restrict__ mean, const float* __restrict__ gradient,
                                    const float* __restrict__ poses, float beta, PatchShape s, Divider by_size) {
  int32_t const size = int32_t(s.size);
  float const share = beta / static_cast<float>(s.n);
  for (auto texel : grid_rows(s.size * s.size)) {
    int32_t const a = int32_t(by_size.quotient(static_cast<uint32_t>(texel)));
    int32_t const b = int32_t(texel) - a * size;
    float* const to = mean + texel * s.c;
    for (auto k : row_cols(s.c)) to[k] = 0.0f;
    for (int64_t image = 0; image < s.n; ++image) {
      PatchPose const pose(poses + 5 * image);
      // Where the texel lies in the image; a pixel samples it from within one texel along both of the patch's axes.
      float const half = 0.5f * pose.side, pitch = pose.side / float(size);
      float const u = float(2 * b + 1) / float(size) - 1.0f, v = float(2 * a + 1) / float(size) - 1.0f;
      float const x = pose.centre_x + half * (pose.cosine * u - pose.sine * v);
      float const y = pose.centre_y + half * (pose.sine * u + pose.cosine * v);
      float const reach = 1.4143f * pitch + 1e-3f;
      Reach const rows(y, reach, int32_t(s.h)), columns(x, reach, int32_t(s.w));
      for (int32_t i = rows.first; i < rows.end; ++i) {
        const float* const line = gradient + (image * s.h + i) * s.w * s.c;
        for (int32_t j = columns.first; j < columns.end; ++j) {
          PatchSample const sample = patch_sample(pose, i, j, float(size));
          if (!(sample.opacity > 0.0f)) continue;
          float const factor = sample.opacity * TexelPair(sample.x, size).share(b) * TexelPair(sample.y, size).share(a);
          if (factor == 0.0f) continue;
          for (auto k : row_cols(s.c)) {
            float const g = line[j * s.c + k];
            to[k] += is_nan(g) ? 0.0f : factor * g;
          }
        }
      }
    }
    for (auto k : row_cols(s.c)) to[k] *= share;
  }
}

/// An index outside [0, length), mirrored behind the border elements as often as it takes.
MITH_DEVICE int64_t mirrored(int64_t at, int64_t length) {
  int64_t const period = 2 * length, folded = ((at % period) + period) % period;
  return folded < length ? folded : period - 1 - folded;
}

__global__ void gaussian_smooth_axis(float* __restrict__ out, const float* __restrict__ in,
                                     const float* __restrict__ weights, int64_t radius, int64_t outer, int64_t length,
                                     int64_t inner) {
  for (auto r : grid_rows(outer * length)) {
    int64_t const block = r / length, at = r - block * length;
    float* __restrict__ to = out + r * inner;
    for (auto k : row_cols(inner)) to[k] = 0.0f;
    for (int64_t t = -radius; t <= radius; ++t) {
      const float* __restrict__ from = in + (block * length + mirrored(at + t, length)) * inner;
      float const weight = weights[t + radius];
      for (auto k : row_cols(inner)) to[k] += weight * from[k];
    }
  }
}

void launch_patch_blend(const Stream& stream, float* out, const float* x, const float* patch, float beta, int64_t row,
                        int64_t col, int64_t size, int64_t n, int64_t h, int64_t w, int64_t c) {
  PatchShape const s{size, n, h, w, c};
  launch_rows_cols(stream, {"patch_blend", s.n * s.h, bytes_of<float>(2, s.n * s.image())}, s.w * s.c, patch_blend, out,
                   x, patch, beta, row, col, s);
}

void launch_patch_blend_gradient(const Stream& stream, float* mean, const float* gradient, float beta, int64_t row,
                                 int64_t col, int64_t size, int64_t n, int64_t h, int64_t w, int64_t c) {
  PatchShape const s{size, n, h, w, c};
  launch_rows_cols(stream, {"patch_blend_gradient", s.size, bytes_of<float>(1, s.n * s.size * s.size * s.c)},
                   s.size * s.c, patch_blend_gradient, mean, gradient, beta, row, col, s);
}

void launch_patch_warp(const Stream& stream, float* out, const float* x, const float* patch, const float* poses,
                       float beta, int64_t size, int64_t n, int64_t h, int64_t w, int64_t c) {
  PatchShape const s{size, n, h, w, c};
  launch_rows_cols(stream, {"patch_warp", s.n * s.h, bytes_of<float>(2, s.n * s.image())}, s.w, patch_warp, out, x,
                   patch, poses, beta, s);
}

void launch_patch_warp_gradient(const Stream& stream, float* mean, const float* gradient, const float* poses,
                                float beta, int64_t size, int64_t n, int64_t h, int64_t w, int64_t c) {
  PatchShape const s{size, n, h, w, c};
  int64_t const texels = s.size * s.size;
  if (texels == 0) return;
  const char* const name = "patch_warp_gradient";
  launch_rows_cols(stream, {name, texels, bytes_of<float>(1, s.n * s.image())}, s.c, patch_warp_gradient, mean,
                   gradient, poses, beta, s, Divider(s.size, texels, name));
}

void launch_gaussian_smooth_axis(const Stream& stream, float* out, const float* in, const float* weights,
                                 int64_t radius, int64_t outer, int64_t length, int64_t inner) {
  launch_rows_cols(stream, {"gaussian_smooth_axis", outer * length, bytes_of<float>(2, outer * length * inner)}, inner,
                   gaussian_smooth_axis, out, in, weights, radius, outer, length, inner);
}

KERNEL(patch_blend, launch_patch_blend);
KERNEL(patch_blend_gradient, launch_patch_blend_gradient);
KERNEL(patch_warp, launch_patch_warp);
KERNEL(patch_warp_gradient, launch_patch_warp_gradient);
KERNEL(gaussian_smooth_axis, launch_gaussian_smooth_axis);

}  // namespace mith::MITH_SPACE
