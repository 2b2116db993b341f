// Layout of the pair search of the saliency map attack, shared by the attack and its kernels.
#pragma once
#include <cstdint>

#if defined(__CUDACC__)
#define MITH_JSMA_ANYWHERE __host__ __device__
#else
#define MITH_JSMA_ANYWHERE
#endif

namespace mith {

constexpr int64_t jsma_block = 256;  ///< features that share their bounds
MITH_JSMA_ANYWHERE constexpr int64_t jsma_blocks(int64_t features) { return (features + jsma_block - 1) / jsma_block; }
/// Parts of the search through one image: part i has the first features i, i + chunks, i + 2 chunks, ...
MITH_JSMA_ANYWHERE constexpr int64_t jsma_chunks(int64_t features) {
  return jsma_blocks(features) < 256 ? jsma_blocks(features) : 256;
}
/// Bounds of one image: three for each block of features, then three for all and the value of a good pair.
MITH_JSMA_ANYWHERE constexpr int64_t jsma_bounds_size(int64_t features) { return 3 * jsma_blocks(features) + 4; }

}  // namespace mith
