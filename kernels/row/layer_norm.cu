// Layer normalisation over the last dimension (Ba et al. 2016), forward next to backward: a block a row;
// xhat = (x - mean) * inverse_std.
#include "kernels/launch/bytes.h"
#include "kernels/launch/launch.h"
#include "kernels/row/column_groups.h"

namespace mith::MITH_SPACE {

template <class T>
__global__ void layer_norm_forward(T* __restrict__ y, T* __restrict__ mean, T* __restrict__ inverse_std,
                                   const T* __restrict__ x, const T* __restrict__ weight, const T* __restrict__ bias,
                                   T epsilon, int64_t rows, int64_t cols) {
  T const share = T(1) / static_cast<T>(cols);
  for (auto r : block_items(rows)) {
    const T* __restrict__ from = x + r * cols;
    T sum = 0, squares = 0;
    for (auto c : block_stride(cols)) sum += from[c];
    T const m = block_sum(sum) * share;
    for (auto c : block_stride(cols)) squares += square(from[c] - m);
    T const scale = T(1) / std::sqrt(block_sum(squares) * share + epsilon);
    for (auto c : block_stride(cols)) y[r * cols + c] = (from[c] - m) * scale * weight[c] + bias[c];
    if (!block_leader()) continue;
    mean[r] = m;
    inverse_std[r] = scale;
  }
}

/// dx = inverse_std * (g - mean(g) - xhat * mean(g * xhat)) with g = dy * weight.
template <class T>
__global__ void layer_norm_backward(T* __restrict__ dx, const T* __restrict__ dy, const T* __restrict__ x,
                                    const T* __restrict__ mean, const T* __restrict__ inverse_std,
                                    const T* __restrict__ weight, int64_t rows, int64_t cols) {
  T const share = T(1) / static_cast<T>(cols);
  for (auto r : block_items(rows)) {
    const T* __restrict__ from = x + r * cols, * __restrict__ gradient = dy + r * cols;
    T const m = mean[r], scale = inverse_std[r];
    T sum = 0, product = 0;
    for (auto c : block_stride(cols)) {
      T const g = gradient[c] * weight[c];
      sum += g;
      product += g * ((from[c] - m) * scale);
    }
    sum = block_sum(sum) * share;
    product = block_sum(product) * share;
    for (auto c : block_stride(cols))
      dx[r * cols + c] = scale * (gradient[c] * weight[c] - sum - (from[c] - m) * scale * product);
  }
}

/// partial[group][0][c] = sum dy, the bias gradient; [group][1][c] = sum dy * xhat, the weight gradient.
template <class T>
__global__ void layer_norm_backward_sums(double* __restrict__ partial, const T* __restrict__ dy,
                                         const T* __restrict__ x, const T* __restrict__ mean,
                                         const T* __restrict__ inverse_std, int64_t rows, int64_t cols,
                                         int64_t groups) {
  for (auto g : grid_rows(groups)) {
    column_sums<2, T>(
        g * rows_per_group, kmin((g + 1) * rows_per_group, rows), cols,
        [&](int64_t r, int64_t c, T* value) {
          T const d = dy[r * cols + c];
          value[0] = d;
          value[1] = d * ((x[r * cols + c] - mean[r]) * inverse_std[r]);
        },
        [&](int64_t c, const T* sum) {
          partial[(2 * g) * cols + c] = static_cast<double>(sum[0]);
          partial[(2 * g + 1) * cols + c] = static_cast<double>(sum[1]);
        });
  }
}

template <class T>
void launch_layer_norm_forward(const Stream& stream, T* y, T* mean, T* inverse_std, const T* x, const T* weight,
                               const T* bias, double epsilon, int64_t rows, int64_t cols) {
  launch_row(stream, {"layer_norm_forward", rows, bytes_of<T>(2, rows * cols)}, cols, layer_norm_forward<T>, y, mean,
             inverse_std, x, weight, bias, epsilon, rows, cols);
}

template <class T>
void launch_layer_norm_backward(const Stream& stream, T* dx, const T* dy, const T* x, const T* mean,
                                const T* inverse_std, const T* weight, int64_t rows, int64_t cols) {
  launch_row(stream, {"layer_norm_backward", rows, bytes_of<T>(3, rows * cols)}, cols, layer_norm_backward<T>, dx, dy,
             x, mean, inverse_std, weight, rows, cols);
}

template <class T>
void launch_layer_norm_backward_sums(const Stream& stream, double* partial, const T* dy, const T* x, const T* mean,
                                     const T* inverse_std, int64_t rows, int64_t cols) {
  int64_t const groups = column_groups(rows);
  launch_rows_cols(stream, {"layer_norm_backward_sums", groups, bytes_of<T>(2, rows * cols)}, cols,
                   layer_norm_backward_sums<T>, partial, dy, x, mean, inverse_std, rows, cols, groups);
}

KERNEL_FLOATS(layer_norm_forward, launch_layer_norm_forward);
KERNEL_FLOATS(layer_norm_backward, launch_layer_norm_backward);
KERNEL_FLOATS(layer_norm_backward_sums, launch_layer_norm_backward_sums);

}  // namespace mith::MITH_SPACE
