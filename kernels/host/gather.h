// How a convolution becomes a matrix product without storing its matrix: row p is a pixel of a grid, column
// (tap, channel) reads the NHWC source at that pixel displaced by the tap, or zero outside. A plain matrix is the case
// of one tap.
#pragma once
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

/// Copies `length` floats through the prologue; `channel` is the first one's.
inline void copy_run(const Prologue& p, float* to, const float* from, int64_t length, int64_t channel) {
  if (p.empty()) {
    for (int64_t c = 0; c < length; ++c) to[c] = from[c];
    return;
  }
  auto const* const scale = static_cast<const float*>(p.scale);
  auto const* const shift = static_cast<const float*>(p.shift);
  for (int64_t c = 0; c < length; ++c) {
    float v = from[c];
    if (scale) v *= scale[channel + c];
    if (shift) v += shift[channel + c];
    to[c] = p.activation == Activation::relu ? kmax(v, 0.0f) : v;
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

/// Writes columns [channel0, channel0 + length) of tap t for the grid's rows [row0, row1) to `to`, `ld` floats a row.
inline void pack_tap(const Gather& g, int64_t row0, int64_t row1, int64_t t, int64_t channel0, int64_t length,
                     float* to, int64_t ld) {
  Tap const tap = g.taps[t];
  int64_t const first_channel = g.channel + channel0;
  for_each_line(g, row0, row1, [&](int64_t first, int64_t last, int64_t image, int64_t i, int64_t j) {
    int64_t const h = i * g.step_h + tap.dh;
    bool const inside = h >= 0 && h < g.height;
    const float* const line = g.source + (inside ? (image * g.height + h) * g.width * g.pitch + first_channel : 0);
    float* at = to + (first - row0) * ld;
    for (int64_t row = first; row < last; ++row, ++j, at += ld) {
      int64_t const w = j * g.step_w + tap.dw;
      if (inside && w >= 0 && w < g.width) {
        copy_run(g.prologue, at, line + w * g.pitch, length, first_channel);
      } else {
        for (int64_t c = 0; c < length; ++c) at[c] = 0;
      }
    }
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
