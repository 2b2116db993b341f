// Moving whole rows: images of a batch into another order, some of them, or back to their places. Elements are moved as
// words of 1, 4 or 8 bytes, whatever they mean.
#include "kernels/launch/bytes.h"
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

template <class W>
__global__ void gather_rows(W* __restrict__ y, const W* __restrict__ x, const int64_t* __restrict__ indices,
                            int64_t rows, int64_t cols) {
  for (auto r : block_items(rows)) {
    W* const to = y + r * cols;
    const W* const from = x + indices[r] * cols;
    for (auto c : block_stride(cols)) to[c] = from[c];
  }
}

/// Indices must be distinct.
template <class W>
__global__ void scatter_rows(W* __restrict__ y, const W* __restrict__ x, const int64_t* __restrict__ indices,
                             int64_t rows, int64_t cols) {
  for (auto r : block_items(rows)) {
    W* const to = y + indices[r] * cols;
    const W* const from = x + r * cols;
    for (auto c : block_stride(cols)) to[c] = from[c];
  }
}

template <class W>
void launch_gather_rows(const Stream& stream, void* y, const void* x, const int64_t* indices, int64_t rows,
                        int64_t cols) {
  launch_row(stream, {"gather_rows", rows, bytes_of<W>(2, rows * cols)}, cols, gather_rows<W>, static_cast<W*>(y),
             static_cast<const W*>(x), indices, rows, cols);
}

template <class W>
void launch_scatter_rows(const Stream& stream, void* y, const void* x, const int64_t* indices, int64_t rows,
                         int64_t cols) {
  launch_row(stream, {"scatter_rows", rows, bytes_of<W>(2, rows * cols)}, cols, scatter_rows<W>, static_cast<W*>(y),
             static_cast<const W*>(x), indices, rows, cols);
}

KERNEL(gather_rows_1, launch_gather_rows<uint8_t>);
KERNEL(gather_rows_4, launch_gather_rows<uint32_t>);
KERNEL(gather_rows_8, launch_gather_rows<uint64_t>);
KERNEL(scatter_rows_1, launch_scatter_rows<uint8_t>);
KERNEL(scatter_rows_4, launch_scatter_rows<uint32_t>);
KERNEL(scatter_rows_8, launch_scatter_rows<uint64_t>);

}  // namespace mith::MITH_SPACE
