// Random styles of images without a style network, f32: every copy by a random convolution (Xu et al. 2021) or by
// another image's channel statistics (Huang & Belongie 2017, eq. 8, on pixels), then mixed with the image. Signatures:
//
//   random_filters     (float* filters, const int64_t* ids, DrawKey key, StyledCopies shape)
//       filters [images * convolved, 1 + 49 c^2]: a side k of 1, 3, 5 or 7 with equal chances, then weights [c,k,k,c]
//       of N(0, 2 / (k^2 c)) (He et al. 2015)
//   random_convolution (float* out, const float* x, const float* filters, StyledCopies shape)
//       out [images * convolved, h, w, c]; borders repeat the outermost pixels
//   style_maps         (float* maps, const float* mean, const float* deviation, const float* convolved_mean,
//                       const float* convolved_deviation, const float* pool_mean, const float* pool_deviation,
//                       const int64_t* partners, const int64_t* ids, DrawKey key, float jitter, StyledCopies shape)
//       maps [images * count, 2, c]: factor and shift that give a channel its new mean and deviation: a convolved copy
//       those of its image, any other those of pool row partners[image * copies + copy], each times 1 + U(-jitter,
//       jitter); -1: of its own image
//   styled_copies      (float* out, const float* x, const float* convolved, const float* maps, const int64_t* ids,
//                       DrawKey key, StyleMix mix, StyledCopies shape)
#include "kernels/map/random_style.h"

#include "kernels/launch/bytes.h"
#include "kernels/launch/divide.h"
#include "kernels/launch/launch.h"
#include "kernels/launch/philox.h"

