// Resizing by nearest neighbour or bilinearly (PyTorch's coordinates) and reflecting borders. A row is a pixel, its
// channels the vector. Backward gathers: an input pixel looks at the outputs that read it, so that nothing is written
// twice and sums have one order on every device.
#include "kernels/map/interpolate.h"

#include "kernels/launch/bytes.h"
#include "kernels/launch/divide.h"
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

/// The two inputs that an output coordinate lies between, and the second one's weight.
template <class T>
struct Between {
  int32_t first, second;
  T weight;
  /// How much of input `at` is in this output.
  MITH_DEVICE T share(int32_t at) const {
    return (at == first ? T(1) - weight : T(0)) + (at == second ? weight : T(0));
  }
};

/// One dimension: `in` elements resized to `out`.
template <class T>
struct Axis {
  int32_t in, out;
  Interpolation mode;
  T scale;  ///< input elements to an output element

  Axis(int64_t from, int64_t to, Interpolation m)
      : in(int32_t(from)),
        out(int32_t(to)),
        mode(m),
        scale(m != Interpolation::bilinear_align_corners ? T(from) / T(to)
              : to > 1                                   ? T(from - 1) / T(to - 1)
                                                         : T(0)) {}

  MITH_DEVICE Between<T> source(int32_t at) const {
    if (mode == Interpolation::nearest) {
      int32_t const nearest = kmin(int32_t(T(at) * scale), in - 1);
      return {nearest, nearest, T(0)};
    }
    bool const aligned = mode == Interpolation::bilinear_align_corners;
    T const x = aligned ? T(at) * scale : kmax((T(at) + T(0.5)) * scale - T(0.5), T(0));
    int32_t const first = kmin(int32_t(x), in - 1);
    return {first, kmin(first + 1, in - 1), x - T(first)};
  }

  /// Outputs [first, end) that may read input `at`: one to each side more than the exact bounds, against rounding.
  MITH_DEVICE int32_t first_reader(int32_t at) const {
    return scale > T(0) ? clamp(int32_t((T(at) - T(1.5)) / scale) - 2, 0, out) : 0;
  }
  MITH_DEVICE int32_t end_reader(int32_t at) const {
    T const bound = scale > T(0) ? (T(at) + T(1.5)) / scale + T(3) : T(out);
    return bound < T(out) ? int32_t(bound) : out;
  }
};

template <class T>
__global__ void interpolate_forward(T* __restrict__ y, const T* __restrict__ x, Axis<T> vertical, Axis<T> horizontal,
                                    Divider by_ow, Divider by_oh, int64_t pixels, int64_t cols) {
  for (auto pixel : grid_rows(pixels)) {
    uint32_t const line = by_ow.quotient(static_cast<uint32_t>(pixel)), image = by_oh.quotient(line);
    Between<T> const row = vertical.source(int32_t(line - image * by_oh.divisor));
    Between<T> const column = horizontal.source(int32_t(static_cast<uint32_t>(pixel) - line * by_ow.divisor));
    const T* const from = x + int64_t(image) * vertical.in * horizontal.in * cols;
    const T *__restrict__ a = from + (int64_t(row.first) * horizontal.in + column.first) * cols,
            *__restrict__ b = from + (int64_t(row.first) * horizontal.in + column.second) * cols,
            *__restrict__ c = from + (int64_t(row.second) * horizontal.in + column.first) * cols,
            *__restrict__ d = from + (int64_t(row.second) * horizontal.in + column.second) * cols;
    T* const to = y + pixel * cols;
    if (vertical.mode == Interpolation::nearest) {
      for (auto k : row_cols(cols)) to[k] = a[k];
      continue;
    }
    T const u = column.weight, v = row.weight;
    for (auto k : row_cols(cols))
      to[k] = (T(1) - v) * ((T(1) - u) * a[k] + u * b[k]) + v * ((T(1) - u) * c[k] + u * d[k]);
  }
}

template <class T>
__global__ void interpolate_backward(T* __restrict__ dx, const T* __restrict__ dy, Axis<T> vertical, Axis<T> horizontal,
                                     Divider by_w, Divider by_h, int64_t pixels, int64_t cols) {
  for (auto pixel : grid_rows(pixels)) {
    uint32_t const line = by_w.quotient(static_cast<uint32_t>(pixel)), image = by_h.quotient(line);
    int32_t const row = int32_t(line - image * by_h.divisor);
    int32_t const column = int32_t(static_cast<uint32_t>(pixel) - line * by_w.divisor);
    for (auto k : row_cols(cols)) dx[pixel * cols + k] = T(0);
    int32_t const end = vertical.end_reader(row), end_column = horizontal.end_reader(column);
    for (int32_t i = vertical.first_reader(row); i < end; ++i) {
      T const share = vertical.source(i).share(row);
      if (share == T(0)) continue;
      const T* const from = dy + (int64_t(image) * vertical.out + i) * horizontal.out * cols;
      for (int32_t j = horizontal.first_reader(column); j < end_column; ++j) {
        T const factor = share * horizontal.source(j).share(column);
        if (factor == T(0)) continue;
        for (auto k : row_cols(cols)) dx[pixel * cols + k] += factor * from[j * cols + k];
      }
    }
  }
}

/// A coordinate outside [0, size), mirrored at the border elements.
MITH_DEVICE int32_t reflected(int32_t at, int32_t size) {
  int32_t const below = at < 0 ? -at : at;
  return below < size ? below : 2 * (size - 1) - below;
}

