// Slices of rows, gates and sums over channels: what joins and weighs the branches of a network.
#include "kernels/launch/bytes.h"
#include "kernels/launch/divide.h"
#include "kernels/launch/launch.h"
#include "kernels/launch/philox.h"

namespace mith::MITH_SPACE {

/// Rows of `cols` elements between arrays whose rows lie y_pitch and x_pitch elements apart; an x_pitch of 0 repeats
/// one row.
template <class T>
__global__ void copy_slice(T* __restrict__ y, const T* __restrict__ x, int64_t y_pitch, int64_t x_pitch, int64_t rows,
                           int64_t cols) {
  for (auto r : grid_rows(rows)) {
    for (auto c : row_cols(cols)) y[r * y_pitch + c] = x[r * x_pitch + c];
  }
}

/// y[j][i] = x[i][j] for vectors of `cols` elements: heads before tokens, and back.
template <class T>
__global__ void swap_dimensions(T* __restrict__ y, const T* __restrict__ x, Divider by_inner, int64_t outer,
                                int64_t inner, int64_t cols) {
  for (auto r : grid_rows(outer * inner)) {
    int64_t const i = by_inner.quotient(static_cast<uint32_t>(r)), j = r - i * inner;
    for (auto c : row_cols(cols)) y[(j * outer + i) * cols + c] = x[r * cols + c];
  }
}

/// y[image][pixel][c] = x[image][pixel][c] * gate[image][c].
template <class T>
__global__ void channel_gate(T* __restrict__ y, const T* __restrict__ x, const T* __restrict__ gate,
                             Divider pixels_per_image, int64_t pixels, int64_t cols) {
  for (auto r : grid_rows(pixels)) {
    const T* __restrict__ factor = gate + pixels_per_image.quotient(static_cast<uint32_t>(r)) * cols;
    for (auto c : row_cols(cols)) y[r * cols + c] = T(x[r * cols + c] * factor[c]);
  }
}

/// y[image][pixel][c] = factor * x[image][c]: the backward pass of a mean over pixels.
template <class T>
__global__ void broadcast_pixels(T* __restrict__ y, const T* __restrict__ x, Arithmetic<T> factor,
                                 Divider pixels_per_image, int64_t pixels, int64_t cols) {
  for (auto r : grid_rows(pixels)) {
    const T* __restrict__ from = x + pixels_per_image.quotient(static_cast<uint32_t>(r)) * cols;
    for (auto c : row_cols(cols)) y[r * cols + c] = T(factor * from[c]);
  }
}

/// y[r] = sum over the few channels of row r.
template <class T>
__global__ void sum_channels(T* __restrict__ y, const T* __restrict__ x, int64_t rows, int64_t cols) {
  for (auto r : grid_stride(rows)) {
    T sum = 0;
    for (int64_t c = 0; c < cols; ++c) sum += x[r * cols + c];
    y[r] = sum;
  }
}

/// y = factor * (x + its transpose), n x n.
template <class T>
__global__ void symmetric_sum(T* __restrict__ y, const T* __restrict__ x, T factor, int64_t n) {
  for (auto r : grid_rows(n)) {
    for (auto c : row_cols(n)) y[r * n + c] = factor * (x[r * n + c] + x[c * n + r]);
  }
}

template <class T>
__global__ void add_bias(T* __restrict__ y, const T* __restrict__ bias, int64_t rows, int64_t cols) {
  for (auto r : grid_rows(rows)) {
    for (auto c : row_cols(cols)) y[r * cols + c] += bias[c];
  }
}

/// Keeps or drops whole images: element 0 of an image's stream decides.
template <class T>
__global__ void stochastic_depth(T* __restrict__ y, const T* __restrict__ x, const int64_t* __restrict__ ids,
                                 DrawKey key, float p, T factor, int64_t images, int64_t cols) {
  for (auto i : grid_rows(images)) {
    if (uniform(key, static_cast<uint64_t>(ids[i]), 0) < p) {
      for (auto c : row_cols(cols)) y[i * cols + c] = T(0);
    } else {
      for (auto c : row_cols(cols)) y[i * cols + c] = x[i * cols + c] * factor;
    }
  }
}

// Launchers.

template <class T>
void launch_copy_slice(const Stream& stream, T* y, const T* x, int64_t y_pitch, int64_t x_pitch, int64_t rows,
                       int64_t cols) {
  launch_rows_cols(stream, {"copy_slice", rows, bytes_of<T>(2, rows * cols)}, cols, copy_slice<T>, y, x, y_pitch,
                   x_pitch, rows, cols);
}

template <class T>
void launch_swap_dimensions(const Stream& stream, T* y, const T* x, int64_t outer, int64_t inner, int64_t cols) {
  int64_t const rows = outer * inner;
  if (rows == 0) return;
  launch_rows_cols(stream, {"swap_dimensions", rows, bytes_of<T>(2, rows * cols)}, cols, swap_dimensions<T>, y, x,
                   Divider(inner, rows, "swap_dimensions"), outer, inner, cols);
}

template <class T>
void launch_channel_gate(const Stream& stream, T* y, const T* x, const T* gate, int64_t images, int64_t per_image,
                         int64_t cols) {
  int64_t const pixels = images * per_image;
  if (pixels == 0) return;
  launch_rows_cols(stream, {"channel_gate", pixels, bytes_of<T>(2, pixels * cols)}, cols, channel_gate<T>, y, x, gate,
                   Divider(per_image, pixels, "channel_gate"), pixels, cols);
}

template <class T>
void launch_broadcast_pixels(const Stream& stream, T* y, const T* x, double factor, int64_t images, int64_t per_image,
                             int64_t cols) {
  int64_t const pixels = images * per_image;
  if (pixels == 0) return;
  launch_rows_cols(stream, {"broadcast_pixels", pixels, bytes_of<T>(1, pixels * cols)}, cols, broadcast_pixels<T>, y, x,
                   factor, Divider(per_image, pixels, "broadcast_pixels"), pixels, cols);
}

template <class T>
void launch_sum_channels(const Stream& stream, T* y, const T* x, int64_t rows, int64_t cols) {
  launch_map(stream, {"sum_channels", rows, bytes_of<T>(1, rows * (cols + 1))}, sum_channels<T>, y, x, rows, cols);
}

template <class T>
void launch_symmetric_sum(const Stream& stream, T* y, const T* x, double factor, int64_t n) {
  launch_rows_cols(stream, {"symmetric_sum", n, bytes_of<T>(2, n * n)}, n, symmetric_sum<T>, y, x, factor, n);
}

template <class T>
void launch_add_bias(const Stream& stream, T* y, const T* bias, int64_t rows, int64_t cols) {
  launch_rows_cols(stream, {"add_bias", rows, bytes_of<T>(2, rows * cols)}, cols, add_bias<T>, y, bias, rows, cols);
}

template <class T>
void launch_stochastic_depth(const Stream& stream, T* y, const T* x, const int64_t* ids, DrawKey key, double p,
                             int64_t images, int64_t per_image) {
  double const factor = p < 1 ? 1 / (1 - p) : 0;
  launch_rows_cols(stream, {"stochastic_depth", images, bytes_of<T>(2, images * per_image)}, per_image,
                   stochastic_depth<T>, y, x, ids, key, p, factor, images, per_image);
}

KERNEL_FLOATS(copy_slice, launch_copy_slice);
KERNEL_FLOATS(swap_dimensions, launch_swap_dimensions);
KERNEL_ALL_FLOATS(channel_gate, launch_channel_gate);
KERNEL_ALL_FLOATS(broadcast_pixels, launch_broadcast_pixels);
KERNEL_FLOATS(sum_channels, launch_sum_channels);
KERNEL_FLOATS(symmetric_sum, launch_symmetric_sum);
KERNEL_FLOATS(add_bias, launch_add_bias);
KERNEL_FLOATS(stochastic_depth, launch_stochastic_depth);

}  // namespace mith::MITH_SPACE