namespace mith::MITH_SPACE {

__global__ void random_filters(float* __restrict__ filters, const int64_t* __restrict__ ids, DrawKey key,
                               StyledCopies s, int64_t size) {
  for (auto row : grid_rows(s.images * s.convolved)) {
    int64_t const image = row / s.convolved, copy = row - image * s.convolved;
    uint64_t const id = static_cast<uint64_t>(ids[image]);
    uint64_t const first = static_cast<uint64_t>((s.first + copy) * (size + size % 2 + 2));  // normals come in pairs
    int32_t const side = 1 + 2 * static_cast<int32_t>(random_bits(key, id, first) >> 30);
    float const deviation = std::sqrt(2.0f / static_cast<float>(side * side * s.c));
    for (auto i : row_cols(size)) {
      float const weight = deviation * normal(key, id, first + 2 + static_cast<uint64_t>(i));
      filters[row * size + i] = i == 0 ? static_cast<float>(side) : weight;
    }
  }
}

__global__ void random_convolution(float* __restrict__ out, const float* __restrict__ x,
                                   const float* __restrict__ filters, StyledCopies s, int64_t size, Divider by_w,
                                   Divider by_h, Divider by_convolved, int64_t pixels) {
  for (auto pixel : grid_rows(pixels)) {
    uint32_t const line = by_w.quotient(static_cast<uint32_t>(pixel)), copy = by_h.quotient(line);
    int32_t const w = static_cast<int32_t>(s.w), h = static_cast<int32_t>(s.h);
    int32_t const column = static_cast<int32_t>(static_cast<uint32_t>(pixel) - line * by_w.divisor);
    int32_t const row = static_cast<int32_t>(line - copy * by_h.divisor);
    const float* const filter = filters + copy * size;
    const float* const from = x + by_convolved.quotient(copy) * s.h * s.w * s.c;
    int32_t const side = static_cast<int32_t>(filter[0]), reach = side / 2;
    for (auto k : row_cols(s.c)) {
      const float* weight = filter + 1 + k * side * side * s.c;
      float sum = 0;
      for (int32_t i = -reach; i <= reach; ++i) {
        const float* const source = from + int64_t(clamp(row + i, 0, h - 1)) * s.w * s.c;
        for (int32_t j = -reach; j <= reach; ++j) {
          const float* const taken = source + clamp(column + j, 0, w - 1) * s.c;
          for (int64_t l = 0; l < s.c; ++l) sum += *weight++ * taken[l];
        }
      }
      out[pixel * s.c + k] = sum;
    }
  }
}

/// 1 + U(-jitter, jitter).
MITH_DEVICE float jittered(const DrawKey& key, int64_t id, int64_t element, float jitter) {
  return 1 + jitter * (2 * uniform(key, static_cast<uint64_t>(id), static_cast<uint64_t>(element)) - 1);
}

/// A channel that varies by less than this is flat: what rounding left of it is not spread out.
constexpr float flat = 1e-5f;

__global__ void style_maps(float* __restrict__ maps, const float* __restrict__ mean,
                           const float* __restrict__ deviation, const float* __restrict__ convolved_mean,
                           const float* __restrict__ convolved_deviation, const float* __restrict__ pool_mean,
                           const float* __restrict__ pool_deviation, const int64_t* __restrict__ partners,
                           const int64_t* __restrict__ ids, DrawKey key, float jitter, StyledCopies s) {
  for (auto row : grid_rows(s.images * s.count)) {
    int64_t const image = row / s.count, copy = row - image * s.count;
    bool const convolved = copy < s.convolved;
    int64_t const partner = convolved ? -1 : partners[image * s.copies + s.first + copy];
    int64_t const from = convolved ? (image * s.convolved + copy) * s.c : image * s.c;
    const float* const old_mean = (convolved ? convolved_mean : mean) + from;
    const float* const old_deviation = (convolved ? convolved_deviation : deviation) + from;
    const float* const new_mean = partner < 0 ? mean + image * s.c : pool_mean + partner * s.c;
    const float* const new_deviation = partner < 0 ? deviation + image * s.c : pool_deviation + partner * s.c;
    for (auto k : row_cols(s.c)) {
      float const amount = convolved ? 0 : jitter;
      int64_t const element = 2 * ((s.first + copy) * s.c + k);
      float const factor = old_deviation[k] < flat
                               ? 0.0f
                               : new_deviation[k] / old_deviation[k] * jittered(key, ids[image], element + 1, amount);
      maps[2 * row * s.c + k] = factor;
      maps[(2 * row + 1) * s.c + k] = new_mean[k] * jittered(key, ids[image], element, amount) - factor * old_mean[k];
    }
  }
}

__global__ void styled_copies(float* __restrict__ out, const float* __restrict__ x, const float* __restrict__ convolved,
                              const float* __restrict__ maps, const int64_t* __restrict__ ids, DrawKey key,
                              StyleMix mix, StyledCopies s, Divider by_pixels, Divider by_count, int64_t pixels) {
  int64_t const per_image = s.h * s.w * s.c;
  for (auto pixel : grid_rows(pixels)) {
    uint32_t const row = by_pixels.quotient(static_cast<uint32_t>(pixel)), image = by_count.quotient(row);
    int64_t const copy = row - image * by_count.divisor;
    int64_t const first = (pixel - int64_t(row) * by_pixels.divisor) * s.c;  // of this pixel in its image
    const float* const own = x + image * per_image + first;
    const float* const source = copy < s.convolved ? convolved + (image * s.convolved + copy) * per_image + first : own;
    const float *const factor = maps + 2 * int64_t(row) * s.c, *const shift = factor + s.c;
    uint64_t const id = static_cast<uint64_t>(ids[image]);
    for (auto k : row_cols(s.c)) {
      float const noise = 2 * uniform(key, id, static_cast<uint64_t>((s.first + copy) * per_image + first + k)) - 1;
      float const style = factor[k] * source[k] + shift[k];
      out[pixel * s.c + k] = mix.gamma * own[k] + (1 - mix.gamma) * style + mix.reach * noise;
    }
  }
}

void launch_random_filters(const Stream& stream, float* filters, const int64_t* ids, DrawKey key, StyledCopies s) {
  int64_t const rows = s.images * s.convolved;
  launch_rows_cols(stream, {"random_filters", rows, bytes_of<float>(rows, s.filter())}, s.filter(), random_filters,
                   filters, ids, key, s, s.filter());
}

void launch_random_convolution(const Stream& stream, float* out, const float* x, const float* filters, StyledCopies s) {
  const char* const name = "random_convolution";
  int64_t const pixels = s.images * s.convolved * s.h * s.w;
  if (pixels == 0) return;
  launch_rows_cols(stream, {name, pixels, bytes_of<float>(2, pixels * s.c)}, s.c, random_convolution, out, x, filters,
                   s, s.filter(), Divider(s.w, pixels, name), Divider(s.h, pixels, name),
                   Divider(s.convolved, pixels, name), pixels);
}

void launch_style_maps(const Stream& stream, float* maps, const float* mean, const float* deviation,
                       const float* convolved_mean, const float* convolved_deviation, const float* pool_mean,
                       const float* pool_deviation, const int64_t* partners, const int64_t* ids, DrawKey key,
                       float jitter, StyledCopies s) {
  launch_rows_cols(stream, {"style_maps", s.rows(), bytes_of<float>(6, s.rows() * s.c)}, s.c, style_maps, maps, mean,
                   deviation, convolved_mean, convolved_deviation, pool_mean, pool_deviation, partners, ids, key,
                   jitter, s);
}

void launch_styled_copies(const Stream& stream, float* out, const float* x, const float* convolved, const float* maps,
                          const int64_t* ids, DrawKey key, StyleMix mix, StyledCopies s) {
  const char* const name = "styled_copies";
  int64_t const pixels = s.rows() * s.h * s.w;
  if (pixels == 0) return;
  launch_rows_cols(stream, {name, pixels, bytes_of<float>(3, pixels * s.c)}, s.c, styled_copies, out, x, convolved,
                   maps, ids, key, mix, s, Divider(s.h * s.w, pixels, name), Divider(s.count, pixels, name), pixels);
}

KERNEL(random_filters, launch_random_filters);
KERNEL(random_convolution, launch_random_convolution);
KERNEL(style_maps, launch_style_maps);
KERNEL(styled_copies, launch_styled_copies);

}  // namespace mith::MITH_SPACE
