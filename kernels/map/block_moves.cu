// Copies of images cut into blocks, each block shifted, flipped, turned, scaled, blurred or disturbed by itself, f32,
// and the way back. Signatures:
//
//   block_moves_forward  (float* out, const float* x, const int32_t* table, const int64_t* ids, DrawKey key,
//                         BlockCopies shape)
//   block_moves_backward (float* out, const float* gradients, const float* x, const int32_t* table, const int64_t* ids,
//                         DrawKey key, BlockCopies shape)
//       the transposed moves; where the clamp cut noise off the slope is 0
//   block_low_pass       (float* out, const float* in, const int32_t* table, const float* dirichlet, int vertical,
//                         BlockCopies shape)
//       along one direction, in the blocks whose move is low_pass; nothing is written elsewhere. It is its own
//       transpose. dirichlet: the sums of cosines that dirichlet_sums() of attacks/sia.h makes
//
// A row is a pixel, its channels the vector. Backward gathers: every move is inverted, so that nothing is written
// twice.
#include "kernels/map/block_moves.h"

#include "kernels/launch/bytes.h"
#include "kernels/launch/divide.h"
#include "kernels/launch/launch.h"
#include "kernels/launch/philox.h"

namespace mith::MITH_SPACE {

/// The block that holds a pixel.
struct Block {
  int32_t top, left, height, width;
  BlockMove move;
  int32_t parameter;

  MITH_DEVICE Block(const int32_t* table, int32_t blocks, int32_t row, int32_t column) {
    const int32_t *const rows = table, *const columns = table + blocks + 1, *const moves = columns + blocks + 1;
    int32_t i = 0, j = 0;
    while (i + 1 < blocks && row >= rows[i + 1]) ++i;
    while (j + 1 < blocks && column >= columns[j + 1]) ++j;
    top = rows[i], height = rows[i + 1] - top;
    left = columns[j], width = columns[j + 1] - left;
    move = static_cast<BlockMove>(moves[2 * (i * blocks + j)]);
    parameter = moves[2 * (i * blocks + j) + 1];
  }
};

struct Place {
  int32_t row, column;
};

/// (at - shift) mod extent, for |shift| < extent.
MITH_DEVICE int32_t turned(int32_t at, int32_t shift, int32_t extent) {
  int32_t const moved = at - shift;
  return moved < 0 ? moved + extent : moved >= extent ? moved - extent : moved;
}

/// The pixel that the moves which only rearrange put at (row, column) of the image; with direction -1 the one where
/// they put it.
MITH_DEVICE Place rearranged(const Block& b, int32_t row, int32_t column, int32_t direction) {
  bool const down = b.move == BlockMove::vertical_flip || b.move == BlockMove::rotation;
  bool const across = b.move == BlockMove::horizontal_flip || b.move == BlockMove::rotation;
  if (b.move == BlockMove::vertical_shift)
    return {b.top + turned(row - b.top, direction * b.parameter, b.height), column};
  if (b.move == BlockMove::horizontal_shift)
    return {row, b.left + turned(column - b.left, direction * b.parameter, b.width)};
  return {down ? 2 * b.top + b.height - 1 - row : row, across ? 2 * b.left + b.width - 1 - column : column};
}

/// What the scaling moves multiply a channel with.
MITH_DEVICE float gain(const Block& b, int64_t channel) {
  if (b.move == BlockMove::scaling) return static_cast<float>(b.parameter) * (1.0f / 16777216.0f);
  if (b.move == BlockMove::channel_dropout) return b.parameter >> channel & 1 ? 1 / (1 - block_dropout) : 0.0f;
  return 1.0f;
}

/// Bilinear resizing of `extent` elements to 0.8 of them and back, half-pixel centres: the four elements that element
/// `at` is made of, some of them twice.
struct ThereAndBack {
  int32_t at[4];
  float weight[4];

