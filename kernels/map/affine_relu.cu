// What lies between a frozen network's products: y = ReLU(x * scale + shift) by channel, and its backward pass, over
// rows that may be slices of wider ones. Of the forward pass nothing is kept but whether each element was positive, one
// bit: word [r / 32][c] holds those of column c in 32 neighbouring rows, so that neighbours in memory, vector lanes and
// threads are neighbouring columns.
#include "kernels/launch/bytes.h"
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

constexpr int64_t rows_a_word = 32;

/// scale, shift and signs may be null; y may be x.
template <class T, bool scales, bool rectifies>
__global__ void affine_relu_forward(T* y, uint32_t* __restrict__ signs, const T* x, const float* __restrict__ scale,
                                    const float* __restrict__ shift, int64_t rows, int64_t cols, int64_t y_pitch,
                                    int64_t x_pitch) {
  int64_t const groups = (rows + rows_a_word - 1) / rows_a_word;
  for (auto g : grid_rows(groups)) {
    int64_t const first = g * rows_a_word, count = kmin(rows_a_word, rows - first);
    column_bits(
        count, cols,
        [&](int64_t r, int64_t c) {
          float v = x[(first + r) * x_pitch + c];
          if (scales) v = v * scale[c] + shift[c];
          y[(first + r) * y_pitch + c] = T(rectifies ? kmax(v, 0.0f) : v);
          return v > 0;
        },
        [&](int64_t c, uint32_t bits) {
          if (signs) signs[g * cols + c] = bits;
        });
  }
}

/// dx = dy * scale where the sign's bit is set, else 0; with `adds` that is added to dx. scale and signs may be null.
template <class T, bool scales, bool rectifies, bool adds>
__global__ void affine_relu_backward(T* dx, const T* dy, const uint32_t* __restrict__ signs,
                                     const float* __restrict__ scale, int64_t rows, int64_t cols, int64_t dx_pitch,
                                     int64_t dy_pitch) {
  for (auto r : grid_rows(rows)) {
    const uint32_t* __restrict__ word = rectifies ? signs + r / rows_a_word * cols : nullptr;
    uint32_t const bit = 1u << (r % rows_a_word);
    MITH_IVDEP  // dx may be dy
        for (auto c : row_cols(cols)) {
      float v = dy[r * dy_pitch + c];
      if (scales) v *= scale[c];
      if (rectifies) v = (word[c] & bit) ? v : 0.0f;
      dx[r * dx_pitch + c] = T(adds ? dx[r * dx_pitch + c] + v : v);
    }
  }
}

/// Rows of `cols` elements, `y_pitch` and `x_pitch` apart. scale and shift come together; `signs`, if wanted, holds
/// ceil(rows / 32) * cols words.
template <class T>
void launch_affine_relu_forward(const Stream& stream, T* y, uint32_t* signs, const T* x, const float* scale,
                                const float* shift, bool relu, int64_t rows, int64_t cols, int64_t y_pitch,
                                int64_t x_pitch) {
  auto* const kernel = scale  ? (relu ? affine_relu_forward<T, true, true> : affine_relu_forward<T, true, false>)
                       : relu ? affine_relu_forward<T, false, true>
                              : affine_relu_forward<T, false, false>;
  int64_t const groups = (rows + rows_a_word - 1) / rows_a_word;
  launch_rows_cols(stream,
                   {"affine_relu_forward", groups, bytes_of<T>(2, rows * cols) + (signs ? 4 * groups * cols : 0)}, cols,
                   kernel, y, signs, x, scale, shift, rows, cols, y_pitch, x_pitch);
}

template <class T>
void launch_affine_relu_backward(const Stream& stream, T* dx, const T* dy, const uint32_t* signs, const float* scale,
                                 bool add, int64_t rows, int64_t cols, int64_t dx_pitch, int64_t dy_pitch) {
  auto const chosen = [&]<bool scales, bool rectifies>() {
    return add ? affine_relu_backward<T, scales, rectifies, true> : affine_relu_backward<T, scales, rectifies, false>;
  };
  auto* const kernel =
      scale   ? (signs ? chosen.template operator()<true, true>() : chosen.template operator()<true, false>())
      : signs ? chosen.template operator()<false, true>()
              : chosen.template operator()<false, false>();
  int64_t const bytes = bytes_of<T>(add ? 3 : 2, rows * cols) + (signs ? rows * cols / 8 : 0);
  launch_rows_cols(stream, {"affine_relu_backward", rows, bytes}, cols, kernel, dx, dy, signs, scale, rows, cols,
                   dx_pitch, dy_pitch);
}

KERNEL_NARROW_FLOATS(affine_relu_forward, launch_affine_relu_forward);
KERNEL_NARROW_FLOATS(affine_relu_backward, launch_affine_relu_backward);

}  // namespace mith::MITH_SPACE
