// Max and average pooling over NHWC windows, forward next to backward. A row is a pixel, its channels the vector.
//
// The maximum clamps coordinates into the image instead of testing them: a clamped tap repeats an edge element that
// belongs to the window anyway and comes in the same order, so neither the maximum nor the first holder of it changes.
// A ReLU behind the maximum keeps nothing: the index says where there is no gradient.
// Backward gathers: an input pixel looks at the windows that contain it, one if they do not overlap. Nothing is written
// twice, nothing needs zeroing, and sums have one order on every device.
#include "kernels/map/pool.h"

#include <limits>

#include "kernels/launch/bytes.h"
#include "kernels/launch/divide.h"
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

/// A pooling problem with the divisors that turn pixel numbers into coordinates, in 32 bits.
struct Pool2d {
  int32_t h, w, oh, ow, kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w;
  int64_t c;
  Divider by_w, by_h, by_ow, by_oh, by_stride_h, by_stride_w;

  Pool2d(const Pool2dShape& s, const char* what)
      : h(int32_t(s.h)),
        w(int32_t(s.w)),
        oh(int32_t(s.oh)),
        ow(int32_t(s.ow)),
        kernel_h(int32_t(s.kernel_h)),
        kernel_w(int32_t(s.kernel_w)),
        stride_h(int32_t(s.stride_h)),
        stride_w(int32_t(s.stride_w)),
        pad_h(int32_t(s.pad_h)),
        pad_w(int32_t(s.pad_w)),
        c(s.c),
        by_w(s.w, s.n * s.h * s.w, what),
        by_h(s.h, s.n * s.h, what),
        by_ow(s.ow, s.n * s.oh * s.ow, what),
        by_oh(s.oh, s.n * s.oh, what),
        by_stride_h(s.stride_h, s.h + s.pad_h, what),
        by_stride_w(s.stride_w, s.w + s.pad_w, what) {}
};

struct Pixel {
  int32_t image, row, column;
};

/// Pixel number -> image, row and column, of the input or the output.
MITH_DEVICE Pixel locate(int64_t pixel, const Divider& columns, const Divider& rows) {
  uint32_t const line = columns.quotient(static_cast<uint32_t>(pixel));
  uint32_t const image = rows.quotient(line);
  return {int32_t(image), int32_t(line - image * rows.divisor),
          int32_t(static_cast<uint32_t>(pixel) - line * columns.divisor)};
}

MITH_DEVICE int64_t input_offset(const Pool2d& p, int32_t image, int32_t row, int32_t column) {
  return ((int64_t(image) * p.h + row) * p.w + column) * p.c;
}

MITH_DEVICE int64_t output_offset(const Pool2d& p, int32_t image, int32_t row, int32_t column) {
  return ((int64_t(image) * p.oh + row) * p.ow + column) * p.c;
}

/// Max pooling with a window fixed at compile time. `index` receives the tap that won. `floor`, from which the search
/// goes up, is an argument because GCC does not vectorize where it can work it out from `relu`.
template <class T, int KH, int KW>
__global__ void max_pool2d_forward(T* __restrict__ y, uint8_t* __restrict__ index, const T* __restrict__ x, Pool2d p,
                                   bool relu, Arithmetic<T> floor, int64_t pixels) {
  for (auto pixel : grid_rows(pixels)) {
    Pixel const o = locate(pixel, p.by_ow, p.by_oh);
    int32_t const top = o.row * p.stride_h - p.pad_h, left = o.column * p.stride_w - p.pad_w;
    int64_t at[KH * KW];
    int32_t tap[KH * KW];
    MITH_UNROLL
    for (int k = 0; k < KH * KW; ++k) {
      int32_t const row = clamp(top + k / KW, 0, p.h - 1), column = clamp(left + k % KW, 0, p.w - 1);
      at[k] = input_offset(p, o.image, row, column);
      tap[k] = (row - top) * KW + column - left;
    }
    int32_t const nobody = relu ? no_tap : tap[0];
    for (auto c : row_cols(p.c)) {
      Arithmetic<T> const first = x[at[0] + c];  // outside the loop, or GCC does not unroll nine of them in time
      bool const stands = (first > floor) | is_nan(first);
      Arithmetic<T> best = stands ? first : floor;
      int32_t winner = stands ? tap[0] : nobody;
      MITH_UNROLL
      for (int k = 1; k < KH * KW; ++k) {
        Arithmetic<T> const v = x[at[k] + c];
        bool const better = (v > best) | is_nan(v);
        best = better ? v : best;
        winner = better ? tap[k] : winner;
      }
      y[pixel * p.c + c] = T(best);
      index[pixel * p.c + c] = static_cast<uint8_t>(winner);
    }
  }
}

