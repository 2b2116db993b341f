// Element-wise arithmetic: fill, cast, add, multiply, scale, accumulate, broadcast over rows, affine over channels.
#include "kernels/launch/bytes.h"
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

template <class T>
__global__ void fill(T* __restrict__ y, T value, int64_t n) {
  for (auto i : grid_stride(n)) y[i] = value;
}

template <class To, class From>
__global__ void cast(To* __restrict__ y, const From* __restrict__ x, int64_t n) {
  for (auto i : grid_stride(n)) y[i] = static_cast<To>(x[i]);
}

template <class T>
__global__ void add(T* __restrict__ y, const T* __restrict__ a, const T* __restrict__ b, int64_t n) {
  for (auto i : grid_stride(n)) y[i] = T(a[i] + b[i]);
}

template <class T>
__global__ void multiply(T* __restrict__ y, const T* __restrict__ a, const T* __restrict__ b, int64_t n) {
  for (auto i : grid_stride(n)) y[i] = a[i] * b[i];
}

template <class T>
__global__ void scale(T* __restrict__ y, const T* __restrict__ x, T factor, int64_t n) {
  for (auto i : grid_stride(n)) y[i] = x[i] * factor;
}

template <class T>
__global__ void add_in_place(T* __restrict__ y, const T* __restrict__ x, T alpha, int64_t n) {
  for (auto i : grid_stride(n)) y[i] += alpha * x[i];
}

/// y[r][c] = x[r] * factor: the backward pass of every sum.
template <class T>
__global__ void broadcast_rows(T* __restrict__ y, const T* __restrict__ x, T factor, int64_t rows, int64_t cols) {
  for (auto r : grid_rows(rows)) {
    T const value = x[r] * factor;
    for (auto c : row_cols(cols)) y[r * cols + c] = value;
  }
}

/// y = x * scale[c] + shift[c]. Without a shift (null) this is also its own backward pass.
template <class T>
__global__ void channel_affine(T* __restrict__ y, const T* __restrict__ x, const T* __restrict__ scale,
                               const T* __restrict__ shift, int64_t rows, int64_t cols) {
  for (auto r : grid_rows(rows)) {
    for (auto c : row_cols(cols)) y[r * cols + c] = x[r * cols + c] * scale[c] + (shift ? shift[c] : T(0));
  }
}

/// The same for the one to four channels of images, where the loop over pixels is the one that vectorises.
template <class T, int C>
__global__ void channel_affine_narrow(T* __restrict__ y, const T* __restrict__ x, const T* __restrict__ scale,
                                      const T* __restrict__ shift, int64_t rows) {
  T factor[C], offset[C];
  for (int c = 0; c < C; ++c) {
    factor[c] = scale[c];
    offset[c] = shift ? shift[c] : T(0);
  }
  for (auto r : grid_stride(rows)) {
    MITH_UNROLL
    for (int c = 0; c < C; ++c) y[r * C + c] = x[r * C + c] * factor[c] + offset[c];
  }
}

// Launchers.

template <class T>
void launch_fill(const Stream& stream, T* y, double value, int64_t n) {
  launch_map(stream, {"fill", n, bytes_of<T>(1, n)}, fill<T>, y, value, n);
}

template <class To, class From>
void launch_cast(const Stream& stream, To* y, const From* x, int64_t n) {
  launch_map(stream, {"cast", n, bytes_of<To>(1, n) + bytes_of<From>(1, n)}, cast<To, From>, y, x, n);
}

template <class T>
void launch_add(const Stream& stream, T* y, const T* a, const T* b, int64_t n) {
  launch_map(stream, {"add", n, bytes_of<T>(3, n)}, add<T>, y, a, b, n);
}

template <class T>
void launch_multiply(const Stream& stream, T* y, const T* a, const T* b, int64_t n) {
  launch_map(stream, {"multiply", n, bytes_of<T>(3, n)}, multiply<T>, y, a, b, n);
}

template <class T>
void launch_scale(const Stream& stream, T* y, const T* x, double factor, int64_t n) {
  launch_map(stream, {"scale", n, bytes_of<T>(2, n)}, scale<T>, y, x, factor, n);
}

template <class T>
void launch_add_in_place(const Stream& stream, T* y, const T* x, double alpha, int64_t n) {
  launch_map(stream, {"add_in_place", n, bytes_of<T>(3, n)}, add_in_place<T>, y, x, alpha, n);
}

template <class T>
void launch_broadcast_rows(const Stream& stream, T* y, const T* x, double factor, int64_t rows, int64_t cols) {
  launch_rows_cols(stream, {"broadcast_rows", rows, bytes_of<T>(1, rows * cols)}, cols, broadcast_rows<T>, y, x, factor,
                   rows, cols);
}

template <class T>
void launch_channel_affine(const Stream& stream, T* y, const T* x, const T* scale, const T* shift, int64_t rows,
                           int64_t cols) {
  Work const work{"channel_affine", rows, bytes_of<T>(2, rows * cols)};
  switch (cols) {
    case 1:
      return launch_map(stream, work, channel_affine_narrow<T, 1>, y, x, scale, shift, rows);
    case 2:
      return launch_map(stream, work, channel_affine_narrow<T, 2>, y, x, scale, shift, rows);
    case 3:
      return launch_map(stream, work, channel_affine_narrow<T, 3>, y, x, scale, shift, rows);
    case 4:
      return launch_map(stream, work, channel_affine_narrow<T, 4>, y, x, scale, shift, rows);
    default:
      return launch_rows_cols(stream, work, cols, channel_affine<T>, y, x, scale, shift, rows, cols);
  }
}

KERNEL_FLOATS(fill, launch_fill);
KERNEL(cast_f32_f64, (launch_cast<double, float>));
KERNEL(cast_f64_f32, (launch_cast<float, double>));
KERNEL(cast_f32_bf16, (launch_cast<bf16, float>));
KERNEL(cast_bf16_f32, (launch_cast<float, bf16>));
KERNEL_ALL_FLOATS(add, launch_add);
KERNEL_FLOATS(multiply, launch_multiply);
KERNEL_FLOATS(scale, launch_scale);
KERNEL_FLOATS(add_in_place, launch_add_in_place);
KERNEL_FLOATS(broadcast_rows, launch_broadcast_rows);
KERNEL_FLOATS(channel_affine, launch_channel_affine);

}  // namespace mith::MITH_SPACE
