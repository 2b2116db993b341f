// What kernels/map/block_moves.cu is told: how each copy of an image is cut into blocks and what happens in each
// (structure-invariant attack, Wang et al. 2023).
#pragma once
#include <cstdint>

namespace mith {

/// What happens to one block, inside the block.
enum class BlockMove : int32_t {
  identity,
  vertical_shift,    ///< cyclic, by `parameter` rows downwards
  horizontal_shift,  ///< cyclic, by `parameter` columns to the right
  vertical_flip,
  horizontal_flip,
  rotation,         ///< by 180 degrees
  scaling,          ///< times parameter / 2^24
  noise,            ///< plus U(-16/255, 16/255), clamped to [0, 1]
  resize,           ///< bilinearly to 0.8 of its size and back
  low_pass,         ///< without the highest 40 % of its cosine frequencies, each way; a pass of its own
  channel_dropout,  ///< without the channels whose bit in `parameter` is 0, the others divided by 0.9
};
constexpr int block_move_kinds = 11;

constexpr float block_noise = 16 / 255.f;
constexpr float block_dropout = 0.1f;

/// Copies [first, first + count) of each image: row i * count + j is copy first + j of image i. A row's entry in the
/// table: blocks + 1 row cuts from 0 to h, as many column cuts, then move and parameter of each block by rows.
struct BlockCopies {
  int64_t images, first, count;
  int64_t h, w, c;
  int64_t blocks;  ///< each way
  int64_t entry() const { return 2 * (blocks + 1) + 2 * blocks * blocks; }
  int64_t pixels() const { return images * count * h * w; }
};

/// Frequencies of `extent` that low_pass keeps.
constexpr int64_t kept_frequencies(int64_t extent) { return extent - extent * 2 / 5; }

}  // namespace mith
