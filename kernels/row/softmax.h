// The softmax of one row, in one text for every kernel that needs it: the same logits give the same bits everywhere.
#pragma once
#include "kernels/launch/exponential.h"
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

/// The softmax of j is exp(z_j - shift) / sum.
template <class T>
struct SoftmaxRow {
  T shift, sum;
};

/// `store(j, e)` receives every exp(z_j - shift).
template <class T, class Store>
__device__ __forceinline__ SoftmaxRow<T> softmax_row(const T* __restrict__ z, int64_t k, Store store) {
  T const shift = block_max<T>(k, [=](int64_t j) { return z[j]; });
  T sum = 0;
  for (auto j : block_stride(k)) {
    T const e = exponential(z[j] - shift);
    store(j, e);
    sum += e;
  }
  return {shift, block_sum(sum)};
}

}  // namespace mith::MITH_SPACE
