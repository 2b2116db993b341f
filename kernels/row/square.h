// What one query of the Square attack does to one image, shared by the attack and its kernels.
#pragma once
#include <cstdint>

namespace mith {

/// Two squares of `side` pixels by the places of their upper left corners; side 0: none. In L-infinity both are one.
struct SquareWindows {
  int32_t row = 0, col = 0, other_row = 0, other_col = 0, side = 0;
};

/// Five plus five plus one words, as they lie in an i32 tensor.
struct SquareMove {
  int32_t accepted = 0;  ///< whether the candidate of `last` is the new iterate
  SquareWindows last, next;
};

constexpr int64_t square_move_words = sizeof(SquareMove) / sizeof(int32_t);

}  // namespace mith
