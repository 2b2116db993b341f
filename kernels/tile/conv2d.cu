// Convolution on the GPU in f32 as implicit matrix products: the matrix of windows exists only tile by tile in shared
// memory. Weight gradients split their long sum over pixels into parts and add those in order, so every result is the
// same bits every time.
#include <numeric>

#include "kernels/providers/native.h"
#include "kernels/tile/product.h"

namespace mith::MITH_SPACE {

/// Taps that are evenly spaced: tap t displaces by first + t * step and is number filter + t * filter_step of the
/// filter.
struct Taps {
  int count, first, step, filter, filter_step;
};

/// The matrix of windows: position (image, i, j) and column (tap, channel) read source pixel
/// (i * step_h + displacement, j * step_w + displacement). Positions are the depth of a weight gradient, and rows
/// elsewhere.
template <bool columns_are_depth>
struct Windows {
  static constexpr bool depth_fast = columns_are_depth;
  const float* source;
  int height, width, pitch;  ///< of the source; pitch: floats a pixel
  int positions, grid_h, grid_w, step_h, step_w;
  Taps h, w;
  int channels, channel;  ///< the group's, and its first
  Prologue prologue;

  struct Position {
    int64_t image;  ///< pixel number of the image's corner; negative outside
    int h, w;
  };
  struct Column {
    int h, w, channel;  ///< displacement; channel negative outside
  };
  __device__ int columns() const { return h.count * w.count * channels; }
  __device__ Position position(int index) const {
    int const line = index / grid_w, image = line / grid_h;
    int64_t const corner = index < positions ? static_cast<int64_t>(image) * height * width : -1;
    return {corner, (line - image * grid_h) * step_h, (index - line * grid_w) * step_w};
  }
  __device__ Column column(int index) const {
    int const tap = index / channels, th = tap / w.count;
    int const c = index < columns() ? channel + index - tap * channels : -1;
    return {h.first + th * h.step, w.first + (tap - th * w.count) * w.step, c};
  }
  __device__ float read(const Position& p, const Column& c) const {
    int const y = p.h + c.h, x = p.w + c.w;
    bool const inside = p.image >= 0 && c.channel >= 0 && y >= 0 && y < height && x >= 0 && x < width;
    if (!inside) return 0;
    return read_through<float>(prologue, source, (p.image + static_cast<int64_t>(y) * width + x) * pitch + c.channel,
                               c.channel);
  }
};

/// Windows whose columns are the depth: forward and input gradient.
struct WindowRows : Windows<true> {
  using Place = Position;
  using Step = Column;
  __device__ Place place(int index) const { return position(index); }
  __device__ Step step(int k) const { return column(k); }
};
/// Windows whose positions are the depth: weight gradient.
struct WindowColumns : Windows<false> {
  using Place = Column;
  using Step = Position;
  __device__ Place place(int index) const { return column(index); }
  __device__ Step step(int k) const { return position(k); }
  __device__ float read(const Column& c, const Position& p) const { return Windows::read(p, c); }
};

/// The filters as the input gradient multiplies by them: depth (tap, filter), column channel.
struct FiltersByChannel {
  static constexpr bool depth_fast = false;
  const float* w;
  int filters, taps, channels;  ///< of the group; taps of the whole filter
  int kernel_width;
  Taps h, v;
  struct Place {
    int channel;  ///< negative outside
  };
  struct Step {
    int64_t offset;
  };
  __device__ Place place(int index) const { return {index < channels ? index : -1}; }
  __device__ Step step(int k) const {
    int const tap = k / filters, th = tap / v.count, tw = tap - th * v.count;
    int const number = (h.filter + th * h.filter_step) * kernel_width + v.filter + tw * v.filter_step;
    return {(static_cast<int64_t>(k - tap * filters) * taps + number) * channels};
  }
  __device__ float read(Place p, Step s) const { return p.channel < 0 ? 0.0f : w[s.offset + p.channel]; }
};

/// What all three kernels know: the tensor they write and how its groups lie.
struct Conv2dTile {
  Epilogue epilogue;
  float* result;
  int rows, columns, depth;  ///< of one group's product
  int result_columns;        ///< of all groups together
  int64_t group_weights;
};

template <int TM, int TN>
__global__ void __launch_bounds__(tile_threads)
    conv2d_forward_implicit_gemm_f32(Conv2dTile p, WindowRows x, Matrix<true> w) {
  int const group = static_cast<int>(blockIdx.z);
  x.channel = group * x.channels;
  w.data += group * p.group_weights;
  int const row0 = static_cast<int>(blockIdx.x) * 16 * TM, column0 = static_cast<int>(blockIdx.y) * 16 * TN;
  multiply_tile<TM, TN>(x, w, row0, column0, 0, p.depth, [&](int row, int column, float r) {
    if (row < p.rows && column < p.columns)
      store_result(p.epilogue, r, row, group * p.columns + column, p.result_columns, p.result);
  });
}

/// Input pixels of one residue modulo the strides: theirs are the positions (i, j) -> (offset_h + i * stride_h, ...).
struct Phase {
  int offset_h, offset_w, stride_h, stride_w, height, width;
};

template <int TM, int TN>
__global__ void __launch_bounds__(tile_threads)
    conv2d_dgrad_implicit_gemm_f32(Conv2dTile p, WindowRows y, FiltersByChannel w, Phase phase) {
  int const group = static_cast<int>(blockIdx.z);
  y.channel = group * y.channels;
  w.w += group * p.group_weights;
  int const row0 = static_cast<int>(blockIdx.x) * 16 * TM, column0 = static_cast<int>(blockIdx.y) * 16 * TN;
  multiply_tile<TM, TN>(y, w, row0, column0, 0, p.depth, [&](int row, int column, float r) {
    if (row >= p.rows || column >= p.columns) return;
    int const line = row / y.grid_w, image = line / y.grid_h;
    int64_t const h = phase.offset_h + (line - image * y.grid_h) * phase.stride_h;
    int64_t const v = phase.offset_w + (row - line * y.grid_w) * phase.stride_w;
    int64_t const pixel = (static_cast<int64_t>(image) * phase.height + h) * phase.width + v;
    store_result(p.epilogue, r, pixel, group * p.columns + column, p.result_columns, p.result);
  });
}

/// Part blockIdx.z % parts of the sum over pixels; partial sums lie [part][filter of all groups][tap, channel].
template <int TM, int TN>
__global__ void __launch_bounds__(tile_threads)
    conv2d_wgrad_implicit_gemm_f32(Conv2dTile p, Matrix<false> y, WindowColumns x, float* partial, int parts) {
  int const group = static_cast<int>(blockIdx.z) / parts, part = static_cast<int>(blockIdx.z) % parts;
  y.data += group * p.rows;
  x.channel = group * x.channels;
  int64_t const results = static_cast<int64_t>(gridDim.z / parts) * p.rows * p.columns;
  int const k0 = static_cast<int>(static_cast<int64_t>(p.depth) * part / parts);
  int const k1 = static_cast<int>(static_cast<int64_t>(p.depth) * (part + 1) / parts);
  int const row0 = static_cast<int>(blockIdx.x) * 16 * TM, column0 = static_cast<int>(blockIdx.y) * 16 * TN;
  multiply_tile<TM, TN>(y, x, row0, column0, k0, k1, [&](int row, int column, float r) {
    int64_t const at = (static_cast<int64_t>(group) * p.rows + row) * p.columns + column;
    if (row < p.rows && column < p.columns) partial[part * results + at] = r;
  });
}

__global__ void conv2d_wgrad_sum_parts(float* w, const float* partial, int parts, int64_t results, bool accumulate) {
  for (auto i : grid_stride(results)) {
    float sum = 0;
    for (int part = 0; part < parts; ++part) sum += partial[part * results + i];
    w[i] = accumulate ? w[i] + sum : sum;
  }
}

/// The input's windows as the forward pass sees them.
template <class W>
W input_windows(const char* name, const Conv2dProblem& p, const float* x) {
  Conv2dShape const& s = p.shape;
  auto const n = [&](int64_t v) { return tile_extent(name, v); };
  W v;
  v.source = x;
  v.height = n(s.h), v.width = n(s.w), v.pitch = n(s.c);
  v.positions = n(s.n * s.oh() * s.ow()), v.grid_h = n(s.oh()), v.grid_w = n(s.ow());
  v.step_h = n(s.stride_h), v.step_w = n(s.stride_w);
  v.h = {n(s.kh), -n(s.pad_h), n(s.dilation_h), 0, 1};
  v.w = {n(s.kw), -n(s.pad_w), n(s.dilation_w), 0, 1};
  v.channels = n(s.c / s.groups), v.channel = 0;
  v.prologue = p.prologue;
  return v;
}

/// The taps that input pixels congruent to `phase` modulo the stride see: those whose displacement the stride divides.
Taps taps_of_phase(int phase, int kernel, int stride, int pad, int dilation) {
  int const period = stride / std::gcd(stride, dilation);
  int first = 0;
  while (first < period && (phase + pad - first * dilation) % stride != 0) ++first;
  if (first == period || first >= kernel) return {0, 0, 0, 0, 0};
  return {(kernel - first + period - 1) / period, (phase + pad - first * dilation) / stride,
          -period * dilation / stride, first, period};
}

Conv2dTile conv2d_tile(const char* name, const Conv2dProblem& p, void* result, int64_t rows, int64_t columns,
                       int64_t depth) {
  Conv2dShape const& s = p.shape;
  return {p.epilogue,
          static_cast<float*>(result),
          tile_extent(name, rows),
          tile_extent(name, columns),
          tile_extent(name, depth),
          tile_extent(name, p.columns()),
          s.weights() / s.groups};
}

void launch_conv2d_forward(const Stream& stream, Conv2dProblem p, void* x, void* w, void* y, void*) {
  constexpr const char* name = "conv2d_forward_implicit_gemm_f32";
  Conv2dShape const& s = p.shape;
  int64_t const depth = s.weights() / s.o;
  auto const windows = input_windows<WindowRows>(name, p, static_cast<const float*>(x));
  Conv2dTile const tile = conv2d_tile(name, p, y, p.rows(), s.o / s.groups, depth);
  Matrix<true> const filters{static_cast<const float*>(w), depth, tile.columns};
  clear_sign_bits(stream, p.epilogue, s.outputs());
  Work const work{name, s.outputs(), 4 * (s.inputs() + s.weights() + s.outputs())};
  auto const launch_with = [&](int t, auto kernel) {
    dim3 const grid(tiles_of(tile.rows, 16 * t), tiles_of(tile.columns, 16 * t), static_cast<unsigned>(s.groups));
    launch_tile(stream, work, grid, dim3(tile_threads), 0, kernel, tile, windows, filters);
  };
  if (large_tiles(tile.rows, tile.columns)) return launch_with(8, conv2d_forward_implicit_gemm_f32<8, 8>);
  launch_with(4, conv2d_forward_implicit_gemm_f32<4, 4>);
}

/// One residue modulo the strides: over those pixels the input gradient is a convolution of stride 1.
void launch_dgrad_phase(const Stream& stream, const Conv2dProblem& p, int phase_h, int phase_w, float* x,
                        const float* w, const float* y) {
  constexpr const char* name = "conv2d_dgrad_implicit_gemm_f32";
  Conv2dShape const& s = p.shape;
  auto const n = [&](int64_t v) { return tile_extent(name, v); };
  WindowRows windows;
  windows.source = y;
  windows.height = n(s.oh()), windows.width = n(s.ow()), windows.pitch = n(s.o);
  windows.grid_h = n((s.h - phase_h + s.stride_h - 1) / s.stride_h);
  windows.grid_w = n((s.w - phase_w + s.stride_w - 1) / s.stride_w);
  windows.positions = n(s.n * windows.grid_h * windows.grid_w);
  windows.step_h = windows.step_w = 1;
  windows.h = taps_of_phase(phase_h, n(s.kh), n(s.stride_h), n(s.pad_h), n(s.dilation_h));
  windows.w = taps_of_phase(phase_w, n(s.kw), n(s.stride_w), n(s.pad_w), n(s.dilation_w));
  windows.channels = n(s.o / s.groups), windows.channel = 0;
  windows.prologue = p.prologue;
  int64_t const depth = static_cast<int64_t>(windows.h.count) * windows.w.count * windows.channels;
  Conv2dTile const tile = conv2d_tile(name, p, x, windows.positions, s.c / s.groups, depth);
  FiltersByChannel const filters{w, windows.channels, n(s.kh * s.kw), tile.columns, n(s.kw), windows.h, windows.w};
  Phase const phase{phase_h, phase_w, n(s.stride_h), n(s.stride_w), n(s.h), n(s.w)};
  Work const work{name, int64_t(tile.rows) * s.c, 4 * (s.inputs() + s.weights() + s.outputs())};
  auto const launch_with = [&](int t, auto kernel) {
    dim3 const grid(tiles_of(tile.rows, 16 * t), tiles_of(tile.columns, 16 * t), static_cast<unsigned>(s.groups));
    launch_tile(stream, work, grid, dim3(tile_threads), 0, kernel, tile, windows, filters, phase);
  };
  if (large_tiles(tile.rows, tile.columns)) return launch_with(8, conv2d_dgrad_implicit_gemm_f32<8, 8>);
  launch_with(4, conv2d_dgrad_implicit_gemm_f32<4, 4>);
}

void launch_conv2d_dgrad(const Stream& stream, Conv2dProblem p, void* x, void* w, void* y, void*) {
  Conv2dShape const& s = p.shape;
  clear_sign_bits(stream, p.epilogue, s.inputs());
  for (int h = 0; h < s.stride_h && h < s.h; ++h)
    for (int v = 0; v < s.stride_w && v < s.w; ++v)
      launch_dgrad_phase(stream, p, h, v, static_cast<float*>(x), static_cast<const float*>(w),
                         static_cast<const float*>(y));
}

void launch_conv2d_wgrad(const Stream& stream, Conv2dProblem p, void* x, void* w, void* y, void* scratch) {
  constexpr const char* name = "conv2d_wgrad_implicit_gemm_f32";
  Conv2dShape const& s = p.shape;
  int64_t const og = s.o / s.groups, columns = s.weights() / s.o;
  Conv2dTile const tile = conv2d_tile(name, p, w, og, columns, s.n * s.oh() * s.ow());
  auto const windows = input_windows<WindowColumns>(name, p, static_cast<const float*>(x));
  Matrix<false> const gradient{static_cast<const float*>(y), s.o, tile.rows};
  auto* const partial = static_cast<float*>(scratch);
  int const parts = static_cast<int>(native::cuda_wgrad_parts(s));
  Work const work{name, s.weights() * parts, 4 * (s.inputs() + s.weights() * parts + s.outputs())};
  dim3 const grid(tiles_of(og, 64), tiles_of(columns, 64), static_cast<unsigned>(s.groups * parts));
  launch_tile(stream, work, grid, dim3(tile_threads), 0, conv2d_wgrad_implicit_gemm_f32<4, 4>, tile, gradient, windows,
              partial, parts);
  launch_map(stream, {"conv2d_wgrad_sum_parts", s.weights(), 4 * s.weights() * (parts + 1)}, conv2d_wgrad_sum_parts,
             static_cast<float*>(w), static_cast<const float*>(partial), parts, s.weights(), p.epilogue.accumulate);
}

KERNEL(conv2d_forward_implicit_gemm_f32, launch_conv2d_forward);
KERNEL(conv2d_dgrad_implicit_gemm_f32, launch_conv2d_dgrad);
KERNEL(conv2d_wgrad_implicit_gemm_f32, launch_conv2d_wgrad);

}  // namespace mith::MITH_SPACE
