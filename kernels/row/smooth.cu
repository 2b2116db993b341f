// Smoothing of images along one axis, each channel for itself, with zeros beyond the borders, f32. A row is a line of
// an image. Signatures:
//
//   smooth_rows, smooth_columns (float* y, const float* x, const float* weights, int64_t size, int64_t n, int64_t h,
//                                int64_t w, int64_t c)
//
// `size` weights, an odd number, the middle one an element's own. smooth_rows runs along the lines, smooth_columns
// across them.
#include "kernels/launch/bytes.h"
#include "kernels/launch/divide.h"
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

__global__ void smooth_rows(float* __restrict__ y, const float* __restrict__ x, const float* __restrict__ weights,
                            int64_t size, int64_t lines, int64_t cols, int64_t channels) {
  int64_t const reach = size / 2;
  for (auto line : grid_rows(lines)) {
    const float* const from = x + line * cols;
    float* const to = y + line * cols;
    column_sums<1, float>(
        0, size, cols,
        [&](int64_t u, int64_t k, float* value) {
          int64_t const at = k + (u - reach) * channels;  // beyond the line where the pixel is beyond it
          float const weighted = weights[u] * from[clamp<int64_t>(at, 0, cols - 1)];
          value[0] = at >= 0 && at < cols ? weighted : 0.0f;
        },
        [&](int64_t k, const float* sum) { to[k] = sum[0]; });
  }
}

__global__ void smooth_columns(float* __restrict__ y, const float* __restrict__ x, const float* __restrict__ weights,
                               int64_t size, Divider by_h, int64_t lines, int64_t cols) {
  int64_t const reach = size / 2, h = by_h.divisor;
  for (auto line : grid_rows(lines)) {
    int64_t const row = line - int64_t(by_h.quotient(static_cast<uint32_t>(line))) * h;
    float* const to = y + line * cols;
    column_sums<1, float>(
        kmax<int64_t>(reach - row, 0), kmin<int64_t>(reach + h - row, size), cols,
        [&](int64_t u, int64_t k, float* value) { value[0] = weights[u] * x[(line + u - reach) * cols + k]; },
        [&](int64_t k, const float* sum) { to[k] = sum[0]; });
  }
}

void launch_smooth_rows(const Stream& stream, float* y, const float* x, const float* weights, int64_t size, int64_t n,
                        int64_t h, int64_t w, int64_t c) {
  launch_rows_cols(stream, {"smooth_rows", n * h, bytes_of<float>(2, n * h * w * c)}, w * c, smooth_rows, y, x, weights,
                   size, n * h, w * c, c);
}

void launch_smooth_columns(const Stream& stream, float* y, const float* x, const float* weights, int64_t size,
                           int64_t n, int64_t h, int64_t w, int64_t c) {
  if (n * h == 0) return;
  const char* const name = "smooth_columns";
  launch_rows_cols(stream, {name, n * h, bytes_of<float>(2, n * h * w * c)}, w * c, smooth_columns, y, x, weights, size,
                   Divider(h, n * h, name), n * h, w * c);
}

KERNEL(smooth_rows, launch_smooth_rows);
KERNEL(smooth_columns, launch_smooth_columns);

}  // namespace mith::MITH_SPACE
