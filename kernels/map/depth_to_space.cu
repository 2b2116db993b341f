// Blocks of pixels that lie in the channels of one, spread to where they belong; and blocks of which there is only the
// first pixel. Signatures:
//
//   depth_to_space (T* y, const T* x, int64_t n, int64_t h, int64_t w, int64_t c, PixelBlocks)
//       y[n,h,w,c] from x[n, blocks.h, blocks.w, side * side * c]
//   spread_pixels (T* y, const T* x, int64_t n, int64_t h, int64_t w, int64_t c, int64_t side, bool add)
//       y[n,h,w,c] (+)= x[n, ceil(h / side), ceil(w / side), c] in the first pixel of each block, zero in the others
//
// A work item of the first is one row of one block, which is contiguous on both sides; of the others, a pixel.
#include "kernels/map/depth_to_space.h"

#include "kernels/launch/bytes.h"
#include "kernels/launch/divide.h"
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

template <class T>
__global__ void depth_to_space(T* __restrict__ y, const T* __restrict__ x, int64_t w, int64_t c, PixelBlocks blocks,
                               Divider across, Divider rows, uint32_t n) {
  for (auto i : grid_stride(n)) {
    uint32_t const row = across.quotient(static_cast<uint32_t>(i));  // of all images
    int64_t const column = static_cast<uint32_t>(i) - row * across.divisor;
    uint32_t const image = rows.quotient(row);
    uint32_t const in_image = row - image * rows.divisor;
    uint32_t const block_row = in_image / static_cast<uint32_t>(blocks.side);
    int64_t const phase = in_image - block_row * blocks.side;
    int64_t const run = blocks.side * c;
    int64_t const left = (w - column * blocks.side) * c;
    const T* const from =
        x + ((image * blocks.h + blocks.top + block_row) * blocks.w + blocks.left + column) * blocks.side * run +
        phase * run;
    T* const to = y + (static_cast<int64_t>(row) * w + column * blocks.side) * c;
    for (int64_t j = 0; j < kmin(run, left); ++j) to[j] = from[j];
  }
}

template <class T>
void launch_depth_to_space(const Stream& stream, T* y, const T* x, int64_t n, int64_t h, int64_t w, int64_t c,
                           PixelBlocks blocks) {
  int64_t const across = (w + blocks.side - 1) / blocks.side, items = n * h * across;
  if (items == 0) return;
  launch_map(stream, {"depth_to_space", items, bytes_of<T>(2, n * h * w * c)}, depth_to_space<T>, y, x, w, c, blocks,
             Divider(across, items, "depth_to_space"), Divider(h, n * h, "depth_to_space"), items);
}

/// By pixels of y.
template <class T>
__global__ void spread_pixels(T* __restrict__ y, const T* __restrict__ x, int64_t c, int64_t columns, int64_t lines,
                              Divider by_w, Divider by_h, Divider by_side, int64_t pixels) {
  for (auto pixel : grid_rows(pixels)) {
    uint32_t const line = by_w.quotient(static_cast<uint32_t>(pixel)), image = by_h.quotient(line);
    uint32_t const row = line - image * by_h.divisor, column = static_cast<uint32_t>(pixel) - line * by_w.divisor;
    uint32_t const block_row = by_side.quotient(row), block_column = by_side.quotient(column);
    bool const first = (block_row * by_side.divisor == row) & (block_column * by_side.divisor == column);
    T* const to = y + pixel * c;
    const T* const from = x + ((image * lines + block_row) * columns + block_column) * c;
    if (first) {
      for (auto j : row_cols(c)) to[j] = from[j];
    } else {
      for (auto j : row_cols(c)) to[j] = T(0);
    }
  }
}

/// By pixels of x.
template <class T>
__global__ void add_spread_pixels(T* __restrict__ y, const T* __restrict__ x, int64_t w, int64_t h, int64_t c,
                                  int64_t side, Divider by_columns, Divider by_lines, int64_t pixels) {
  for (auto pixel : grid_rows(pixels)) {
    uint32_t const line = by_columns.quotient(static_cast<uint32_t>(pixel)), image = by_lines.quotient(line);
    int64_t const row = (line - image * by_lines.divisor) * side;
    int64_t const column = (static_cast<uint32_t>(pixel) - line * by_columns.divisor) * side;
    T* const to = y + ((image * h + row) * w + column) * c;
    for (auto j : row_cols(c)) to[j] = T(to[j] + x[pixel * c + j]);
  }
}

template <class T>
void launch_spread_pixels(const Stream& stream, T* y, const T* x, int64_t n, int64_t h, int64_t w, int64_t c,
                          int64_t side, bool add) {
  constexpr const char* name = "spread_pixels";
  int64_t const lines = (h + side - 1) / side, columns = (w + side - 1) / side;
  int64_t const pixels = n * h * w, spread = n * lines * columns;
  if (pixels == 0) return;
  if (add)
    launch_rows_cols(stream, {name, spread, bytes_of<T>(3, spread * c)}, c, add_spread_pixels<T>, y, x, w, h, c, side,
                     Divider(columns, spread, name), Divider(lines, n * lines, name), spread);
  else
    launch_rows_cols(stream, {name, pixels, bytes_of<T>(1, (pixels + spread) * c)}, c, spread_pixels<T>, y, x, c,
                     columns, lines, Divider(w, pixels, name), Divider(h, n * h, name), Divider(side, h + w, name),
                     pixels);
}

KERNEL_NARROW_FLOATS(depth_to_space, launch_depth_to_space);
KERNEL_NARROW_FLOATS(spread_pixels, launch_spread_pixels);

}  // namespace mith::MITH_SPACE
