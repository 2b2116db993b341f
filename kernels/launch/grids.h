// The shapes in which map, row and tile kernels are launched on cuda and simt. Include after launch().
#pragma once
#include <algorithm>
#include <cstdint>

#include "kernels/launch/table.h"

namespace mith::MITH_SPACE {

constexpr int64_t most_blocks = 1 << 16;  // grid-stride loops take the rest

/// Threads of a block: `usual`, or what MITH_BLOCK says.
inline unsigned block_threads(int64_t usual) {
  int const wanted = launch_options().block;
  return static_cast<unsigned>(wanted ? wanted : usual);
}

template <class... P, class... A>
void launch_map(const Stream& s, const Work& work, void (*kernel)(P...), A... args) {
  unsigned const blocks = static_cast<unsigned>(std::min(most_blocks, (work.items + 255) / 256));
  launch(s, work, dim3(blocks), dim3(block_threads(256)), 0, kernel, args...);
}

/// Threads for a row of `cols`: whole warps, at most 1024.
inline unsigned row_threads(int64_t cols) {
  return block_threads(std::min<int64_t>(1024, std::max<int64_t>(1, (cols / 4 + 31) / 32) * 32));
}

template <class... P, class... A>
void launch_row(const Stream& s, const Work& work, int64_t cols, void (*kernel)(P...), A... args) {
  unsigned const blocks = static_cast<unsigned>(std::min(most_blocks, work.items));
  launch(s, work, dim3(blocks), dim3(row_threads(cols)), 0, kernel, args...);
}

template <class... P, class... A>
void launch_rows_cols(const Stream& s, const Work& work, int64_t cols, void (*kernel)(P...), A... args) {
  unsigned const threads = block_threads(256);
  unsigned x = 1;
  while (2 * x <= threads && x < cols) x *= 2;
  dim3 const block(x, threads / x);
  unsigned const blocks = static_cast<unsigned>(std::min(most_blocks, (work.items + block.y - 1) / block.y));
  launch(s, work, dim3(blocks), block, 0, kernel, args...);
}

template <class... P, class... A>
void launch_tile(const Stream& s, const Work& work, dim3 grid, dim3 block, size_t shared, void (*kernel)(P...),
                 A... args) {
  launch(s, work, grid, block, shared, kernel, args...);
}

}  // namespace mith::MITH_SPACE