/// Any window: the output row itself holds the best so far.
template <class T>
__global__ void max_pool2d_forward_any(T* __restrict__ y, uint8_t* __restrict__ index, const T* __restrict__ x,
                                       Pool2d p, bool relu, Arithmetic<T> floor, int64_t pixels) {
  for (auto pixel : grid_rows(pixels)) {
    Pixel const o = locate(pixel, p.by_ow, p.by_oh);
    int32_t const top = o.row * p.stride_h - p.pad_h, left = o.column * p.stride_w - p.pad_w;
    int32_t const row_first = kmax(top, 0), row_end = kmin(top + p.kernel_h, p.h);
    int32_t const column_first = kmax(left, 0), column_end = kmin(left + p.kernel_w, p.w);
    int64_t const to = pixel * p.c;
    for (int32_t row = row_first; row < row_end; ++row) {
      for (int32_t column = column_first; column < column_end; ++column) {
        bool const first = row == row_first && column == column_first;
        uint8_t const tap = static_cast<uint8_t>((row - top) * p.kernel_w + column - left);
        int64_t const from = input_offset(p, o.image, row, column);
        for (auto c : row_cols(p.c)) {
          Arithmetic<T> const v = x[from + c], best = first ? floor : Arithmetic<T>(y[to + c]);
          uint8_t const winner = !first ? index[to + c] : relu ? no_tap : tap;
          bool const better = (v > best) | is_nan(v);
          y[to + c] = T(better ? v : best);
          index[to + c] = better ? tap : winner;
        }
      }
    }
  }
}

/// The windows along one dimension that contain an input coordinate, and its tap in the first of them.
struct Windows {
  int32_t first, count, tap;
};

/// `at`: coordinate with the padding added; windows are `kernel` long, `stride` apart, `windows` of them.
MITH_DEVICE Windows windows_of(int32_t at, int32_t kernel, int32_t stride, const Divider& by_stride, int32_t windows) {
  int32_t const last = int32_t(by_stride.quotient(static_cast<uint32_t>(at)));
  int32_t const first = at < kernel ? 0 : int32_t(by_stride.quotient(static_cast<uint32_t>(at - kernel))) + 1;
  int32_t const end = last < windows ? last + 1 : windows;
  return {first, end > first ? end - first : 0, at - first * stride};
}

/// The gradient goes to the tap that won.
template <class T>
__global__ void max_pool2d_backward(T* __restrict__ dx, const T* __restrict__ dy, const uint8_t* __restrict__ index,
                                    Pool2d p, int64_t pixels) {
  using Sum = Arithmetic<T>;
  for (auto pixel : grid_rows(pixels)) {
    Pixel const i = locate(pixel, p.by_w, p.by_h);
    Windows const rows = windows_of(i.row + p.pad_h, p.kernel_h, p.stride_h, p.by_stride_h, p.oh);
    Windows const columns = windows_of(i.column + p.pad_w, p.kernel_w, p.stride_w, p.by_stride_w, p.ow);
    T* const gradient = dx + pixel * p.c;
    if (rows.count * columns.count == 0) {
      for (auto c : row_cols(p.c)) gradient[c] = T(0);
      continue;
    }
    for (int32_t a = 0; a < rows.count; ++a) {
      for (int32_t b = 0; b < columns.count; ++b) {
        int32_t const tap = (rows.tap - a * p.stride_h) * p.kernel_w + columns.tap - b * p.stride_w;
        int64_t const at = output_offset(p, i.image, rows.first + a, columns.first + b);
        for (auto c : row_cols(p.c)) {
          Sum const v = dy[at + c], won = index[at + c] == tap ? v : Sum(0);
          gradient[c] = T(a + b == 0 ? won : gradient[c] + won);
        }
      }
    }
  }
}

