// Adaptive average pooling (PyTorch's rule): output i of `out` sees the inputs [floor(i in/out), ceil((i+1) in/out)).
// Read backwards the rule is the same: input j belongs to the windows [floor(j out/in), ceil((j+1) out/in)).
#include "kernels/launch/bytes.h"
#include "kernels/launch/launch.h"
#include "kernels/map/pool.h"

namespace mith::MITH_SPACE {

/// What element `at` of `size` faces among `other` elements.
struct Facing {
  int32_t first, end;
  MITH_DEVICE Facing(int32_t at, int32_t size, int32_t other)
      : first(int32_t(int64_t(at) * other / size)), end(int32_t((int64_t(at + 1) * other + size - 1) / size)) {}
  MITH_DEVICE int32_t count() const { return end - first; }
};

template <class T>
__global__ void adaptive_avg_pool2d_forward(T* __restrict__ y, const T* __restrict__ x, int32_t h, int32_t w,
                                            int32_t oh, int32_t ow, int64_t pixels, int64_t cols) {
  for (auto pixel : grid_rows(pixels)) {
    int64_t const line = pixel / ow, image = line / oh;
    Facing const rows(int32_t(line - image * oh), oh, h), columns(int32_t(pixel - line * ow), ow, w);
    T const factor = T(1) / T(rows.count() * columns.count());
    T* const mean = y + pixel * cols;
    for (int32_t row = rows.first; row < rows.end; ++row) {
      const T* const from = x + (image * h + row) * w * cols;
      column_sums<1, T>(
          columns.first, columns.end, cols,
          [&](int64_t column, int64_t c, T* value) { value[0] = from[column * cols + c]; },
          [&](int64_t c, const T* sum) { mean[c] = (row == rows.first ? T(0) : mean[c]) + sum[0] * factor; });
    }
  }
}

template <class T>
__global__ void adaptive_avg_pool2d_backward(T* __restrict__ dx, const T* __restrict__ dy, int32_t h, int32_t w,
                                             int32_t oh, int32_t ow, int64_t pixels, int64_t cols) {
  for (auto pixel : grid_rows(pixels)) {
    int64_t const line = pixel / w, image = line / h;
    Facing const rows(int32_t(line - image * h), h, oh), columns(int32_t(pixel - line * w), w, ow);
    for (auto c : row_cols(cols)) dx[pixel * cols + c] = T(0);
    for (int32_t i = rows.first; i < rows.end; ++i) {
      for (int32_t j = columns.first; j < columns.end; ++j) {
        T const factor = T(1) / T(Facing(i, oh, h).count() * Facing(j, ow, w).count());
        const T* __restrict__ from = dy + ((image * oh + i) * ow + j) * cols;
        for (auto c : row_cols(cols)) dx[pixel * cols + c] += from[c] * factor;
      }
    }
  }
}

template <class T>
void launch_adaptive_avg_pool2d_forward(const Stream& stream, T* y, const T* x, Pool2dShape s) {
  int64_t const pixels = s.n * s.oh * s.ow;
  launch_rows_cols(stream, {"adaptive_avg_pool2d_forward", pixels, bytes_of<T>(1, s.inputs() + s.outputs())}, s.c,
                   adaptive_avg_pool2d_forward<T>, y, x, s.h, s.w, s.oh, s.ow, pixels, s.c);
}

template <class T>
void launch_adaptive_avg_pool2d_backward(const Stream& stream, T* dx, const T* dy, Pool2dShape s) {
  int64_t const pixels = s.n * s.h * s.w;
  launch_rows_cols(stream, {"adaptive_avg_pool2d_backward", pixels, bytes_of<T>(1, s.inputs() + s.outputs())}, s.c,
                   adaptive_avg_pool2d_backward<T>, dx, dy, s.h, s.w, s.oh, s.ow, pixels, s.c);
}

KERNEL_FLOATS(adaptive_avg_pool2d_forward, launch_adaptive_avg_pool2d_forward);
KERNEL_FLOATS(adaptive_avg_pool2d_backward, launch_adaptive_avg_pool2d_backward);

}  // namespace mith::MITH_SPACE
