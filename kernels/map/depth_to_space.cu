// Blocks of pixels that lie in the channels of one, spread to where they belong. Signature:
//
//   depth_to_space (float* y, const float* x, int64_t n, int64_t h, int64_t w, int64_t c, PixelBlocks)
//       y[n,h,w,c] from x[n, blocks.h, blocks.w, side * side * c]
//
// A work item is one row of one block, which is contiguous on both sides.
#include "kernels/map/depth_to_space.h"

#include "kernels/launch/bytes.h"
#include "kernels/launch/divide.h"
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

__global__ void depth_to_space(float* __restrict__ y, const float* __restrict__ x, int64_t w, int64_t c,
                               PixelBlocks blocks, Divider across, Divider rows, uint32_t n) {
  for (auto i : grid_stride(n)) {
    uint32_t const row = across.quotient(static_cast<uint32_t>(i));  // of all images
    int64_t const column = static_cast<uint32_t>(i) - row * across.divisor;
    uint32_t const image = rows.quotient(row);
    uint32_t const in_image = row - image * rows.divisor;
    uint32_t const block_row = in_image / static_cast<uint32_t>(blocks.side);
    int64_t const phase = in_image - block_row * blocks.side;
    int64_t const run = blocks.side * c;
    int64_t const left = (w - column * blocks.side) * c;
    const float* const from =
        x + ((image * blocks.h + blocks.top + block_row) * blocks.w + blocks.left + column) * blocks.side * run +
        phase * run;
    float* const to = y + (static_cast<int64_t>(row) * w + column * blocks.side) * c;
    for (int64_t j = 0; j < kmin(run, left); ++j) to[j] = from[j];
  }
}

void launch_depth_to_space(const Stream& stream, float* y, const float* x, int64_t n, int64_t h, int64_t w, int64_t c,
                           PixelBlocks blocks) {
  int64_t const across = (w + blocks.side - 1) / blocks.side, items = n * h * across;
  if (items == 0) return;
  launch_map(stream, {"depth_to_space", items, bytes_of<float>(2, n * h * w * c)}, depth_to_space, y, x, w, c, blocks,
             Divider(across, items, "depth_to_space"), Divider(h, n * h, "depth_to_space"), items);
}

KERNEL(depth_to_space, launch_depth_to_space);

}  // namespace mith::MITH_SPACE