/// The same where windows tile the image: an output pixel writes its whole window.
template <class T>
__global__ void max_pool2d_backward_tiled(T* __restrict__ dx, const T* __restrict__ dy,
                                          const uint8_t* __restrict__ index, Pool2d p, int64_t pixels) {
  for (auto pixel : grid_rows(pixels)) {
    Pixel const o = locate(pixel, p.by_ow, p.by_oh);
    for (int32_t tap = 0, a = 0; a < p.kernel_h; ++a) {
      for (int32_t b = 0; b < p.kernel_w; ++b, ++tap) {
        T* const gradient = dx + input_offset(p, o.image, o.row * p.kernel_h + a, o.column * p.kernel_w + b);
        int64_t const from = pixel * p.c;
        for (auto c : row_cols(p.c)) {
          Arithmetic<T> const v = dy[from + c];
          gradient[c] = T(index[from + c] == tap ? v : Arithmetic<T>(0));
        }
      }
    }
  }
}

/// Elements an average is divided by (PyTorch's rule): the window, padding included but not what ceil_mode adds beyond
/// it, or the part inside the image.
MITH_DEVICE int32_t divisor(const Pool2d& p, int32_t row, int32_t column, bool count_padding) {
  int32_t const top = row * p.stride_h - p.pad_h, left = column * p.stride_w - p.pad_w;
  int32_t const bottom = kmin(top + p.kernel_h, p.h + p.pad_h), right = kmin(left + p.kernel_w, p.w + p.pad_w);
  if (count_padding) return (bottom - top) * (right - left);
  return (kmin(bottom, p.h) - kmax(top, 0)) * (kmin(right, p.w) - kmax(left, 0));
}

template <class T>
__global__ void avg_pool2d_forward(T* __restrict__ y, const T* __restrict__ x, Pool2d p, int count_padding,
                                   int64_t pixels) {
  using Sum = Arithmetic<T>;
  for (auto pixel : grid_rows(pixels)) {
    Pixel const o = locate(pixel, p.by_ow, p.by_oh);
    int32_t const top = o.row * p.stride_h - p.pad_h, left = o.column * p.stride_w - p.pad_w;
    int32_t const first = kmax(top, 0), end = kmin(top + p.kernel_h, p.h);
    auto const factor = Sum(1) / Sum(divisor(p, o.row, o.column, count_padding));
    T* const mean = y + pixel * p.c;
    for (int32_t row = first; row < end; ++row) {
      const T* const line = x + input_offset(p, o.image, row, 0);
      column_sums<1, Sum>(
          kmax(left, 0), kmin(left + p.kernel_w, p.w), p.c,
          [&](int64_t column, int64_t c, Sum* value) { value[0] = line[column * p.c + c]; },
          [&](int64_t c, const Sum* sum) { mean[c] = T((row == first ? Sum(0) : mean[c]) + sum[0] * factor); });
    }
  }
}

/// An input's gradient is the sum over its windows of their gradient / divisor.
template <class T>
__global__ void avg_pool2d_backward(T* __restrict__ dx, const T* __restrict__ dy, Pool2d p, int count_padding,
                                    int64_t pixels) {
  for (auto pixel : grid_rows(pixels)) {
    Pixel const i = locate(pixel, p.by_w, p.by_h);
    Windows const rows = windows_of(i.row + p.pad_h, p.kernel_h, p.stride_h, p.by_stride_h, p.oh);
    Windows const columns = windows_of(i.column + p.pad_w, p.kernel_w, p.stride_w, p.by_stride_w, p.ow);
    for (auto c : row_cols(p.c)) dx[pixel * p.c + c] = T(0);
    for (int32_t row = rows.first; row < rows.first + rows.count; ++row) {
      for (int32_t column = columns.first; column < columns.first + columns.count; ++column) {
        auto const factor = Arithmetic<T>(1) / Arithmetic<T>(divisor(p, row, column, count_padding));
        int64_t const at = output_offset(p, i.image, row, column);
        for (auto c : row_cols(p.c)) dx[pixel * p.c + c] = T(dx[pixel * p.c + c] + dy[at + c] * factor);
      }
    }
  }
}

