// Batch normalisation over the last dimension (Ioffe & Szegedy 2015), forward next to backward. x is [rows, cols], a
// column a channel; xhat = (x - mean) * inverse_std.
#include <cmath>

#include "kernels/launch/bytes.h"
#include "kernels/launch/launch.h"
#include "kernels/row/column_groups.h"

namespace mith::MITH_SPACE {

/// partial[group][0][c] = sum (x - x[0]), [group][1][c] = sum (x - x[0])^2: measured from the first row, squares do not
/// cancel when a channel's mean is large against its deviation.
template <class T>
__global__ void batch_norm_statistics(double* __restrict__ partial, const T* __restrict__ x, int64_t rows, int64_t cols,
                                      int64_t groups) {
  for (auto g : grid_rows(groups)) {
    column_sums<2, T>(
        g * rows_per_group, kmin((g + 1) * rows_per_group, rows), cols,
        [&](int64_t r, int64_t c, T* value) {
          T const d = x[r * cols + c] - x[c];
          value[0] = d;
          value[1] = d * d;
        },
        [&](int64_t c, const T* sum) {
          partial[(2 * g) * cols + c] = static_cast<double>(sum[0]);
          partial[(2 * g + 1) * cols + c] = static_cast<double>(sum[1]);
        });
  }
}

/// Partial sums -> mean and inverse_std of the batch; running statistics, unless null, move by `momentum` towards the
/// mean and the unbiased variance.
template <class T>
__global__ void batch_norm_finish(T* __restrict__ mean, T* __restrict__ inverse_std, T* __restrict__ running_mean,
                                  T* __restrict__ running_var, const double* __restrict__ partial,
                                  const T* __restrict__ x, double momentum, double epsilon, int64_t rows, int64_t cols,
                                  int64_t groups) {
  for (auto c : block_items(cols)) {
    double sum = 0, squares = 0;
    for (auto g : block_stride(groups)) {
      sum += partial[(2 * g) * cols + c];
      squares += partial[(2 * g + 1) * cols + c];
    }
    sum = block_sum(sum);
    squares = block_sum(squares);
    if (!block_leader()) continue;
    double const n = static_cast<double>(rows), offset = sum / n;
    double const m = static_cast<double>(x[c]) + offset;
    double const variance = kmax(squares / n - offset * offset, 0.0);
    mean[c] = static_cast<T>(m);
    inverse_std[c] = static_cast<T>(1 / std::sqrt(variance + epsilon));
    if (running_mean) {
      running_mean[c] = static_cast<T>((1 - momentum) * running_mean[c] + momentum * m);
      running_var[c] = static_cast<T>((1 - momentum) * running_var[c] + momentum * variance * n / (n - 1));
    }
  }
}

template <class T>
__global__ void batch_norm_inverse_std(T* __restrict__ inverse_std, const T* __restrict__ variance, double epsilon,
                                       int64_t cols) {
  for (auto c : grid_stride(cols)) {
    inverse_std[c] = static_cast<T>(1 / std::sqrt(static_cast<double>(variance[c]) + epsilon));
  }
}

/// xhat * weight + bias: written once, because the backward pass asks for the sign that the forward pass saw.
template <class T>
MITH_DEVICE T scaled(T x, T mean, T inverse_std, T weight, T bias) {
  return (x - mean) * (inverse_std * weight) + bias;
}

/// v, rounded before a residual is added. Host compilers may regroup sums (kernels/CMakeLists.txt), and GCC forgets its
/// own barrier against that where it vectorises; a comparison they leave alone.
template <class T>
MITH_DEVICE T in_parentheses(T v) {
  return kmax(v, T(-INFINITY));
}

/// What passes a ReLU backward: all but where its input was 0 or less. NaN passes.
template <class T>
MITH_DEVICE T passed(T d, T input) {
  return input <= T(0) ? T(0) : d;
}

/// y = xhat * weight + bias, plus the residual if there is one, and not below 0 if it is rectified.
template <class T, bool has_residual, bool rectified>
__global__ void batch_norm_forward(T* __restrict__ y, const T* __restrict__ x, const T* __restrict__ mean,
                                   const T* __restrict__ inverse_std, const T* __restrict__ weight,
                                   const T* __restrict__ bias, const T* __restrict__ residual, int64_t rows,
                                   int64_t cols) {
  for (auto r : grid_rows(rows)) {
    for (auto c : row_cols(cols)) {
      T v = scaled(x[r * cols + c], mean[c], inverse_std[c], weight[c], bias[c]);
      if constexpr (has_residual) v = in_parentheses(v) + residual[r * cols + c];
      y[r * cols + c] = rectified ? kmax(v, T(0)) : v;
    }
  }
}

/// partial[group][0][c] = sum dy, the bias gradient; [group][1][c] = sum dy * xhat, the weight gradient. dy is that of
/// the rectified output where the output was.
template <class T, bool rectified>
__global__ void batch_norm_backward_sums(double* __restrict__ partial, const T* __restrict__ dy,
                                         const T* __restrict__ x, const T* __restrict__ mean,
                                         const T* __restrict__ inverse_std, const T* __restrict__ weight,
                                         const T* __restrict__ bias, int64_t rows, int64_t cols, int64_t groups) {
  for (auto g : grid_rows(groups)) {
    column_sums<2, T>(
        g * rows_per_group, kmin((g + 1) * rows_per_group, rows), cols,
        [&](int64_t r, int64_t c, T* value) {
          T const v = x[r * cols + c];
          T d = dy[r * cols + c];
          if constexpr (rectified) d = passed(d, scaled(v, mean[c], inverse_std[c], weight[c], bias[c]));
          value[0] = d;
          value[1] = d * ((v - mean[c]) * inverse_std[c]);
        },
        [&](int64_t c, const T* sum) {
          partial[(2 * g) * cols + c] = static_cast<double>(sum[0]);
          partial[(2 * g + 1) * cols + c] = static_cast<double>(sum[1]);
        });
  }
}

/// Training: dx = weight * inverse_std * (dy - mean(dy) - xhat * mean(dy * xhat)), from sums[0] = sum dy and
/// sums[1] = sum dy * xhat.
template <class T, bool rectified>
__global__ void batch_norm_backward(T* __restrict__ dx, const T* __restrict__ dy, const T* __restrict__ x,
                                    const T* __restrict__ mean, const T* __restrict__ inverse_std,
                                    const T* __restrict__ weight, const T* __restrict__ bias,
                                    const T* __restrict__ sums, int64_t rows, int64_t cols) {
  T const share = T(1) / static_cast<T>(rows);
  for (auto r : grid_rows(rows)) {
    for (auto c : row_cols(cols)) {
      T const v = x[r * cols + c];
      T d = dy[r * cols + c];
      if constexpr (rectified) d = passed(d, scaled(v, mean[c], inverse_std[c], weight[c], bias[c]));
      T const centred = d - (sums[c] + (v - mean[c]) * inverse_std[c] * sums[cols + c]) * share;
      dx[r * cols + c] = centred * (weight[c] * inverse_std[c]);
    }
  }
}

/// Evaluation: the statistics are constants, dx = dy * weight * inverse_std.
template <class T>
__global__ void batch_norm_backward_eval(T* __restrict__ dx, const T* __restrict__ dy,
                                         const T* __restrict__ inverse_std, const T* __restrict__ weight, int64_t rows,
                                         int64_t cols) {
  for (auto r : grid_rows(rows)) {
    for (auto c : row_cols(cols)) dx[r * cols + c] = dy[r * cols + c] * (inverse_std[c] * weight[c]);
  }
}

// Launchers.

template <class T>
void launch_batch_norm_statistics(const Stream& stream, double* partial, const T* x, int64_t rows, int64_t cols) {
  int64_t const groups = column_groups(rows);
  launch_rows_cols(stream, {"batch_norm_statistics", groups, bytes_of<T>(1, rows * cols)}, cols,
                   batch_norm_statistics<T>, partial, x, rows, cols, groups);
}

template <class T>
void launch_batch_norm_finish(const Stream& stream, T* mean, T* inverse_std, T* running_mean, T* running_var,
                              const double* partial, const T* x, double momentum, double epsilon, int64_t rows,
                              int64_t cols) {
  int64_t const groups = column_groups(rows);
  launch_row(stream, {"batch_norm_finish", cols, bytes_of<double>(2, groups * cols)}, groups, batch_norm_finish<T>,
             mean, inverse_std, running_mean, running_var, partial, x, momentum, epsilon, rows, cols, groups);
}

template <class T>
void launch_batch_norm_inverse_std(const Stream& stream, T* inverse_std, const T* variance, double epsilon,
                                   int64_t cols) {
  launch_map(stream, {"batch_norm_inverse_std", cols, bytes_of<T>(2, cols)}, batch_norm_inverse_std<T>, inverse_std,
             variance, epsilon, cols);
}

/// `residual` is null if there is none.
template <class T>
void launch_batch_norm_forward(const Stream& stream, T* y, const T* x, const T* mean, const T* inverse_std,
                               const T* weight, const T* bias, const T* residual, bool rectified, int64_t rows,
                               int64_t cols) {
  auto* kernel = batch_norm_forward<T, false, false>;
  if (rectified) kernel = batch_norm_forward<T, false, true>;
  if (residual) kernel = rectified ? batch_norm_forward<T, true, true> : batch_norm_forward<T, true, false>;
  launch_rows_cols(stream, {"batch_norm_forward", rows, bytes_of<T>(residual ? 3 : 2, rows * cols)}, cols, kernel, y, x,
                   mean, inverse_std, weight, bias, residual, rows, cols);
}

/// `rectified`: the output was, and nothing was added to it before.
template <class T>
void launch_batch_norm_backward_sums(const Stream& stream, double* partial, const T* dy, const T* x, const T* mean,
                                     const T* inverse_std, const T* weight, const T* bias, bool rectified, int64_t rows,
                                     int64_t cols) {
  int64_t const groups = column_groups(rows);
  auto* const kernel = rectified ? batch_norm_backward_sums<T, true> : batch_norm_backward_sums<T, false>;
  launch_rows_cols(stream, {"batch_norm_backward_sums", groups, bytes_of<T>(2, rows * cols)}, cols, kernel, partial, dy,
                   x, mean, inverse_std, weight, bias, rows, cols, groups);
}

template <class T>
void launch_batch_norm_backward(const Stream& stream, T* dx, const T* dy, const T* x, const T* mean,
                                const T* inverse_std, const T* weight, const T* bias, const T* sums, bool rectified,
                                int64_t rows, int64_t cols) {
  auto* const kernel = rectified ? batch_norm_backward<T, true> : batch_norm_backward<T, false>;
  launch_rows_cols(stream, {"batch_norm_backward", rows, bytes_of<T>(3, rows * cols)}, cols, kernel, dx, dy, x, mean,
                   inverse_std, weight, bias, sums, rows, cols);
}

template <class T>
void launch_batch_norm_backward_eval(const Stream& stream, T* dx, const T* dy, const T* inverse_std, const T* weight,
                                     int64_t rows, int64_t cols) {
  launch_rows_cols(stream, {"batch_norm_backward_eval", rows, bytes_of<T>(2, rows * cols)}, cols,
                   batch_norm_backward_eval<T>, dx, dy, inverse_std, weight, rows, cols);
}

KERNEL_FLOATS(batch_norm_statistics, launch_batch_norm_statistics);
KERNEL_FLOATS(batch_norm_finish, launch_batch_norm_finish);
KERNEL_FLOATS(batch_norm_inverse_std, launch_batch_norm_inverse_std);
KERNEL_FLOATS(batch_norm_forward, launch_batch_norm_forward);
KERNEL_FLOATS(batch_norm_backward_sums, launch_batch_norm_backward_sums);
KERNEL_FLOATS(batch_norm_backward, launch_batch_norm_backward);
KERNEL_FLOATS(batch_norm_backward_eval, launch_batch_norm_backward_eval);

}  // namespace mith::MITH_SPACE
