// The index of each row's largest value: a block a row.
#include "kernels/launch/bytes.h"
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

/// Ties give the lowest index; NaN wins.
template <class T>
__global__ void argmax(int32_t* __restrict__ index, const T* __restrict__ x, int64_t rows, int64_t cols) {
  int64_t const none = INT64_MAX;  // loses every tie
  for (auto r : block_items(rows)) {
    ValueIndex<T> best{static_cast<T>(-__builtin_inf()), none};
    for (auto c : block_stride(cols)) {
      T const v = x[r * cols + c];
      bool const better = best.index == none || v > best.value || (is_nan(v) && !is_nan(best.value));
      if (better) best = {v, c};
    }
    best = block_argmax(best);
    if (block_leader()) index[r] = static_cast<int32_t>(best.index);
  }
}

template <class T>
void launch_argmax(const Stream& stream, int32_t* index, const T* x, int64_t rows, int64_t cols) {
  launch_row(stream, {"argmax", rows, bytes_of<T>(1, rows * cols)}, cols, argmax<T>, index, x, rows, cols);
}

KERNEL_FLOATS(argmax, launch_argmax);

}  // namespace mith::MITH_SPACE