// Launchers.

template <class T>
void launch_max_pool2d_forward(const Stream& stream, T* y, uint8_t* index, const T* x, Pool2dShape s, bool relu) {
  int64_t const pixels = s.n * s.oh * s.ow;
  if (pixels == 0) return;
  Pool2d const p(s, "max_pool2d_forward");
  Work const work{"max_pool2d_forward", pixels, bytes_of<T>(1, s.inputs() + s.outputs()) + s.outputs()};
  auto const floor = relu ? Arithmetic<T>(0) : -std::numeric_limits<Arithmetic<T>>::infinity();
  auto* const kernel = s.kernel_h == 2 && s.kernel_w == 2   ? max_pool2d_forward<T, 2, 2>
                       : s.kernel_h == 3 && s.kernel_w == 3 ? max_pool2d_forward<T, 3, 3>
                                                            : max_pool2d_forward_any<T>;
  launch_rows_cols(stream, work, s.c, kernel, y, index, x, p, relu, floor, pixels);
}

/// True if every input belongs to exactly one window.
inline bool tiles(const Pool2dShape& s) {
  return s.kernel_h == s.stride_h && s.kernel_w == s.stride_w && s.pad_h == 0 && s.pad_w == 0 &&
         s.oh * s.kernel_h == s.h && s.ow * s.kernel_w == s.w;
}

template <class T>
void launch_max_pool2d_backward(const Stream& stream, T* dx, const T* dy, const uint8_t* index, Pool2dShape s) {
  int64_t const pixels = s.n * s.h * s.w, outputs = s.n * s.oh * s.ow;
  if (pixels == 0) return;
  Pool2d const p(s, "max_pool2d_backward");
  int64_t const bytes = bytes_of<T>(1, s.inputs() + s.outputs()) + s.outputs();
  if (tiles(s))
    launch_rows_cols(stream, {"max_pool2d_backward_tiled", outputs, bytes}, s.c, max_pool2d_backward_tiled<T>, dx, dy,
                     index, p, outputs);
  else
    launch_rows_cols(stream, {"max_pool2d_backward", pixels, bytes}, s.c, max_pool2d_backward<T>, dx, dy, index, p,
                     pixels);
}

template <class T>
void launch_avg_pool2d_forward(const Stream& stream, T* y, const T* x, Pool2dShape s, int count_padding) {
  int64_t const pixels = s.n * s.oh * s.ow;
  if (pixels == 0) return;
  launch_rows_cols(stream, {"avg_pool2d_forward", pixels, bytes_of<T>(1, s.inputs() + s.outputs())}, s.c,
                   avg_pool2d_forward<T>, y, x, Pool2d(s, "avg_pool2d_forward"), count_padding, pixels);
}

template <class T>
void launch_avg_pool2d_backward(const Stream& stream, T* dx, const T* dy, Pool2dShape s, int count_padding) {
  int64_t const pixels = s.n * s.h * s.w;
  if (pixels == 0) return;
  launch_rows_cols(stream, {"avg_pool2d_backward", pixels, bytes_of<T>(1, s.inputs() + s.outputs())}, s.c,
                   avg_pool2d_backward<T>, dx, dy, Pool2d(s, "avg_pool2d_backward"), count_padding, pixels);
}

KERNEL_ALL_FLOATS(max_pool2d_forward, launch_max_pool2d_forward);
KERNEL_ALL_FLOATS(max_pool2d_backward, launch_max_pool2d_backward);
KERNEL_ALL_FLOATS(avg_pool2d_forward, launch_avg_pool2d_forward);
KERNEL_ALL_FLOATS(avg_pool2d_backward, launch_avg_pool2d_backward);

}  // namespace mith::MITH_SPACE