template <class T>
__global__ void reflection_pad2d_forward(T* __restrict__ y, const T* __restrict__ x, int32_t h, int32_t w, int32_t top,
                                         int32_t left, Divider by_ow, Divider by_oh, int64_t pixels, int64_t cols) {
  for (auto pixel : grid_rows(pixels)) {
    uint32_t const line = by_ow.quotient(static_cast<uint32_t>(pixel)), image = by_oh.quotient(line);
    int32_t const row = reflected(int32_t(line - image * by_oh.divisor) - top, h);
    int32_t const column = reflected(int32_t(static_cast<uint32_t>(pixel) - line * by_ow.divisor) - left, w);
    const T* __restrict__ from = x + ((int64_t(image) * h + row) * w + column) * cols;
    for (auto k : row_cols(cols)) y[pixel * cols + k] = from[k];
  }
}

/// The padded coordinates that show an element: itself and its mirror images at either border, -1 where there is none.
struct Mirrors {
  int32_t at[3];
  MITH_DEVICE Mirrors(int32_t element, int32_t size, int32_t before, int32_t padded)
      : at{element + before, before - element, 2 * (size - 1) - element + before} {
    if (element == 0 || at[1] < 0) at[1] = -1;
    if (element == size - 1 || at[2] >= padded) at[2] = -1;
  }
};

template <class T>
__global__ void reflection_pad2d_backward(T* __restrict__ dx, const T* __restrict__ dy, int32_t oh, int32_t ow,
                                          int32_t top, int32_t left, Divider by_w, Divider by_h, int64_t pixels,
                                          int64_t cols) {
  for (auto pixel : grid_rows(pixels)) {
    uint32_t const line = by_w.quotient(static_cast<uint32_t>(pixel)), image = by_h.quotient(line);
    int32_t const h = int32_t(by_h.divisor), w = int32_t(by_w.divisor);
    Mirrors const rows(int32_t(line - image * by_h.divisor), h, top, oh);
    Mirrors const columns(int32_t(static_cast<uint32_t>(pixel) - line * by_w.divisor), w, left, ow);
    for (auto k : row_cols(cols)) dx[pixel * cols + k] = T(0);
    for (int32_t i : rows.at) {
      for (int32_t j : columns.at) {
        if (i < 0 || j < 0) continue;
        const T* __restrict__ from = dy + ((int64_t(image) * oh + i) * ow + j) * cols;
        for (auto k : row_cols(cols)) dx[pixel * cols + k] += from[k];
      }
    }
  }
}

// Launchers.

template <class T>
void launch_interpolate_forward(const Stream& stream, T* y, const T* x, ResizeShape s, Interpolation mode) {
  int64_t const pixels = s.n * s.oh * s.ow;
  if (pixels == 0) return;
  const char* const name = "interpolate_forward";
  launch_rows_cols(stream, {name, pixels, bytes_of<T>(1, s.inputs() + s.outputs())}, s.c, interpolate_forward<T>, y, x,
                   Axis<T>(s.h, s.oh, mode), Axis<T>(s.w, s.ow, mode), Divider(s.ow, pixels, name),
                   Divider(s.oh, pixels, name), pixels, s.c);
}

template <class T>
void launch_interpolate_backward(const Stream& stream, T* dx, const T* dy, ResizeShape s, Interpolation mode) {
  int64_t const pixels = s.n * s.h * s.w;
  if (pixels == 0) return;
  const char* const name = "interpolate_backward";
  launch_rows_cols(stream, {name, pixels, bytes_of<T>(1, s.inputs() + s.outputs())}, s.c, interpolate_backward<T>, dx,
                   dy, Axis<T>(s.h, s.oh, mode), Axis<T>(s.w, s.ow, mode), Divider(s.w, pixels, name),
                   Divider(s.h, pixels, name), pixels, s.c);
}

template <class T>
void launch_reflection_pad2d_forward(const Stream& stream, T* y, const T* x, ResizeShape s, int64_t top, int64_t left) {
  int64_t const pixels = s.n * s.oh * s.ow;
  if (pixels == 0) return;
  const char* const name = "reflection_pad2d_forward";
  launch_rows_cols(stream, {name, pixels, bytes_of<T>(1, s.inputs() + s.outputs())}, s.c, reflection_pad2d_forward<T>,
                   y, x, s.h, s.w, top, left, Divider(s.ow, pixels, name), Divider(s.oh, pixels, name), pixels, s.c);
}

template <class T>
void launch_reflection_pad2d_backward(const Stream& stream, T* dx, const T* dy, ResizeShape s, int64_t top,
                                      int64_t left) {
  int64_t const pixels = s.n * s.h * s.w;
  if (pixels == 0) return;
  const char* const name = "reflection_pad2d_backward";
  launch_rows_cols(stream, {name, pixels, bytes_of<T>(1, s.inputs() + s.outputs())}, s.c, reflection_pad2d_backward<T>,
                   dx, dy, s.oh, s.ow, top, left, Divider(s.w, pixels, name), Divider(s.h, pixels, name), pixels, s.c);
}

KERNEL_FLOATS(interpolate_forward, launch_interpolate_forward);
KERNEL_FLOATS(interpolate_backward, launch_interpolate_backward);
KERNEL_FLOATS(reflection_pad2d_forward, launch_reflection_pad2d_forward);
KERNEL_FLOATS(reflection_pad2d_backward, launch_reflection_pad2d_backward);

}  // namespace mith::MITH_SPACE
