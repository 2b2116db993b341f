// Norms of an image's worth of values, each reduced by a block.
#pragma once
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

MITH_DEVICE float magnitude(float v) { return v < 0 ? -v : v; }

// of(n, value): the norm of value(0), ..., value(n - 1), summed in double; NaN stays NaN. Every thread of the block
// must call it.

struct L1Norm {
  template <class Value>
  static __device__ double of(int64_t n, Value value) {
    double sum = 0;
    for (auto i : block_stride(n)) sum += static_cast<double>(magnitude(value(i)));
    return block_sum(sum);
  }
};

struct L2Norm {
  template <class Value>
  static __device__ double of(int64_t n, Value value) {
    double sum = 0;
    for (auto i : block_stride(n)) sum += square(static_cast<double>(value(i)));
    return std::sqrt(block_sum(sum));
  }
};

struct LinfNorm {
  template <class Value>
  static __device__ double of(int64_t n, Value value) {
    return static_cast<double>(block_max<float>(n, [=](int64_t i) { return magnitude(value(i)); }));
  }
};

}  // namespace mith::MITH_SPACE
