// Layout of the pair search of the saliency map attack, shared by the attack and its kernels.
#pragma once
#include <cstdint>

namespace mith {

constexpr int64_t jsma_block = 256;  ///< features that share their bounds
constexpr int64_t jsma_chunks =
    256;  ///< parts of the search through one image; part i has the first features i + 256 k
/// Bounds of one image: three for each block of features, then three for all and the value of a good pair.
constexpr int64_t jsma_bounds_size(int64_t features) { return 3 * ((features + jsma_block - 1) / jsma_block) + 4; }

}  // namespace mith
