// Sums over the pixels of each image, by channel: [n, pixels, c] -> [n, c], in groups of pixels as column sums are.
#include "kernels/launch/bytes.h"
#include "kernels/launch/launch.h"
#include "kernels/row/column_groups.h"

namespace mith::MITH_SPACE {

/// partial[image][group][c] = sum over a group's pixels of x, or of x * other unless that is null.
template <class T>
__global__ void image_sums_partial(double* __restrict__ partial, const T* __restrict__ x, const T* __restrict__ other,
                                   int64_t images, int64_t pixels, int64_t cols, int64_t groups) {
  using Sum = Arithmetic<T>;
  for (auto g : grid_rows(images * groups)) {
    int64_t const image = g / groups, group = g - image * groups, first = image * pixels;
    auto const store = [&](int64_t c, const Sum* sum) { partial[g * cols + c] = static_cast<double>(sum[0]); };
    int64_t const begin = first + group * rows_per_group;
    int64_t const end = first + kmin((group + 1) * rows_per_group, pixels);
    if (other)
      column_sums<1, Sum>(
          begin, end, cols, [&](int64_t r, int64_t c, Sum* value) { value[0] = x[r * cols + c] * other[r * cols + c]; },
          store);
    else
      column_sums<1, Sum>(
          begin, end, cols, [&](int64_t r, int64_t c, Sum* value) { value[0] = x[r * cols + c]; }, store);
  }
}

/// y[image][c] = factor * sum over groups of partial[image][group][c].
template <class T>
__global__ void image_sums_total(T* __restrict__ y, const double* __restrict__ partial, double factor, int64_t images,
                                 int64_t cols, int64_t groups) {
  for (auto i : grid_rows(images)) {
    column_sums<1, double>(
        i * groups, (i + 1) * groups, cols,
        [&](int64_t r, int64_t c, double* value) { value[0] = partial[r * cols + c]; },
        [&](int64_t c, const double* sum) { y[i * cols + c] = T(static_cast<Arithmetic<T>>(factor * sum[0])); });
  }
}

template <class T>
void launch_image_sums_partial(const Stream& stream, double* partial, const T* x, const T* other, int64_t images,
                               int64_t pixels, int64_t cols) {
  int64_t const groups = column_groups(pixels);
  launch_rows_cols(stream, {"image_sums_partial", images * groups, bytes_of<T>(other ? 2 : 1, images * pixels * cols)},
                   cols, image_sums_partial<T>, partial, x, other, images, pixels, cols, groups);
}

template <class T>
void launch_image_sums_total(const Stream& stream, T* y, const double* partial, double factor, int64_t images,
                             int64_t pixels, int64_t cols) {
  int64_t const groups = column_groups(pixels);
  launch_rows_cols(stream, {"image_sums_total", images, bytes_of<double>(1, images * groups * cols)}, cols,
                   image_sums_total<T>, y, partial, factor, images, cols, groups);
}

KERNEL_ALL_FLOATS(image_sums_partial, launch_image_sums_partial);
KERNEL_ALL_FLOATS(image_sums_total, launch_image_sums_total);

}  // namespace mith::MITH_SPACE
