// Steps along directions of a separable orthonormal basis (SimBA: Guo et al. 2019), the outer product of two table rows
// made on the fly: no inverse transform, no direction ever stored as an image.
#include "kernels/map/basis_step.h"

#include "kernels/launch/bytes.h"
#include "kernels/launch/divide.h"
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

/// state += taken; candidate = clamp(state + tried, 0, 1) unless candidate is null. Images are `h` rows of `cols` = w *
/// c values; `rows` is f32 [h,h], `columns` f32 [cols,cols], which is zero outside a column's channel.
__global__ void basis_step(float* __restrict__ candidate, float* __restrict__ state,
                           const BasisMove* __restrict__ moves, const float* __restrict__ rows,
                           const float* __restrict__ columns, Divider height, int64_t n_rows, int64_t cols) {
  for (auto r : grid_rows(n_rows)) {
    uint32_t const image = height.quotient(static_cast<uint32_t>(r)), h = height.divisor;
    uint32_t const row = static_cast<uint32_t>(r) - image * h;
    BasisMove const move = moves[image];
    float const taken = move.taken.step * rows[move.taken.u * h + row];
    float const tried = move.tried.step * rows[move.tried.u * h + row];
    const float *const taken_columns = columns + move.taken.k * cols, *const tried_columns =
                                                                          columns + move.tried.k * cols;
    float* const s = state + r * cols;
    if (move.taken.step != 0)
      for (auto j : row_cols(cols)) s[j] += taken * taken_columns[j];
    if (!candidate) continue;
    float* const to = candidate + r * cols;
    for (auto j : row_cols(cols)) to[j] = clamp(s[j] + tried * tried_columns[j], 0.0f, 1.0f);
  }
}

void launch_basis_step(const Stream& stream, float* candidate, float* state, const void* moves, const float* rows,
                       const float* columns, int64_t images, int64_t h, int64_t cols) {
  int64_t const n_rows = images * h;
  if (n_rows == 0) return;
  launch_rows_cols(stream, {"basis_step", n_rows, bytes_of<float>(2, n_rows * cols)}, cols, basis_step, candidate,
                   state, static_cast<const BasisMove*>(moves), rows, columns, Divider(h, n_rows, "basis_step"), n_rows,
                   cols);
}

KERNEL(basis_step, launch_basis_step);

}  // namespace mith::MITH_SPACE
