// What kernels/map/random_style.cu is told.
#pragma once
#include <cstdint>

namespace mith {

/// Copies [first, first + count) of the `copies` of each image: row i * count + j is copy first + j of image i. The
/// first `convolved` of the count take their style from a random convolution, the others from another image's channel
/// statistics.
struct StyledCopies {
  int64_t images, first, count, copies, convolved;
  int64_t h, w, c;
  int64_t rows() const { return images * count; }
  /// Floats of one copy's filter: its side, then c x side x side x c weights, room for the largest.
  int64_t filter() const { return 1 + 49 * c * c; }
};

/// x_s = gamma x + (1 - gamma) style + U(-reach, reach).
struct StyleMix {
  float gamma, reach;
};

}  // namespace mith
