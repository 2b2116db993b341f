// Input diversity (Xie et al. 2019): each image resized and padded with zeros in its own way, then brought back to its
// size; and the adjoint. A row is a pixel, its channels the vector. Signatures:
//
//   resize_pad_forward  (float* y, const float* x, const int32_t* geometry, int64_t n, int64_t h, int64_t w, int64_t c)
//   resize_pad_backward (float* dx, const float* dy, const int32_t* geometry, int64_t n, int64_t h, int64_t w,
//                        int64_t c)
//
// geometry [n,6]: height and width resized to, rows above and columns to the left, height and width padded to. Both
// resizes are bilinear with half-pixel centres; one to the same size is the identity, bit for bit. Each output is one
// weighted sum of the input, so nothing lies in between. Backward gathers: an input pixel looks at the outputs that
// read it.
#include "kernels/launch/bytes.h"
#include "kernels/launch/divide.h"
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

/// Element `at` of `to` elements resized from `from`: the two that it lies between, and the second one's weight.
struct ResizedFrom {
  int32_t first, second;
  float weight;
  MITH_DEVICE ResizedFrom(int32_t at, int32_t from, int32_t to) {
    float const x = kmax((float(at) + 0.5f) * (float(from) / float(to)) - 0.5f, 0.0f);
    first = kmin(int32_t(x), from - 1);
    second = kmin(first + 1, from - 1);
    weight = x - float(first);
  }
};

/// The inputs that one output reads along an axis.
struct Taps {
  int32_t at[4];
  float weight[4];
  MITH_DEVICE float share(int32_t input) const {
    float sum = 0;
    for (int t = 0; t < 4; ++t) sum += at[t] == input ? weight[t] : 0.0f;
    return sum;
  }
};

/// One axis: `size` elements resized to `resized`, laid behind `before` zeros into `padded`, resized to `size`.
struct PaddedAxis {
  int32_t size, resized, before, padded;

  MITH_DEVICE Taps taps(int32_t output) const {
    ResizedFrom const outer(output, padded, size);
    Taps taps{};
    for (int side = 0; side < 2; ++side) {
      int32_t const inside = (side ? outer.second : outer.first) - before;
      float const weight = side ? outer.weight : 1 - outer.weight;
      if (inside < 0 || inside >= resized) continue;  // a zero of the padding
      ResizedFrom const inner(inside, size, resized);
      taps.at[2 * side] = inner.first, taps.at[2 * side + 1] = inner.second;
      taps.weight[2 * side] = weight * (1 - inner.weight), taps.weight[2 * side + 1] = weight * inner.weight;
    }
    return taps;
  }

  /// Outputs [first, end) that may read `input`: one to each side more than the exact bounds, against rounding.
  MITH_DEVICE int32_t first_reader(int32_t input) const {
    float const inside = (float(input) - 0.5f) * (float(resized) / float(size)) - 0.5f;
    float const first = (float(before) + inside - 0.5f) * (float(size) / float(padded)) - 0.5f;
    return clamp(int32_t(first) - 2, 0, size);
  }
  MITH_DEVICE int32_t end_reader(int32_t input) const {
    float const inside = (float(input) + 1.5f) * (float(resized) / float(size)) - 0.5f;
    float const last = (float(before) + inside + 1.5f) * (float(size) / float(padded)) - 0.5f;
    return clamp(int32_t(last) + 2, 0, size);
  }
};

__global__ void resize_pad_forward(float* __restrict__ y, const float* __restrict__ x,
                                   const int32_t* __restrict__ geometry, Divider by_w, Divider by_h, int64_t pixels,
                                   int64_t cols) {
  int32_t const h = int32_t(by_h.divisor), w = int32_t(by_w.divisor);
  for (auto pixel : grid_rows(pixels)) {
    uint32_t const line = by_w.quotient(static_cast<uint32_t>(pixel)), image = by_h.quotient(line);
    const int32_t* const g = geometry + 6 * int64_t(image);
    Taps const rows = PaddedAxis{h, g[0], g[2], g[4]}.taps(int32_t(line) - int32_t(image) * h);
    Taps const columns = PaddedAxis{w, g[1], g[3], g[5]}.taps(int32_t(pixel) - int32_t(line) * w);
    const float* const from = x + int64_t(image) * h * w * cols;
    float* const to = y + pixel * cols;
    for (auto k : row_cols(cols)) to[k] = 0;
    for (int i = 0; i < 4; ++i) {
      for (int j = 0; j < 4; ++j) {
        float const factor = rows.weight[i] * columns.weight[j];
        if (factor == 0) continue;
        const float* const source = from + (int64_t(rows.at[i]) * w + columns.at[j]) * cols;
        for (auto k : row_cols(cols)) to[k] += factor * source[k];
      }
    }
  }
}

__global__ void resize_pad_backward(float* __restrict__ dx, const float* __restrict__ dy,
                                    const int32_t* __restrict__ geometry, Divider by_w, Divider by_h, int64_t pixels,
                                    int64_t cols) {
  int32_t const h = int32_t(by_h.divisor), w = int32_t(by_w.divisor);
  for (auto pixel : grid_rows(pixels)) {
    uint32_t const line = by_w.quotient(static_cast<uint32_t>(pixel)), image = by_h.quotient(line);
    int32_t const row = int32_t(line) - int32_t(image) * h, column = int32_t(pixel) - int32_t(line) * w;
    const int32_t* const g = geometry + 6 * int64_t(image);
    PaddedAxis const vertical{h, g[0], g[2], g[4]}, horizontal{w, g[1], g[3], g[5]};
    float* const to = dx + pixel * cols;
    for (auto k : row_cols(cols)) to[k] = 0;
    int32_t const end = vertical.end_reader(row), end_column = horizontal.end_reader(column);
    for (int32_t i = vertical.first_reader(row); i < end; ++i) {
      float const share = vertical.taps(i).share(row);
      if (share == 0) continue;
      const float* const from = dy + (int64_t(image) * h + i) * w * cols;
      for (int32_t j = horizontal.first_reader(column); j < end_column; ++j) {
        float const factor = share * horizontal.taps(j).share(column);
        if (factor == 0) continue;
        for (auto k : row_cols(cols)) to[k] += factor * from[j * cols + k];
      }
    }
  }
}

using ResizePad = void (*)(float*, const float*, const int32_t*, Divider, Divider, int64_t, int64_t);

void launch_resize_pad(const Stream& stream, const char* name, ResizePad kernel, float* to, const float* from,
                       const int32_t* geometry, int64_t n, int64_t h, int64_t w, int64_t c) {
  int64_t const pixels = n * h * w;
  if (pixels == 0) return;
  launch_rows_cols(stream, {name, pixels, bytes_of<float>(2, pixels * c)}, c, kernel, to, from, geometry,
                   Divider(w, pixels, name), Divider(h, pixels, name), pixels, c);
}

void launch_resize_pad_forward(const Stream& stream, float* y, const float* x, const int32_t* geometry, int64_t n,
                               int64_t h, int64_t w, int64_t c) {
  launch_resize_pad(stream, "resize_pad_forward", resize_pad_forward, y, x, geometry, n, h, w, c);
}

void launch_resize_pad_backward(const Stream& stream, float* dx, const float* dy, const int32_t* geometry, int64_t n,
                                int64_t h, int64_t w, int64_t c) {
  launch_resize_pad(stream, "resize_pad_backward", resize_pad_backward, dx, dy, geometry, n, h, w, c);
}

KERNEL(resize_pad_forward, launch_resize_pad_forward);
KERNEL(resize_pad_backward, launch_resize_pad_backward);

}  // namespace mith::MITH_SPACE
