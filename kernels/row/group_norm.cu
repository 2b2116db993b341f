// Group normalisation (Wu & He 2018): statistics over the pixels of one image and a group of neighbouring channels;
// with as many groups as channels, instance normalisation. mean and inverse_std are held by image and channel, [n,c].
#include "kernels/launch/bytes.h"
#include "kernels/launch/divide.h"
#include "kernels/launch/launch.h"
#include "kernels/row/column_groups.h"

namespace mith::MITH_SPACE {

/// partial[image][part][0][c] = sum (x - first), [1][c] = sum (x - first)^2 over a part of the pixels, from the
/// channel's first pixel so that squares do not cancel.
template <class T>
__global__ void group_norm_statistics(double* __restrict__ partial, const T* __restrict__ x, int64_t images,
                                      int64_t pixels, int64_t cols, int64_t parts) {
  for (auto g : grid_rows(images * parts)) {
    int64_t const image = g / parts, part = g - image * parts;
    const T* const from = x + image * pixels * cols;
    column_sums<2, T>(
        part * rows_per_group, kmin((part + 1) * rows_per_group, pixels), cols,
        [&](int64_t r, int64_t c, T* value) {
          T const d = from[r * cols + c] - from[c];
          value[0] = d;
          value[1] = d * d;
        },
        [&](int64_t c, const T* sum) {
          partial[(2 * g) * cols + c] = static_cast<double>(sum[0]);
          partial[(2 * g + 1) * cols + c] = static_cast<double>(sum[1]);
        });
  }
}

/// A block an image and group. Channels' means m_c and sums of squares about them combine to the group's:
/// variance = mean over c of (variance_c + (m_c - m)^2).
template <class T>
__global__ void group_norm_finish(T* __restrict__ mean, T* __restrict__ inverse_std, const double* __restrict__ partial,
                                  const T* __restrict__ x, double epsilon, int64_t images, int64_t groups,
                                  int64_t pixels, int64_t cols, int64_t parts) {
  int64_t const width = cols / groups;
  double const count = static_cast<double>(pixels);
  for (auto i : block_items(images * groups)) {
    int64_t const image = i / groups, first = (i - image * groups) * width;
    auto const channel_mean = [&](int64_t c) {
      double sum = 0;
      for (int64_t p = 0; p < parts; ++p) sum += partial[2 * (image * parts + p) * cols + c];
      return sum / count;
    };
    double sum = 0;
    for (auto k : block_stride(width))
      sum += channel_mean(first + k) + static_cast<double>(x[image * pixels * cols + first + k]);
    double const m = block_sum(sum) / static_cast<double>(width);
    double spread = 0;
    for (auto k : block_stride(width)) {
      int64_t const c = first + k;
      double squares = 0;
      for (int64_t p = 0; p < parts; ++p) squares += partial[(2 * (image * parts + p) + 1) * cols + c];
      double const offset = channel_mean(c);
      double const variance = squares / count - offset * offset;
      spread += variance + square(offset + static_cast<double>(x[image * pixels * cols + c]) - m);
    }
    double const variance = kmax(block_sum(spread) / static_cast<double>(width), 0.0);
    T const scale = static_cast<T>(1 / std::sqrt(variance + epsilon));
    for (auto k : block_stride(width)) {
      mean[image * cols + first + k] = static_cast<T>(m);
      inverse_std[image * cols + first + k] = scale;
    }
  }
}

/// y = xhat * weight + bias; both may be null.
template <class T>
__global__ void group_norm_forward(T* __restrict__ y, const T* __restrict__ x, const T* __restrict__ mean,
                                   const T* __restrict__ inverse_std, const T* __restrict__ weight,
                                   const T* __restrict__ bias, Divider per_image, int64_t pixels, int64_t cols) {
  for (auto r : grid_rows(pixels)) {
    int64_t const at = int64_t(per_image.quotient(static_cast<uint32_t>(r))) * cols;
    const T* __restrict__ m = mean + at, * __restrict__ scale = inverse_std + at;
    if (weight) {
      for (auto c : row_cols(cols)) y[r * cols + c] = (x[r * cols + c] - m[c]) * (scale[c] * weight[c]) + bias[c];
    } else {
      for (auto c : row_cols(cols)) y[r * cols + c] = (x[r * cols + c] - m[c]) * scale[c];
    }
  }
}

/// partial[image][part][0][c] = sum of dy over a part of the pixels, [1][c] = sum of dy * xhat.
template <class T>
__global__ void group_norm_backward_sums(double* __restrict__ partial, const T* __restrict__ dy,
                                         const T* __restrict__ x, const T* __restrict__ mean,
                                         const T* __restrict__ inverse_std, int64_t images, int64_t pixels,
                                         int64_t cols, int64_t parts) {
  for (auto g : grid_rows(images * parts)) {
    int64_t const image = g / parts, part = g - image * parts, from = image * pixels, at = image * cols;
    column_sums<2, T>(
        from + part * rows_per_group, from + kmin((part + 1) * rows_per_group, pixels), cols,
        [&](int64_t r, int64_t c, T* value) {
          T const d = dy[r * cols + c];
          value[0] = d;
          value[1] = d * ((x[r * cols + c] - mean[at + c]) * inverse_std[at + c]);
        },
        [&](int64_t c, const T* sum) {
          partial[(2 * g) * cols + c] = static_cast<double>(sum[0]);
          partial[(2 * g + 1) * cols + c] = static_cast<double>(sum[1]);
        });
  }
}

/// A block an image and group: sums[image][0][c] and [1][c] receive the channel's totals, the gradients of bias and
/// weight by image; share[image][0][c] and [1][c] the group's means of dy * weight and of dy * weight * xhat.
template <class T>
__global__ void group_norm_backward_finish(T* __restrict__ sums, T* __restrict__ share,
                                           const double* __restrict__ partial, const T* __restrict__ weight,
                                           int64_t images, int64_t groups, int64_t pixels, int64_t cols,
                                           int64_t parts) {
  int64_t const width = cols / groups;
  for (auto i : block_items(images * groups)) {
    int64_t const image = i / groups, first = (i - image * groups) * width, at = 2 * image * cols;
    double means[2] = {};
    for (auto k : block_stride(width)) {
      int64_t const c = first + k;
      for (int which = 0; which < 2; ++which) {
        double sum = 0;
        for (int64_t p = 0; p < parts; ++p) sum += partial[(2 * (image * parts + p) + which) * cols + c];
        sums[at + which * cols + c] = static_cast<T>(sum);
        means[which] += weight ? sum * static_cast<double>(weight[c]) : sum;
      }
    }
    for (int which = 0; which < 2; ++which) {
      T const mean = static_cast<T>(block_sum(means[which]) / static_cast<double>(width * pixels));
      for (auto k : block_stride(width)) share[at + which * cols + first + k] = mean;
    }
  }
}

/// dx = inverse_std * (dy * weight - share[0] - xhat * share[1]).
template <class T>
__global__ void group_norm_backward(T* __restrict__ dx, const T* __restrict__ dy, const T* __restrict__ x,
                                    const T* __restrict__ mean, const T* __restrict__ inverse_std,
                                    const T* __restrict__ weight, const T* __restrict__ share, Divider per_image,
                                    int64_t pixels, int64_t cols) {
  for (auto r : grid_rows(pixels)) {
    int64_t const at = int64_t(per_image.quotient(static_cast<uint32_t>(r))) * cols;
    const T* __restrict__ m = mean + at, * __restrict__ scale = inverse_std + at, * __restrict__ of_dy = share + 2 * at, * __restrict__ of_product = share + 2 * at + cols;
    for (auto c : row_cols(cols)) {
      T const g = weight ? dy[r * cols + c] * weight[c] : dy[r * cols + c];
      dx[r * cols + c] = scale[c] * (g - of_dy[c] - (x[r * cols + c] - m[c]) * scale[c] * of_product[c]);
    }
  }
}

// Launchers.

template <class T>
void launch_group_norm_statistics(const Stream& stream, double* partial, const T* x, int64_t images, int64_t pixels,
                                  int64_t cols) {
  int64_t const parts = column_groups(pixels);
  launch_rows_cols(stream, {"group_norm_statistics", images * parts, bytes_of<T>(1, images * pixels * cols)}, cols,
                   group_norm_statistics<T>, partial, x, images, pixels, cols, parts);
}

template <class T>
void launch_group_norm_finish(const Stream& stream, T* mean, T* inverse_std, const double* partial, const T* x,
                              double epsilon, int64_t images, int64_t groups, int64_t pixels, int64_t cols) {
  int64_t const parts = column_groups(pixels);
  launch_row(stream, {"group_norm_finish", images * groups, bytes_of<double>(2, images * parts * cols)}, cols / groups,
             group_norm_finish<T>, mean, inverse_std, partial, x, epsilon, images, groups, pixels, cols, parts);
}

template <class T>
void launch_group_norm_forward(const Stream& stream, T* y, const T* x, const T* mean, const T* inverse_std,
                               const T* weight, const T* bias, int64_t images, int64_t per_image, int64_t cols) {
  int64_t const pixels = images * per_image;
  if (pixels == 0) return;
  launch_rows_cols(stream, {"group_norm_forward", pixels, bytes_of<T>(2, pixels * cols)}, cols, group_norm_forward<T>,
                   y, x, mean, inverse_std, weight, bias, Divider(per_image, pixels, "group_norm_forward"), pixels,
                   cols);
}

template <class T>
void launch_group_norm_backward_sums(const Stream& stream, double* partial, const T* dy, const T* x, const T* mean,
                                     const T* inverse_std, int64_t images, int64_t pixels, int64_t cols) {
  int64_t const parts = column_groups(pixels);
  launch_rows_cols(stream, {"group_norm_backward_sums", images * parts, bytes_of<T>(2, images * pixels * cols)}, cols,
                   group_norm_backward_sums<T>, partial, dy, x, mean, inverse_std, images, pixels, cols, parts);
}

template <class T>
void launch_group_norm_backward_finish(const Stream& stream, T* sums, T* share, const double* partial, const T* weight,
                                       int64_t images, int64_t groups, int64_t pixels, int64_t cols) {
  int64_t const parts = column_groups(pixels);
  launch_row(stream, {"group_norm_backward_finish", images * groups, bytes_of<double>(2, images * parts * cols)},
             cols / groups, group_norm_backward_finish<T>, sums, share, partial, weight, images, groups, pixels, cols,
             parts);
}

template <class T>
void launch_group_norm_backward(const Stream& stream, T* dx, const T* dy, const T* x, const T* mean,
                                const T* inverse_std, const T* weight, const T* share, int64_t images,
                                int64_t per_image, int64_t cols) {
  int64_t const pixels = images * per_image;
  if (pixels == 0) return;
  launch_rows_cols(stream, {"group_norm_backward", pixels, bytes_of<T>(3, pixels * cols)}, cols, group_norm_backward<T>,
                   dx, dy, x, mean, inverse_std, weight, share, Divider(per_image, pixels, "group_norm_backward"),
                   pixels, cols);
}

KERNEL_FLOATS(group_norm_statistics, launch_group_norm_statistics);
KERNEL_FLOATS(group_norm_finish, launch_group_norm_finish);
KERNEL_FLOATS(group_norm_forward, launch_group_norm_forward);
KERNEL_FLOATS(group_norm_backward_sums, launch_group_norm_backward_sums);
KERNEL_FLOATS(group_norm_backward_finish, launch_group_norm_backward_finish);
KERNEL_FLOATS(group_norm_backward, launch_group_norm_backward);

}  // namespace mith::MITH_SPACE
