// The reference provider's kernels: matrix product and convolution as their definitions read, summed in double.
// An index is eight neighbouring results, so that one worker owns every byte of sign bits. Speed is no concern here.
#include "kernels/launch/launch.h"
#include "kernels/providers/fused.h"

namespace mith::MITH_SPACE {

/// A convolution with its output extents, which device code cannot ask for.
struct ReferenceConv2d {
  Conv2dShape s;
  Prologue prologue;
  Epilogue epilogue;
  int64_t oh, ow;
};

/// Stores value(row, column) for eight results, beginning at 8 * octet.
template <class T, class Value>
MITH_DEVICE void store_eight(const Epilogue& e, int64_t octet, int64_t rows, int64_t columns, T* y, Value value) {
  unsigned signs = 0;
  for (int bit = 0; bit < 8 && 8 * octet + bit < rows * columns; ++bit) {
    int64_t const row = (8 * octet + bit) / columns, column = (8 * octet + bit) % columns;
    double const r = value(row, column);
    if (store_through<double>(e, r, row, column, columns, y)) signs |= 1u << bit;
  }
  if (e.sign_bits) e.sign_bits[octet] = static_cast<uint8_t>(signs);
}

template <class T>
__global__ void reference_matmul(MatmulProblem p, T* y, const T* a, const T* b) {
  for (auto octet : grid_stride((p.m * p.n + 7) / 8)) {
    store_eight(p.epilogue, octet, p.m, p.n, y, [&](int64_t i, int64_t j) {
      double sum = 0;
      for (int64_t k = 0; k < p.k; ++k) {
        double const left = read_through<double>(p.prologue, a, p.transpose_a ? k * p.m + i : i * p.k + k, k);
        sum += left * static_cast<double>(b[p.transpose_b ? j * p.k + k : k * p.n + j]);
      }
      return sum;
    });
  }
}

template <class T>
__global__ void reference_conv2d_forward(ReferenceConv2d p, const T* x, const T* w, T* y) {
  Conv2dShape const s = p.s;
  int64_t const cg = s.c / s.groups, og = s.o / s.groups, rows = s.n * p.oh * p.ow;
  for (auto octet : grid_stride((rows * s.o + 7) / 8)) {
    store_eight(p.epilogue, octet, rows, s.o, y, [&](int64_t pixel, int64_t o) {
      int64_t const image = pixel / (p.oh * p.ow), i = pixel / p.ow % p.oh, j = pixel % p.ow;
      double sum = 0;
      for (int64_t kh = 0; kh < s.kh; ++kh) {
        for (int64_t kw = 0; kw < s.kw; ++kw) {
          int64_t const h = i * s.stride_h - s.pad_h + kh * s.dilation_h;
          int64_t const v = j * s.stride_w - s.pad_w + kw * s.dilation_w;
          if (h < 0 || h >= s.h || v < 0 || v >= s.w) continue;
          for (int64_t k = 0; k < cg; ++k) {
            int64_t const c = o / og * cg + k;
            double const left = read_through<double>(p.prologue, x, ((image * s.h + h) * s.w + v) * s.c + c, c);
            sum += left * static_cast<double>(w[((o * s.kh + kh) * s.kw + kw) * cg + k]);
          }
        }
      }
      return sum;
    });
  }
}

template <class T>
__global__ void reference_conv2d_input_gradient(ReferenceConv2d p, T* x, const T* w, const T* y) {
  Conv2dShape const s = p.s;
  int64_t const cg = s.c / s.groups, og = s.o / s.groups, rows = s.n * s.h * s.w;
  for (auto octet : grid_stride((rows * s.c + 7) / 8)) {
    store_eight(p.epilogue, octet, rows, s.c, x, [&](int64_t pixel, int64_t c) {
      int64_t const image = pixel / (s.h * s.w), h = pixel / s.w % s.h, v = pixel % s.w;
      double sum = 0;
      for (int64_t kh = 0; kh < s.kh; ++kh) {
        for (int64_t kw = 0; kw < s.kw; ++kw) {
          // The output pixel (i, j) that saw this input pixel through tap (kh, kw), if there is one.
          int64_t const from_h = h + s.pad_h - kh * s.dilation_h, from_w = v + s.pad_w - kw * s.dilation_w;
          if (from_h < 0 || from_w < 0 || from_h % s.stride_h || from_w % s.stride_w) continue;
          int64_t const i = from_h / s.stride_h, j = from_w / s.stride_w;
          if (i >= p.oh || j >= p.ow) continue;
          for (int64_t k = 0; k < og; ++k) {
            int64_t const o = c / cg * og + k;
            double const left = read_through<double>(p.prologue, y, ((image * p.oh + i) * p.ow + j) * s.o + o, o);
            sum += left * static_cast<double>(w[((o * s.kh + kh) * s.kw + kw) * cg + c % cg]);
          }
        }
      }
      return sum;
    });
  }
}

template <class T>
__global__ void reference_conv2d_weight_gradient(ReferenceConv2d p, const T* x, T* w, const T* y) {
  Conv2dShape const s = p.s;
  int64_t const cg = s.c / s.groups, og = s.o / s.groups, rows = s.o * s.kh * s.kw;
  for (auto octet : grid_stride((rows * cg + 7) / 8)) {
    store_eight(p.epilogue, octet, rows, cg, w, [&](int64_t row, int64_t k) {
      int64_t const o = row / (s.kh * s.kw), kh = row / s.kw % s.kh, kw = row % s.kw, c = o / og * cg + k;
      double sum = 0;
      for (int64_t image = 0; image < s.n; ++image) {
        for (int64_t i = 0; i < p.oh; ++i) {
          int64_t const h = i * s.stride_h - s.pad_h + kh * s.dilation_h;
          if (h < 0 || h >= s.h) continue;
          for (int64_t j = 0; j < p.ow; ++j) {
            int64_t const v = j * s.stride_w - s.pad_w + kw * s.dilation_w;
            if (v < 0 || v >= s.w) continue;
            double const left = read_through<double>(p.prologue, x, ((image * s.h + h) * s.w + v) * s.c + c, c);
            sum += left * static_cast<double>(y[((image * p.oh + i) * p.ow + j) * s.o + o]);
          }
        }
      }
      return sum;
    });
  }
}

/// Statistics of what an epilogue stored.
template <class T>
__global__ void reference_column_sums(Epilogue e, int64_t rows, int64_t columns, const T* y) {
  for (auto column : grid_stride(columns)) {
    double sum = 0, squares = 0;
    for (int64_t row = 0; row < rows; ++row) {
      double const v = static_cast<double>(y[row * (e.row_pitch ? e.row_pitch : columns) + column]);
      sum += v;
      squares += v * v;
    }
    if (e.column_sum) e.column_sum[column] = static_cast<float>(sum);
    if (e.column_sum_squares) e.column_sum_squares[column] = static_cast<float>(squares);
  }
}

template <class T>
void launch_reference_matmul(const Stream& stream, MatmulProblem p, void* y, const void* a, const void* b) {
  launch_map(stream, {"reference_matmul", (p.m * p.n + 7) / 8}, reference_matmul<T>, p, static_cast<T*>(y),
             static_cast<const T*>(a), static_cast<const T*>(b));
}

template <class T>
void launch_reference_conv2d(const Stream& stream, Conv2dProblem problem, void* x_, void* w_, void* y_) {
  T* const x = static_cast<T*>(x_);
  T* const w = static_cast<T*>(w_);
  T* const y = static_cast<T*>(y_);
  Conv2dShape const& s = problem.shape;
  ReferenceConv2d const p{s, problem.prologue, problem.epilogue, s.oh(), s.ow()};
  switch (problem.pass) {
    case ConvPass::forward:
      return launch_map(stream, {"reference_conv2d_forward", (s.outputs() + 7) / 8}, reference_conv2d_forward<T>, p, x,
                        w, y);
    case ConvPass::input_gradient:
      return launch_map(stream, {"reference_conv2d_input_gradient", (s.inputs() + 7) / 8},
                        reference_conv2d_input_gradient<T>, p, x, w, y);
    case ConvPass::weight_gradient:
      return launch_map(stream, {"reference_conv2d_weight_gradient", (s.weights() + 7) / 8},
                        reference_conv2d_weight_gradient<T>, p, x, w, y);
  }
}

template <class T>
void launch_reference_column_sums(const Stream& stream, Epilogue e, int64_t rows, int64_t columns, const void* y) {
  launch_map(stream, {"reference_column_sums", columns}, reference_column_sums<T>, e, rows, columns,
             static_cast<const T*>(y));
}

KERNEL_FLOATS(reference_matmul, launch_reference_matmul);
KERNEL_FLOATS(reference_conv2d, launch_reference_conv2d);
KERNEL_FLOATS(reference_column_sums, launch_reference_column_sums);

}  // namespace mith::MITH_SPACE
