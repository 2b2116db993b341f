// Blocked matrix products on the cpu, their left side gathered from an image or a matrix as it is needed.
//   multiply(a, b, out)         out[p, n] = sum over the depth of a[p, depth] b[depth, n]   (forward, input gradient)
//   multiply_transposed(l, r)   out[i, j] = sum over p of l[p, i] r[p, j]                  (weight gradient)
// No sum depends on the number of threads or on how many rows there are.
#pragma once
#include "kernels/host/gather.h"
#include "kernels/host/output.h"

namespace mith::MITH_SPACE {

/// The right-hand matrix: element ((tap, inner), column), packed before use.
struct Right {
  const float* data;
  int64_t columns;
  int64_t tap_stride, inner_stride, column_stride;
};

/// Results of grid pixel (image, i, j) belong to this row of the output.
struct RowMap {
  int64_t image_stride, line_stride, pixel_stride, offset = 0;
};

/// Scratch for a launch: packed right-hand matrix or partial sums, then one share for every worker.
struct HostScratch {
  float* shared;
  float* workers;
};

/// One worker's share.
struct WorkerScratch {
  float* c;             ///< block_rows x panel_columns results
  float* left;          ///< block_rows x block_depth
  float* right;         ///< block_depth x panel_columns
  const float** table;  ///< most_segments times block_rows addresses
  int64_t* row;         ///< output row of each row of the block
  WorkerScratch(const HostScratch& scratch, int worker_index) {
    c = scratch.workers + worker_index * native::worker_floats;
    left = c + native::block_rows * native::panel_columns;
    right = left + native::block_rows * native::block_depth;
    float* const rest = right + native::block_depth * native::panel_columns;
    table = reinterpret_cast<const float**>(rest);
    row = reinterpret_cast<int64_t*>(rest + 2 * native::block_rows * native::most_segments);
  }
};

/// Packs one panel: all of the depth, `width` floats each, short panels filled up with zeros.
inline void pack_panel(const Right& b, const Gather& a, int64_t first, int64_t width, float* to) {
  int64_t const count = b.columns - first < width ? b.columns - first : width;
  for (int64_t t = 0; t < a.tap_count; ++t) {
    const float* const from = b.data + a.taps[t].weight * b.tap_stride + first * b.column_stride;
    constexpr int64_t strip = 16;  // of the depth, so that a transposition stays in the first-level cache
    for (int64_t k0 = 0; k0 < a.channels; k0 += strip) {
      int64_t const k1 = k0 + strip < a.channels ? k0 + strip : a.channels;
      if (b.column_stride == 1) {
        for (int64_t k = k0; k < k1; ++k)
          for (int64_t n = 0; n < count; ++n) to[(k - k0) * width + n] = from[k * b.inner_stride + n];
      } else {
        for (int64_t n = 0; n < count; ++n)
          for (int64_t k = k0; k < k1; ++k) to[(k - k0) * width + n] = from[k * b.inner_stride + n * b.column_stride];
      }
      for (int64_t k = k0; k < k1; ++k)
        for (int64_t n = count; n < width; ++n) to[(k - k0) * width + n] = 0;
      to += (k1 - k0) * width;
    }
  }
}

inline void pack_right(const Right& b, const Gather& a, const Panels& panels, float* to) {
  on_workers(a.depth() * b.columns < 16384 ? 1 : panels.count, [&](int index, int count) {
    for (int64_t p : part(panels.count, index, count, 1)) {
      pack_panel(b, a, panels.first_column(p), panels.width_in_vectors(p) * lanes,
                 to + a.depth() * panels.first_column(p));
    }
  });
}

inline constexpr float zeros[native::block_depth] = {};

/// A run of the depth: `taps` taps from `tap`, channels [channel, channel + length) of each.
struct DepthBlock {
  int64_t tap, taps, channel, length;
};

/// Writes the addresses of the block's rows: one segment a tap.
inline void address_rows(const Gather& a, int64_t row0, int64_t row1, const DepthBlock& d, const float** table) {
  for (int64_t t = d.tap; t < d.tap + d.taps; ++t, table += native::block_rows) {
    Tap const tap = a.taps[t];
    int64_t const step = a.step_w * a.pitch;
    for_each_line(a, row0, row1, [&](int64_t first, int64_t last, int64_t image, int64_t i, int64_t j) {
      int64_t const h = i * a.step_h + tap.dh;
      bool const outside = h < 0 || h >= a.height;
      Inside const inside = outside ? Inside(j, j, 1, 0, 1) : Inside(j, j + last - first, a.step_w, tap.dw, a.width);
      const float** const at = table + first - row0 - j;
      const float* from = a.source;
      if (inside.first < inside.last)
        from += ((image * a.height + h) * a.width + inside.first * a.step_w + tap.dw) * a.pitch + a.channel + d.channel;
      for (int64_t k = j; k < inside.first; ++k) at[k] = zeros;
      for (int64_t k = inside.first; k < inside.last; ++k) at[k] = from + (k - inside.first) * step;
      for (int64_t k = inside.last; k < j + last - first; ++k) at[k] = zeros;
    });
  }
}

/// scratch.c[rows, width] = rows [row0, row1) of a times one packed panel; calls done(first, height) for every tile of
/// rows once it is final, so that its stores overlap with the next one's arithmetic.
template <class Done>
void multiply_block(const Gather& a, int64_t row0, int64_t row1, const float* panel, int vectors,
                    const WorkerScratch& scratch, Done done) {
  int64_t const rows = row1 - row0, width = vectors * lanes;
  // Runs are read where they lie unless a prologue changes them.
  bool const in_place = a.prologue.empty();
  int64_t const most_taps = in_place ? native::most_segments : native::block_depth;
  int64_t const deep_taps = native::block_depth < a.channels ? 1 : native::block_depth / a.channels;
  int64_t const taps_at_once = deep_taps < most_taps ? deep_taps : most_taps;
  int const tile = tile_rows(vectors);
  if (a.depth() == 0) {
    std::memset(scratch.c, 0, static_cast<size_t>(rows * width) * sizeof(float));
    return done(0, rows);
  }
  for (int64_t t = 0; t < a.tap_count; t += taps_at_once) {
    int64_t const taps = a.tap_count - t < taps_at_once ? a.tap_count - t : taps_at_once;
    for (int64_t channel = 0; channel < a.channels; channel += native::block_depth) {
      int64_t const left = a.channels - channel;
      DepthBlock const d{t, taps, channel, left < native::block_depth ? left : native::block_depth};
      bool const last = t + taps == a.tap_count && channel + d.length == a.channels;
      int64_t segments = d.taps, length = d.length;
      if (in_place) {
        address_rows(a, row0, row1, d, scratch.table);
      } else {
        segments = 1, length = d.taps * d.length;
        for (int64_t i = 0; i < d.taps; ++i)
          pack_tap(a, row0, row1, t + i, channel, d.length, scratch.left + i * d.length, length);
        for (int64_t r = 0; r < rows; ++r) scratch.table[r] = scratch.left + r * length;
      }
      for (int64_t r = 0; r < rows; r += tile) {
        int64_t const height = rows - r < tile ? rows - r : tile;
        tiles.at[vectors][height].rows(scratch.table + r, segments, length, panel, scratch.c + r * width,
                                       t + channel > 0);
        if (last) done(r, height);
      }
      panel += segments * length * width;
    }
  }
}

/// Rows a task takes: many for reuse, fewer when there would be too few tasks for the workers.
inline int64_t rows_per_task(int64_t rows, int64_t panels) {
  int64_t const even = native::round_up((rows * panels + 2 * threads() - 1) / (2 * threads()), 12);
  return even < native::block_rows ? even : native::block_rows;
}

/// Output rows of grid rows [row0, row1).
inline void map_rows(const Gather& a, const RowMap& map, int64_t row0, int64_t row1, int64_t* to) {
  for_each_line(a, row0, row1, [&](int64_t first, int64_t last, int64_t image, int64_t i, int64_t j) {
    for (int64_t row = first; row < last; ++row, ++j)
      to[row - row0] = map.offset + image * map.image_stride + i * map.line_stride + j * map.pixel_stride;
  });
}

inline void multiply(const Gather& a, const Right& b, const RowMap& map, const Output& out, const HostScratch& shared) {
  Panels const panels(b.columns);
  pack_right(b, a, panels, shared.shared);
  int64_t const step = rows_per_task(a.rows(), panels.count), blocks = (a.rows() + step - 1) / step;
  bool const small = a.rows() * a.depth() * b.columns < 100000;
  on_workers(small ? 1 : blocks * panels.count, [&](int index, int count) {
    WorkerScratch const scratch(shared, index);
    for (int64_t task : part(blocks * panels.count, index, count, 1)) {
      int64_t const p = task / blocks, row0 = task % blocks * step;
      int64_t const row1 = row0 + step < a.rows() ? row0 + step : a.rows();
      int const vectors = panels.width_in_vectors(p);
      int64_t const first = panels.first_column(p), width = vectors * lanes;
      map_rows(a, map, row0, row1, scratch.row);
      int64_t const columns = b.columns - first < width ? b.columns - first : width;
      multiply_block(a, row0, row1, shared.shared + a.depth() * first, vectors, scratch, [&](int64_t r, int64_t rows) {
        finish_block(out, scratch.row + r, rows, first, columns, scratch.c + r * width, width);
      });
    }
  });
}

/// One task of a long reduction: partial[rows, ld] at (row0, panel's columns) over the depth [p0, p1).
inline void reduce_block(const Gather& l, const Gather& r, int64_t p0, int64_t p1, int64_t row0, int64_t row1,
                         int64_t first, int vectors, float* partial, int64_t ld, const WorkerScratch& scratch) {
  int64_t const rows = row1 - row0, width = vectors * lanes;
  int64_t const columns = r.depth() - first < width ? r.depth() - first : width;
  std::memset(scratch.right, 0, sizeof(float) * native::block_depth * native::panel_columns);
  if (p0 == p1) {
    for (int64_t row = row0; row < row1; ++row) std::memset(partial + row * ld + first, 0, sizeof(float) * width);
  }
  for (int64_t p = p0; p < p1; p += native::block_depth) {
    int64_t const end = p + native::block_depth < p1 ? p + native::block_depth : p1;
    pack(r, p, end, first, first + columns, scratch.right, width);
    pack(l, p, end, row0, row1, scratch.left, rows);
    int const tile = tile_rows(vectors);
    for (int64_t row = 0; row < rows; row += tile) {
      int64_t const height = rows - row < tile ? rows - row : tile;
      tiles.at[vectors][height].columns(scratch.left + row, rows, end - p, scratch.right,
                                        partial + (row0 + row) * ld + first, ld, p > p0);
    }
  }
}

/// out[i, j] (or out[j, i] if `flip`) = sum over p of l[p, i] r[p, j].
inline void multiply_transposed(const Gather& l, const Gather& r, bool flip, const Output& out,
                                const HostScratch& shared) {
  int64_t const rows = l.depth(), columns = r.depth(), depth = l.rows();
  Panels const panels(columns);
  int64_t const ld = panels.vectors * lanes, parts = native::reduction_parts(rows, columns, depth);
  int64_t const blocks = (rows + native::block_rows - 1) / native::block_rows, tasks = parts * blocks * panels.count;
  bool const small = rows * columns * depth < 100000;
  on_workers(small ? 1 : tasks, [&](int index, int count) {
    WorkerScratch const scratch(shared, index);
    for (int64_t task : part(tasks, index, count, 1)) {
      int64_t const p = task % panels.count, block = task / panels.count % blocks, k = task / panels.count / blocks;
      int64_t const row0 = block * native::block_rows;
      int64_t const row1 = row0 + native::block_rows < rows ? row0 + native::block_rows : rows;
      reduce_block(l, r, depth * k / parts, depth * (k + 1) / parts, row0, row1, panels.first_column(p),
                   panels.width_in_vectors(p), shared.shared + k * rows * ld, ld, scratch);
    }
  });
  // The parts in their order, a stretch of an output row at a time.
  int64_t const out_rows = flip ? columns : rows, out_columns = flip ? rows : columns;
  int64_t const row_stride = flip ? 1 : ld, column_stride = flip ? ld : 1;
  on_workers(small ? 1 : out_rows, [&](int index, int count) {
    for (int64_t row : part(out_rows, index, count, 1)) {
      for (int64_t c0 = 0; c0 < out_columns; c0 += native::panel_columns) {
        int64_t const n = out_columns - c0 < native::panel_columns ? out_columns - c0 : native::panel_columns;
        float sum[native::panel_columns] = {};
        for (int64_t k = 0; k < parts; ++k) {
          const float* const from = shared.shared + k * rows * ld + row * row_stride + c0 * column_stride;
          for (int64_t c = 0; c < n; ++c) sum[c] += from[c * column_stride];
        }
        finish_row(out, row, c0, n, sum);
      }
    }
  });
}

}  // namespace mith::MITH_SPACE
