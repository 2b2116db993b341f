// What kernels/map/mixed_copies.cu is told.
#pragma once
#include <cstdint>

namespace mith {

/// Copies [first, first + count) of each image: row i * count + j is copy first + j of image i, which is draw copy /
/// scales of its partners at scale copy % scales.
struct MixedCopies {
  int64_t images, first, count;
  int64_t draws, scales;
  int64_t per_image;
  int64_t rows() const { return images * count; }
};

/// USMM's: scales from low to high in even steps, masks in [1 - r, 1 + r].
struct MixMask {
  float low, high, r;
};

}  // namespace mith
