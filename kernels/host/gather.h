// How a convolution becomes a matrix product without storing its matrix: row p is a pixel of a grid, column
// (tap, channel) reads the NHWC source at that pixel displaced by the tap, or zero outside. A plain matrix is the case
// of one tap.
#pragma once
#include <cstring>

#include "kernels/host/tile.h"

namespace mith::MITH_SPACE {

/// Pixel (i, j) of the grid reads, through tap t, source pixel (i * step_h + dh[t], j * step_w + dw[t]).
struct Tap {
  int64_t dh, dw;
  int64_t weight;  ///< which tap of the filter
};

struct Gather {
  const float* source;
  int64_t images, height, width, pitch;  ///< of the source; pitch: floats a pixel
  int64_t grid_h, grid_w;                ///< pixels of the grid in each image
  int64_t step_h = 1, step_w = 1;
  const Tap* taps;
  int64_t tap_count;
  int64_t channel = 0, channels;  ///< the slice of a pixel that is read
  Prologue prologue = {};

  int64_t rows() const { return images * grid_h * grid_w; }
  int64_t depth() const { return tap_count * channels; }
};

/// The rows of a matrix with `ld` floats between them.
inline constexpr Tap no_displacement{0, 0, 0};
inline Gather plain_matrix(const float* data, int64_t rows, int64_t columns, int64_t ld, Prologue prologue = {}) {
  return {.source = data,
          .images = 1,
          .height = 1,
          .width = rows,
          .pitch = ld,
          .grid_h = 1,
          .grid_w = rows,
          .taps = &no_displacement,
          .tap_count = 1,
          .channels = columns,
          .prologue = prologue};
}

/// Copies `count` runs of `length` floats, their starts `stride` and `ld` floats apart.
template <int length>
void copy_short_runs(float* to, int64_t ld, const float* from, int64_t stride, int64_t count) {
  for (int64_t i = 0; i < count; ++i) __builtin_memcpy(to + i * ld, from + i * stride, length * sizeof(float));
}
inline void copy_runs(float* to, int64_t ld, const float* from, int64_t stride, int64_t count, int64_t length) {
  switch (length) {  // a memcpy of known size is one or a few instructions
    case 1:
      return copy_short_runs<1>(to, ld, from, stride, count);
    case 3:
      return copy_short_runs<3>(to, ld, from, stride, count);
    case 16:
      return copy_short_runs<16>(to, ld, from, stride, count);
    case 32:
      return copy_short_runs<32>(to, ld, from, stride, count);
    case 64:
      return copy_short_runs<64>(to, ld, from, stride, count);
  }
  for (int64_t i = 0; i < count; ++i)
    std::memcpy(to + i * ld, from + i * stride, static_cast<size_t>(length) * sizeof(float));
}

/// Applies a prologue in place to `count` runs; `channel` is the first one's.
inline void apply_prologue(const Prologue& p, float* runs, int64_t ld, int64_t count, int64_t length, int64_t channel) {
  auto const* const scale = static_cast<const float*>(p.scale);
  auto const* const shift = static_cast<const float*>(p.shift);
  for (int64_t i = 0; i < count; ++i, runs += ld) {
    for (int64_t c = 0; c < length; ++c) {
      float v = runs[c];
      if (scale) v *= scale[channel + c];
      if (shift) v += shift[channel + c];
      runs[c] = p.activation == Activation::relu ? kmax(v, 0.0f) : v;
    }
  }
}

/// Calls body(first, last, image, i, j) for the stretches of [row0, row1) that lie in one line of the grid; j is the
/// column of `first`.
template <class Body>
void for_each_line(const Gather& g, int64_t row0, int64_t row1, Body body) {
  int64_t line = row0 / g.grid_w, j = row0 % g.grid_w;
  for (int64_t row = row0; row < row1; ++line, j = 0) {
    int64_t const end = row + g.grid_w - j < row1 ? row + g.grid_w - j : row1;
    body(row, end, line / g.grid_h, line % g.grid_h, j);
    row = end;
  }
}

/// Of the grid's columns [first, last), those that read inside a line of `width` pixels.
struct Inside {
  int64_t first, last;
  Inside(int64_t begin, int64_t end, int64_t step, int64_t displacement, int64_t width) {
    int64_t const low = displacement >= 0 ? 0 : (step - 1 - displacement) / step;
    int64_t const high = displacement >= width ? 0 : (width - 1 - displacement) / step + 1;
    first = low < begin ? begin : low > end ? end : low;
    last = high < first ? first : high > end ? end : high;
  }
};

inline void zero_runs(float* to, int64_t ld, int64_t count, int64_t length) {
  for (int64_t i = 0; i < count; ++i)
    for (int64_t c = 0; c < length; ++c) to[i * ld + c] = 0;
}

/// Writes columns [channel0, channel0 + length) of tap t for the grid's rows [row0, row1) to `to`, `ld` floats a row.
inline void pack_tap(const Gather& g, int64_t row0, int64_t row1, int64_t t, int64_t channel0, int64_t length,
                     float* to, int64_t ld) {
  Tap const tap = g.taps[t];
  int64_t const channel = g.channel + channel0;
  for_each_line(g, row0, row1, [&](int64_t first, int64_t last, int64_t image, int64_t i, int64_t j) {
    int64_t const h = i * g.step_h + tap.dh, end = j + last - first;
    float* const at = to + (first - row0) * ld;
    if (h < 0 || h >= g.height) return zero_runs(at, ld, last - first, length);
    const float* const line = g.source + (image * g.height + h) * g.width * g.pitch + channel;
    Inside const inside(j, end, g.step_w, tap.dw, g.width);
    int64_t const count = inside.last - inside.first;
    zero_runs(at, ld, inside.first - j, length);
    if (count > 0) {
      float* const runs = at + (inside.first - j) * ld;
      copy_runs(runs, ld, line + (inside.first * g.step_w + tap.dw) * g.pitch, g.step_w * g.pitch, count, length);
      if (!g.prologue.empty()) apply_prologue(g.prologue, runs, ld, count, length, channel);
    }
    zero_runs(at + (inside.last - j) * ld, ld, end - inside.last, length);
  });
}

/// Writes columns [column0, column1) for the grid's rows [row0, row1).
inline void pack(const Gather& g, int64_t row0, int64_t row1, int64_t column0, int64_t column1, float* to, int64_t ld) {
  for (int64_t column = column0; column < column1;) {
    int64_t const t = column / g.channels, c = column % g.channels;
    int64_t const length = g.channels - c < column1 - column ? g.channels - c : column1 - column;
    pack_tap(g, row0, row1, t, c, length, to + (column - column0), ld);
    column += length;
  }
}

}  // namespace mith::MITH_SPACE
