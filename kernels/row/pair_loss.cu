// Losses between two tensors, a mean over each row: a block a row, forward next to backward.
#include "kernels/row/pair_loss.h"

#include "kernels/launch/bytes.h"
#include "kernels/launch/exponential.h"
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

// value(a, b), and its slope by a.

template <class T>
struct L1 {
  MITH_DEVICE T value(T a, T b) const { return std::abs(a - b); }
  /// 0 where the two are equal; NaN stays NaN.
  MITH_DEVICE T slope(T a, T b) const {
    T const d = a - b;
    return is_nan(d) ? d : sign(d);
  }
};

template <class T>
struct SquaredError {
  MITH_DEVICE T value(T a, T b) const { return square(a - b); }
  MITH_DEVICE T slope(T a, T b) const { return T(2) * (a - b); }
};

/// log(1 + e^x) - t x, without overflow.
template <class T>
struct BinaryCrossEntropy {
  MITH_DEVICE T value(T x, T t) const { return kmax(x, T(0)) - t * x + std::log1p(exponential(-std::abs(x))); }
  MITH_DEVICE T slope(T x, T t) const { return logistic(x) - t; }
};

template <class T, class F>
__global__ void pair_loss_forward(T* __restrict__ loss, const T* __restrict__ a, const T* __restrict__ b, F f,
                                  int64_t rows, int64_t cols) {
  for (auto r : block_items(rows)) {
    double sum = 0;
    for (auto c : block_stride(cols)) sum += static_cast<double>(f.value(a[r * cols + c], b[r * cols + c]));
    sum = block_sum(sum);
    if (block_leader()) loss[r] = static_cast<T>(sum / static_cast<double>(cols));
  }
}

/// da = factor * dloss * slope / cols; the factor is -1 for the other operand.
template <class T, class F>
__global__ void pair_loss_backward(T* __restrict__ da, const T* __restrict__ dloss, const T* __restrict__ a,
                                   const T* __restrict__ b, F f, T factor, int64_t rows, int64_t cols) {
  for (auto r : grid_rows(rows)) {
    T const share = factor * dloss[r] / static_cast<T>(cols);
    for (auto c : row_cols(cols)) da[r * cols + c] = share * f.slope(a[r * cols + c], b[r * cols + c]);
  }
}

/// Calls run(functor) with the loss's functor.
template <class T, class Run>
void with_loss(PairLoss kind, Run run) {
  switch (kind) {
    case PairLoss::l1:
      return run(L1<T>{});
    case PairLoss::mse:
      return run(SquaredError<T>{});
    case PairLoss::bce_with_logits:
      return run(BinaryCrossEntropy<T>{});
  }
}

template <class T>
void launch_pair_loss_forward(const Stream& stream, T* loss, const T* a, const T* b, PairLoss kind, int64_t rows,
                              int64_t cols) {
  with_loss<T>(kind, [&]<class F>(F f) {
    launch_row(stream, {"pair_loss_forward", rows, bytes_of<T>(2, rows * cols)}, cols, pair_loss_forward<T, F>, loss, a,
               b, f, rows, cols);
  });
}

template <class T>
void launch_pair_loss_backward(const Stream& stream, T* da, const T* dloss, const T* a, const T* b, PairLoss kind,
                               double factor, int64_t rows, int64_t cols) {
  with_loss<T>(kind, [&]<class F>(F f) {
    launch_rows_cols(stream, {"pair_loss_backward", rows, bytes_of<T>(3, rows * cols)}, cols, pair_loss_backward<T, F>,
                     da, dloss, a, b, f, factor, rows, cols);
  });
}

KERNEL_FLOATS(pair_loss_forward, launch_pair_loss_forward);
KERNEL_FLOATS(pair_loss_backward, launch_pair_loss_backward);

}  // namespace mith::MITH_SPACE
