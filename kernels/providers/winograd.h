// Convolutions with 2.25 x fewer multiplications (kernels/host/winograd.cpp): which, and what the native provider and
// the kernels agree on, blocks and scratch.
#pragma once
#include "kernels/providers/native.h"

namespace mith::winograd {

/// Whether the native provider convolves so on the cpu, in f32. Weights that change would be transformed on every call.
constexpr bool takes(const Conv2dProblem& p) {
  Conv2dShape const& s = p.shape;
  bool const small_steps = s.stride_h == 1 && s.stride_w == 1 && s.dilation_h == 1 && s.dilation_w == 1;
  return p.dtype == DType::f32 && p.fixed_weights && p.pass == ConvPass::forward && s.kh == 3 && s.kw == 3 &&
         small_steps && s.groups == 1 && s.c % native::most_lanes == 0 && s.o % native::most_lanes == 0 &&
         p.prologue.empty();
}

/// A tile of F(2x2, 3x3) reads 4x4 pixels.
constexpr int64_t side = 4, places = side * side;

/// Tiles that a worker has at a time, a multiple of every register tile's rows.
constexpr int64_t block_tiles = 48;
static_assert(block_tiles <= native::block_rows && block_tiles % 24 == 0);

/// Floats between two places of a block of transformed inputs; never a multiple of a page.
constexpr int64_t place_floats(int64_t channels) { return block_tiles * channels + native::most_lanes; }

/// Floats of scratch that one worker needs: transformed inputs, products and results of a panel, row addresses (an
/// address takes two floats) and output rows.
constexpr int64_t worker_floats(int64_t channels) {
  return places * place_floats(channels) + (places + 4) * block_tiles * native::panel_columns + 2 * native::block_rows +
         8 * block_tiles;
}

/// Floats of the transformed filters.
constexpr int64_t filter_floats(const Conv2dShape& s) { return places * s.c * s.o; }

}  // namespace mith::winograd
