// What the projected L-BFGS of attacks shares with its kernels.
#pragma once
#include <cstdint>

namespace mith {

/// Pairs of steps and gradient changes that are remembered.
constexpr int64_t lbfgs_pairs = 8;

/// What a point that was tried means to an image's search.
enum class LbfgsPoint : uint8_t { accepted, first, refused };

}  // namespace mith
