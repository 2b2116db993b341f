// Several copies of each image, f32: row i * copies + j of n * copies images is copy j of image i. Signatures:
//
//   uniform_neighbours (float* out, const float* x, const int64_t* ids, DrawKey key, float radius, int64_t first,
//                       int64_t n_images, int64_t copies, int64_t per_image)
//   sum_copies         (double* sum, const float* values, const double* weights, int64_t n_images, int64_t copies,
//                       int64_t lines, int64_t cols)                  images of lines * cols elements
//
// Sums are double: the mean of equal copies is the copy, bit for bit, and the order of the sum is that of the copies
// however many come at once.
#include "kernels/launch/bytes.h"
#include "kernels/launch/divide.h"
#include "kernels/launch/launch.h"
#include "kernels/launch/philox.h"

namespace mith::MITH_SPACE {

/// out[i, j] = x[i] + U(-radius, radius), not limited to [0, 1]. Copy `first` + j draws elements from
/// (first + j) * per_image on, so that it is the same whichever copies come with it.
__global__ void uniform_neighbours(float* __restrict__ out, const float* __restrict__ x,
                                   const int64_t* __restrict__ ids, DrawKey key, float radius, int64_t first,
                                   Divider copies, int64_t rows, int64_t per_image) {
  for (auto r : grid_rows(rows)) {
    uint32_t const image = copies.quotient(static_cast<uint32_t>(r));
    int64_t const copy = first + r - int64_t(image) * copies.divisor;
    const float* const from = x + int64_t(image) * per_image;
    uint64_t const id = static_cast<uint64_t>(ids[image]), element = static_cast<uint64_t>(copy * per_image);
    for (auto k : row_cols(per_image))
      out[r * per_image + k] = from[k] + radius * (2 * uniform(key, id, element + static_cast<uint64_t>(k)) - 1);
  }
}

/// sum[i] += weights[0] values[i, 0] + ... + weights[copies - 1] values[i, copies - 1], from left to right.
__global__ void sum_copies(double* __restrict__ sum, const float* __restrict__ values,
                           const double* __restrict__ weights, Divider lines, int64_t rows, int64_t copies,
                           int64_t cols) {
  for (auto r : grid_rows(rows)) {
    int64_t const image = lines.quotient(static_cast<uint32_t>(r)), line = r - image * lines.divisor;
    double* const total = sum + r * cols;
    const float* const first = values + (image * copies * lines.divisor + line) * cols;
    for (int64_t j = 0; j < copies; ++j) {
      const float* const copy = first + j * lines.divisor * cols;
      double const weight = weights[j];
      for (auto k : row_cols(cols)) total[k] += weight * static_cast<double>(copy[k]);
    }
  }
}

void launch_uniform_neighbours(const Stream& stream, float* out, const float* x, const int64_t* ids, DrawKey key,
                               float radius, int64_t first, int64_t images, int64_t copies, int64_t per_image) {
  int64_t const rows = images * copies;
  if (rows == 0) return;
  const char* const name = "uniform_neighbours";
  launch_rows_cols(stream, {name, rows, bytes_of<float>(1, (images + rows) * per_image)}, per_image, uniform_neighbours,
                   out, x, ids, key, radius, first, Divider(copies, rows, name), rows, per_image);
}

void launch_sum_copies(const Stream& stream, double* sum, const float* values, const double* weights, int64_t images,
                       int64_t copies, int64_t lines, int64_t cols) {
  int64_t const rows = images * lines, n = rows * cols;
  if (n == 0) return;
  const char* const name = "sum_copies";
  launch_rows_cols(stream, {name, rows, bytes_of<float>(copies, n) + bytes_of<double>(2, n)}, cols, sum_copies, sum,
                   values, weights, Divider(lines, rows, name), rows, copies, cols);
}

KERNEL(uniform_neighbours, launch_uniform_neighbours);
KERNEL(sum_copies, launch_sum_copies);

}  // namespace mith::MITH_SPACE
