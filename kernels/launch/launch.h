// What a kernel includes, and all that it may use. The same .cu text is compiled for cuda (by nvcc), for cpu (by the
// host compiler, one plain call a worker, blockDim = 1) and for simt (the checker: every thread of a block a fiber).
//
//   map/  for (auto i : grid_stride(n)) ...                   element-wise; contiguous vector loop on the cpu
//         for (auto r : grid_rows(rows)) for (auto c : row_cols(cols)) ...    when a channel index is needed: no
//         division
//   row/  for (auto r : block_items(rows)) { for (auto c : block_stride(n)) s += ...; s = block_sum(s); }
//         one block a row, any block size; a thread reads again only what it wrote itself
//   tile/ everything in portable CUDA; not compiled for the cpu
//
// Launchers are plain functions launch_<kernel>(const Stream&, ...) that call exactly one of
//   launch_map(stream, work, kernel, args...)            work.items elements
//   launch_rows_cols(stream, work, cols, kernel, args...)   work.items rows of `cols`, form grid_rows/row_cols
//   launch_row(stream, work, cols, kernel, args...)      work.items rows, a block each
//   launch_tile(stream, work, grid, block, shared_bytes, kernel, args...)
// An empty launch does nothing; an oversized one throws.
//
// Never fminf/fmaxf: they drop NaN, and a NaN would become a legal pixel. Use kmin, kmax, clamp from num.h.
#pragma once
#include <cstdint>

#include "kernels/launch/table.h"
#if defined(__CUDACC__)
#include "kernels/launch/cuda.h"
#elif defined(MITH_SIMT)
#include "kernels/launch/simt.h"
#else
#include "kernels/launch/cpu.h"
#endif
#include "kernels/launch/num.h"
