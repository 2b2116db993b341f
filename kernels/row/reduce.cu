// Sums along rows, down columns and of everything, and the count of NaNs.
#include "kernels/launch/bytes.h"
#include "kernels/launch/launch.h"
#include "kernels/row/column_groups.h"

namespace mith::MITH_SPACE {

/// y[i] = factor * sum of x[i * chunk] ... x[(i + 1) * chunk - 1], the last chunk ending at n.
template <class T>
__global__ void sum_chunks(T* __restrict__ y, const T* __restrict__ x, double factor, int64_t n, int64_t chunk,
                           int64_t chunks) {
  for (auto i : block_items(chunks)) {
    const T* const first = x + i * chunk;
    int64_t const length = kmin(chunk, n - i * chunk);
    double sum = 0;
    for (auto j : block_stride(length)) sum += static_cast<double>(first[j]);
    sum = block_sum(sum);
    if (block_leader()) y[i] = static_cast<T>(factor * sum);
  }
}

/// partial[group][c] = sum of a group's rows of x.
template <class T>
__global__ void column_sums_partial(double* __restrict__ partial, const T* __restrict__ x, int64_t rows, int64_t cols,
                                    int64_t groups) {
  for (auto g : grid_rows(groups)) {
    column_sums<1, T>(
        g * rows_per_group, kmin((g + 1) * rows_per_group, rows), cols,
        [&](int64_t r, int64_t c, T* value) { value[0] = x[r * cols + c]; },
        [&](int64_t c, const T* sum) { partial[g * cols + c] = static_cast<double>(sum[0]); });
  }
}

/// y[c] = sum of the groups' partial[group][c].
template <class T>
__global__ void column_sums_total(T* __restrict__ y, const double* __restrict__ partial, int64_t groups, int64_t cols) {
  for (auto c : block_items(cols)) {
    double sum = 0;
    for (auto g : block_stride(groups)) sum += partial[g * cols + c];
    sum = block_sum(sum);
    if (block_leader()) y[c] = static_cast<T>(sum);
  }
}

/// Adds the number of NaNs to *count.
template <class T>
__global__ void count_nan(int64_t* count, const T* __restrict__ x, int64_t n) {
  int32_t bad = 0;
  for (auto i : grid_stride(n)) bad += is_nan(x[i]);
  if (bad) atomic_add(count, bad);
}

template <class T>
void launch_sum_chunks(const Stream& stream, T* y, const T* x, double factor, int64_t n, int64_t chunk) {
  int64_t const chunks = chunk > 0 ? (n + chunk - 1) / chunk : 0;
  launch_row(stream, {"sum_chunks", chunks, bytes_of<T>(1, n)}, chunk, sum_chunks<T>, y, x, factor, n, chunk, chunks);
}

template <class T>
void launch_column_sums_partial(const Stream& stream, double* partial, const T* x, int64_t rows, int64_t cols) {
  int64_t const groups = column_groups(rows);
  launch_rows_cols(stream, {"column_sums_partial", groups, bytes_of<T>(1, rows * cols)}, cols, column_sums_partial<T>,
                   partial, x, rows, cols, groups);
}

template <class T>
void launch_column_sums_total(const Stream& stream, T* y, const double* partial, int64_t groups, int64_t cols) {
  launch_row(stream, {"column_sums_total", cols, bytes_of<double>(1, groups * cols)}, groups, column_sums_total<T>, y,
             partial, groups, cols);
}

template <class T>
void launch_count_nan(const Stream& stream, int64_t* count, const T* x, int64_t n) {
  launch_map(stream, {"count_nan", n, bytes_of<T>(1, n)}, count_nan<T>, count, x, n);
}

KERNEL_FLOATS(sum_chunks, launch_sum_chunks);
KERNEL_FLOATS(column_sums_partial, launch_column_sums_partial);
KERNEL_FLOATS(column_sums_total, launch_column_sums_total);
KERNEL_FLOATS(count_nan, launch_count_nan);

}  // namespace mith::MITH_SPACE
