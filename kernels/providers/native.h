// What the native provider and its kernels agree on: blocks, algorithms that depend on the shape, and scratch.
#pragma once
#include <algorithm>

#include "kernels/providers/provider.h"

namespace mith::native {

/// Blocks of the cpu's loops: rows, depth, and the widest panel of a right-hand matrix.
constexpr int64_t block_rows = 96, block_depth = 256, panel_columns = 64, most_lanes = 16;

constexpr int64_t round_up(int64_t v, int64_t unit) { return (v + unit - 1) / unit * unit; }

/// Runs of the depth whose row addresses a worker keeps at a time.
constexpr int64_t most_segments = 16;

/// Floats of scratch that one worker of the cpu needs: a block of results, blocks of both operands, the table of row
/// addresses (an address takes two floats) and the output rows.
constexpr int64_t worker_floats = block_rows * panel_columns + block_rows * block_depth + block_depth * panel_columns +
                                  2 * block_rows * most_segments + 2 * block_rows;

/// Floats that a right-hand matrix takes once packed into panels, at any vector width.
constexpr int64_t packed_floats(int64_t depth, int64_t columns) { return depth * round_up(columns, most_lanes); }

/// A long reduction over few results (a weight gradient) is cut into this many parts, which are then summed in order:
/// a function of the problem alone, so that the result does not depend on the number of threads.
constexpr int64_t reduction_parts(int64_t rows, int64_t columns, int64_t depth) {
  int64_t const tiles = (rows + block_rows - 1) / block_rows * ((columns + panel_columns - 1) / panel_columns);
  return std::max<int64_t>(1, std::min((32 + tiles - 1) / tiles, depth / 2048));
}
/// Floats of those parts; either side may turn out to be the columns.
constexpr int64_t reduction_floats(int64_t rows, int64_t columns, int64_t depth) {
  return reduction_parts(rows, columns, depth) * rows * round_up(columns, most_lanes);
}

/// True if few input channels make it cheaper to form all taps' products of an output pixel and scatter them than to
/// gather, where the vector lanes would mostly be padding.
constexpr bool input_gradient_scatters(const Conv2dShape& s) {
  int64_t const taps = s.kh * s.kw, cg = s.c / s.groups;
  return 2 * round_up(taps * cg, most_lanes) <= taps * round_up(cg, most_lanes);
}

/// True if a weight gradient is formed transposed, (tap, channel) x filter, because that wastes fewer lanes.
constexpr bool weight_gradient_transposes(const Conv2dShape& s) {
  int64_t const depth = s.kh * s.kw * (s.c / s.groups), og = s.o / s.groups;
  return depth * round_up(og, most_lanes) < og * round_up(depth, most_lanes);
}

/// Floats of a convolution's taps on the cpu (three 64-bit numbers each), and of what its workers share.
constexpr int64_t tap_floats(const Conv2dShape& s) { return round_up(6 * s.kh * s.kw, most_lanes); }
inline int64_t shared_floats(const Conv2dProblem& p) {
  Conv2dShape const& s = p.shape;
  int64_t const taps = s.kh * s.kw, cg = s.c / s.groups, og = s.o / s.groups, pixels = s.n * s.oh() * s.ow();
  switch (p.pass) {
    case ConvPass::forward:
      return packed_floats(taps * cg, og);
    case ConvPass::input_gradient:
      return input_gradient_scatters(s) ? packed_floats(og, taps * cg) : packed_floats(taps * og, cg);
    case ConvPass::weight_gradient:
      return weight_gradient_transposes(s) ? reduction_floats(taps * cg, og, pixels)
                                           : reduction_floats(og, taps * cg, pixels);
  }
  return 0;
}

/// Parts that the GPU cuts a weight gradient's sum over pixels into: enough blocks of 64 x 64 results to fill a large
/// GPU, none with fewer than 256 pixels. A function of the problem alone.
inline int64_t cuda_wgrad_parts(const Conv2dShape& s) {
  int64_t const og = s.o / s.groups, columns = s.kh * s.kw * (s.c / s.groups);
  int64_t const tiles = s.groups * ((og + 63) / 64) * ((columns + 63) / 64), pixels = s.n * s.oh() * s.ow();
  return std::max<int64_t>(1, std::min((512 + tiles - 1) / tiles, pixels / 256));
}
inline int64_t cuda_shared_floats(const Conv2dProblem& p) {
  return p.pass == ConvPass::weight_gradient ? cuda_wgrad_parts(p.shape) * p.shape.weights() : 0;
}

}  // namespace mith::native
