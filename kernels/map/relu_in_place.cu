// y = max(y, 0) where it lies, for results of libraries whose own ReLU turns NaN into zero.
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

__global__ void relu_in_place(float* y, int64_t rows, int64_t columns, int64_t pitch) {
  for (auto r : grid_rows(rows))
    for (auto c : row_cols(columns)) y[r * pitch + c] = kmax(y[r * pitch + c], 0.0f);
}

/// Rows of `columns` elements, `pitch` apart.
void launch_relu_in_place(const Stream& stream, float* y, int64_t rows, int64_t columns, int64_t pitch) {
  launch_rows_cols(stream, {"relu_in_place", rows, 8 * rows * columns}, columns, relu_in_place, y, rows, columns,
                   pitch);
}

KERNEL(relu_in_place, launch_relu_in_place);

}  // namespace mith::MITH_SPACE
