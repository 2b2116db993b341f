// Perturbations with one value a column and channel. Images f32 [n,h,w,c], columns f32 [n,w,c].
#include "kernels/launch/bytes.h"
#include "kernels/launch/divide.h"
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

/// out = x + the image's columns, clamped to [0, 1]; a row of pixels has `cols` = w * c values.
__global__ void add_columns(float* __restrict__ out, const float* __restrict__ x, const float* __restrict__ columns,
                            Divider height, int64_t rows, int64_t cols) {
  for (auto row : grid_rows(rows)) {
    const float* const v = columns + height.quotient(static_cast<uint32_t>(row)) * cols;
    const float* const from = x + row * cols;
    float* const to = out + row * cols;
    for (auto col : row_cols(cols)) to[col] = clamp(from[col] + v[col], 0.0f, 1.0f);
  }
}

void launch_add_columns(const Stream& stream, float* out, const float* x, const float* columns, int64_t images,
                        int64_t h, int64_t cols) {
  int64_t const rows = images * h;
  if (rows == 0) return;
  launch_rows_cols(stream, {"add_columns", rows, bytes_of<float>(2, rows * cols)}, cols, add_columns, out, x, columns,
                   Divider(h, rows, "add_columns"), rows, cols);
}

KERNEL(add_columns, launch_add_columns);

}  // namespace mith::MITH_SPACE