  MITH_DEVICE ThereAndBack(int32_t element, int32_t extent) {
    int32_t const fewer = kmax(extent * 4 / 5, 1);
    float const scale = static_cast<float>(fewer) / static_cast<float>(extent);
    float const back = kmax((static_cast<float>(element) + 0.5f) * scale - 0.5f, 0.0f);
    for (int32_t i = 0; i < 2; ++i) {
      int32_t const low = kmin(static_cast<int32_t>(back), fewer - 1), middle = kmin(low + i, fewer - 1);
      float const part = back - static_cast<float>(low);
      float const there = kmax((static_cast<float>(middle) + 0.5f) / scale - 0.5f, 0.0f);
      for (int32_t j = 0; j < 2; ++j) {
        int32_t const first = kmin(static_cast<int32_t>(there), extent - 1);
        float const share = there - static_cast<float>(first);
        at[2 * i + j] = kmin(first + j, extent - 1);
        weight[2 * i + j] = (i ? part : 1 - part) * (j ? share : 1 - share);
      }
    }
  }
  MITH_DEVICE float share(int32_t element) const {
    float sum = 0;
    for (int32_t i = 0; i < 4; ++i) sum += at[i] == element ? weight[i] : 0.0f;
    return sum;
  }
};
/// Elements further apart than this have no part in each other: 1.25 or, of two, 2 elements for each of the two ways.
constexpr int32_t resize_reach = 4;

/// An image as the moves read it.
struct Image {
  const float* pixels;  ///< [h,w,c]
  int32_t width;
  int64_t channels;
  MITH_DEVICE float at(int32_t row, int32_t column, int64_t channel) const {
    return pixels[(int64_t(row) * width + column) * channels + channel];
  }
};

MITH_DEVICE float resized(const Block& b, const Image& from, int32_t row, int32_t column, int64_t channel) {
  ThereAndBack const rows(row - b.top, b.height), columns(column - b.left, b.width);
  float sum = 0;
  for (int32_t i = 0; i < 4; ++i) {
    for (int32_t j = 0; j < 4; ++j) {
      sum += rows.weight[i] * columns.weight[j] * from.at(b.top + rows.at[i], b.left + columns.at[j], channel);
    }
  }
  return sum;
}

/// The transpose of resized().
MITH_DEVICE float gathered_resize(const Block& b, const Image& from, int32_t row, int32_t column, int64_t channel) {
  int32_t const y = row - b.top, x = column - b.left;
  float sum = 0;
  for (int32_t i = kmax(y - resize_reach, 0); i <= kmin(y + resize_reach, b.height - 1); ++i) {
    float const share = ThereAndBack(i, b.height).share(y);
    if (share == 0) continue;
    for (int32_t j = kmax(x - resize_reach, 0); j <= kmin(x + resize_reach, b.width - 1); ++j)
      sum += share * ThereAndBack(j, b.width).share(x) * from.at(b.top + i, b.left + j, channel);
  }
  return sum;
}

/// Numbers of pixels of copies as row of copies, image and place.
struct CopyPixel {
  uint32_t copy, image;
  int32_t row, column;
};
struct CopyPixels {
  Divider by_w, by_h, by_count;
  CopyPixels(const BlockCopies& s, const char* kernel)
      : by_w(s.w, s.pixels(), kernel), by_h(s.h, s.pixels(), kernel), by_count(s.count, s.pixels(), kernel) {}
  MITH_DEVICE CopyPixel operator()(int64_t pixel) const {
    uint32_t const line = by_w.quotient(static_cast<uint32_t>(pixel)), copy = by_h.quotient(line);
    return {copy, by_count.quotient(copy), static_cast<int32_t>(line - copy * by_h.divisor),
            static_cast<int32_t>(static_cast<uint32_t>(pixel) - line * by_w.divisor)};
  }
};

/// The noise of one value, numbered through all copies of an image.
struct CopyNoise {
  DrawKey key;
  uint64_t id, first;
  MITH_DEVICE CopyNoise(const DrawKey& k, const int64_t* ids, const CopyPixel& p, const BlockCopies& s)
      : key(k), id(static_cast<uint64_t>(ids[p.image])) {
    int64_t const copy = s.first + p.copy - int64_t(p.image) * s.count;
    first = static_cast<uint64_t>(((copy * s.h + p.row) * s.w + p.column) * s.c);
  }
  MITH_DEVICE float operator()(int64_t channel) const {
    return block_noise * (2 * uniform(key, id, first + static_cast<uint64_t>(channel)) - 1);
  }
};

__global__ void block_moves_forward(float* __restrict__ out, const float* __restrict__ x,
                                    const int32_t* __restrict__ table, const int64_t* __restrict__ ids, DrawKey key,
                                    CopyPixels numbers, BlockCopies s, int64_t entry, int64_t pixels) {
  for (auto pixel : grid_rows(pixels)) {
    CopyPixel const p = numbers(pixel);
    Block const b(table + p.copy * entry, static_cast<int32_t>(s.blocks), p.row, p.column);
    Image const from{x + p.image * s.h * s.w * s.c, static_cast<int32_t>(s.w), s.c};
    float* const to = out + pixel * s.c;
    if (b.move == BlockMove::resize) {
      for (auto k : row_cols(s.c)) to[k] = resized(b, from, p.row, p.column, k);
    } else if (b.move == BlockMove::noise) {
      CopyNoise const noise(key, ids, p, s);
      for (auto k : row_cols(s.c)) to[k] = clamp(from.at(p.row, p.column, k) + noise(k), 0.0f, 1.0f);
    } else {
      Place const source = rearranged(b, p.row, p.column, 1);
      for (auto k : row_cols(s.c)) to[k] = gain(b, k) * from.at(source.row, source.column, k);
    }
  }
}

__global__ void block_moves_backward(float* __restrict__ out, const float* __restrict__ gradients,
                                     const float* __restrict__ x, const int32_t* __restrict__ table,
                                     const int64_t* __restrict__ ids, DrawKey key, CopyPixels numbers, BlockCopies s,
                                     int64_t entry, int64_t pixels) {
  int64_t const per_image = s.h * s.w * s.c;
  for (auto pixel : grid_rows(pixels)) {
    CopyPixel const p = numbers(pixel);
    Block const b(table + p.copy * entry, static_cast<int32_t>(s.blocks), p.row, p.column);
    Image const from{gradients + p.copy * per_image, static_cast<int32_t>(s.w), s.c};
    float* const to = out + pixel * s.c;
    if (b.move == BlockMove::resize) {
      for (auto k : row_cols(s.c)) to[k] = gathered_resize(b, from, p.row, p.column, k);
    } else if (b.move == BlockMove::noise) {
      CopyNoise const noise(key, ids, p, s);
      Image const clean{x + p.image * per_image, static_cast<int32_t>(s.w), s.c};
      for (auto k : row_cols(s.c)) {
        float const noisy = clean.at(p.row, p.column, k) + noise(k);
        to[k] = noisy >= 0 && noisy <= 1 ? from.at(p.row, p.column, k) : 0.0f;
      }
    } else {
      Place const goal = rearranged(b, p.row, p.column, -1);
      for (auto k : row_cols(s.c)) to[k] = gain(b, k) * from.at(goal.row, goal.column, k);
    }
  }
}

/// Element `at` of the projection of a line of `extent` elements, `stride` apart, onto its lowest cosines: the weight
/// of element t is (D(at - t) + D(at + t + 1)) / (2 extent), D the sums of cosines in `dirichlet`.
MITH_DEVICE float low_pass_at(const float* line, int64_t stride, const float* dirichlet, int32_t at, int32_t extent) {
  const float* const sums = dirichlet + int64_t(extent) * (extent - 1);
  float sum = 0;
  for (int32_t t = 0; t < extent; ++t) sum += line[t * stride] * (sums[at < t ? t - at : at - t] + sums[at + t + 1]);
  return sum / (2 * static_cast<float>(extent));
}

__global__ void block_low_pass(float* __restrict__ out, const float* __restrict__ in, const int32_t* __restrict__ table,
                               const float* __restrict__ dirichlet, bool vertical, CopyPixels numbers, BlockCopies s,
                               int64_t entry, int64_t pixels) {
  for (auto pixel : grid_rows(pixels)) {
    CopyPixel const p = numbers(pixel);
    Block const b(table + p.copy * entry, static_cast<int32_t>(s.blocks), p.row, p.column);
    if (b.move != BlockMove::low_pass) continue;
    int64_t const first = vertical ? int64_t(b.top) * s.w + p.column : int64_t(p.row) * s.w + b.left;
    const float* const line = in + (p.copy * s.h * s.w + first) * s.c;
    for (auto k : row_cols(s.c))
      out[pixel * s.c + k] = vertical ? low_pass_at(line + k, s.w * s.c, dirichlet, p.row - b.top, b.height)
                                      : low_pass_at(line + k, s.c, dirichlet, p.column - b.left, b.width);
  }
}

void launch_block_moves_forward(const Stream& stream, float* out, const float* x, const int32_t* table,
                                const int64_t* ids, DrawKey key, BlockCopies s) {
  const char* const name = "block_moves_forward";
  if (s.pixels() == 0) return;
  launch_rows_cols(stream, {name, s.pixels(), bytes_of<float>(2, s.pixels() * s.c)}, s.c, block_moves_forward, out, x,
                   table, ids, key, CopyPixels(s, name), s, s.entry(), s.pixels());
}

void launch_block_moves_backward(const Stream& stream, float* out, const float* gradients, const float* x,
                                 const int32_t* table, const int64_t* ids, DrawKey key, BlockCopies s) {
  const char* const name = "block_moves_backward";
  if (s.pixels() == 0) return;
  launch_rows_cols(stream, {name, s.pixels(), bytes_of<float>(2, s.pixels() * s.c)}, s.c, block_moves_backward, out,
                   gradients, x, table, ids, key, CopyPixels(s, name), s, s.entry(), s.pixels());
}

void launch_block_low_pass(const Stream& stream, float* out, const float* in, const int32_t* table,
                           const float* dirichlet, int vertical, BlockCopies s) {
  const char* const name = "block_low_pass";
  if (s.pixels() == 0) return;
  launch_rows_cols(stream, {name, s.pixels(), bytes_of<float>(2, s.pixels() * s.c)}, s.c, block_low_pass, out, in,
                   table, dirichlet, vertical != 0, CopyPixels(s, name), s, s.entry(), s.pixels());
}

KERNEL(block_moves_forward, launch_block_moves_forward);
KERNEL(block_moves_backward, launch_block_moves_backward);
KERNEL(block_low_pass, launch_block_low_pass);

}  // namespace mith::MITH_SPACE
