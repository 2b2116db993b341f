// 3x3 convolutions of stride 1 by Winograd's minimal filtering F(2x2, 3x3) (Lavin & Gray 2016, arXiv 1509.09308,
// section 4.1): y = A^T [ (G g G^T) . (B^T d B) ] A, 16 products for four results where the definition has 36. The
// products of all channels are matrix products, one for each of the 16 places of a tile. Infinite inputs
// give NaN, and huge ones may overflow in sums that the definition does not have.
#include "kernels/providers/winograd.h"
#include "kernels/host/gemm.h"

namespace mith::MITH_SPACE {

using winograd::places, winograd::side;

/// The tiles of all images, line by line: 2x2 results each, those over the edge of an image not stored.
struct WinogradTiles {
  Conv2dShape shape;
  int64_t lines, columns;
  explicit WinogradTiles(const Conv2dShape& s) : shape(s), lines((s.oh() + 1) / 2), columns((s.ow() + 1) / 2) {}
  int64_t count() const { return shape.n * lines * columns; }
};

/// One worker's share.
struct WinogradScratch {
  float* inputs;        ///< places x block_tiles x c, a little apart so that the places do not share cache sets
  float* products;      ///< places x block_tiles x panel_columns
  float* results;       ///< 4 block_tiles x panel_columns
  const float** table;  ///< addresses of a block's rows
  int64_t* row;         ///< output row of each result
  WinogradScratch(float* memory, int64_t channels) {
    inputs = memory;
    products = inputs + places * winograd::place_floats(channels);
    results = products + places * winograd::block_tiles * native::panel_columns;
    float* const rest = results + 4 * winograd::block_tiles * native::panel_columns;
    table = reinterpret_cast<const float**>(rest);
    row = reinterpret_cast<int64_t*>(rest + 2 * native::block_rows);
  }
};

/// G g G^T of one filter and channel; g's elements lie `stride` apart. In double, so that each is rounded once.
inline void transform_filter(const float* g, int64_t stride, double u[places]) {
  auto const column = [](double a, double b, double c, double* to, int step) {
    to[0] = a, to[step] = (a + b + c) / 2, to[2 * step] = (a - b + c) / 2, to[3 * step] = c;
  };
  double half[side * 3];
  for (int j = 0; j < 3; ++j) column(g[j * stride], g[(3 + j) * stride], g[(6 + j) * stride], half + j, 3);
  for (int i = 0; i < side; ++i) column(half[3 * i], half[3 * i + 1], half[3 * i + 2], u + side * i, 1);
}

/// All filters, transformed: [panel][place][channel][column of the panel].
inline void transform_filters(const Conv2dShape& s, const float* w, float* to) {
  Panels const panels(s.o);
  on_workers(panels.count, [&](int index, int count) {
    for (int64_t p : part(panels.count, index, count, 1)) {
      int64_t const first = panels.first_column(p), width = panels.width_in_vectors(p) * lanes;
      float* const panel = to + places * s.c * first;
      for (int64_t o = 0; o < width; ++o) {
        for (int64_t c = 0; c < s.c; ++c) {
          double u[places];
          transform_filter(w + (first + o) * 9 * s.c + c, s.c, u);
          for (int64_t place = 0; place < places; ++place)
            panel[(place * s.c + c) * width + o] = static_cast<float>(u[place]);
        }
      }
    }
  });
}

/// B^T d B for `length` channels of a tile whose 16 pixels begin at `d`; place k is written to `to` + k `stride`.
inline void transform_input(const float* const d[places], int64_t length, float* to, int64_t stride) {
  for (int64_t c = 0; c < length; c += lanes, to += lanes) {
    auto const at = [&](int i, int j) { return load(d[side * i + j] + c); };
    auto const line = [&](int i, Vector a, Vector b, Vector e, Vector f) {
      float* const four = to + side * i * stride;
      store(four, a - e);
      store(four + stride, b + e);
      store(four + 2 * stride, e - b);
      store(four + 3 * stride, b - f);
    };
    line(0, at(0, 0) - at(2, 0), at(0, 1) - at(2, 1), at(0, 2) - at(2, 2), at(0, 3) - at(2, 3));
    line(1, at(1, 0) + at(2, 0), at(1, 1) + at(2, 1), at(1, 2) + at(2, 2), at(1, 3) + at(2, 3));
    line(2, at(2, 0) - at(1, 0), at(2, 1) - at(1, 1), at(2, 2) - at(1, 2), at(2, 3) - at(1, 3));
    line(3, at(1, 0) - at(3, 0), at(1, 1) - at(3, 1), at(1, 2) - at(3, 2), at(1, 3) - at(3, 3));
  }
}

/// Calls body(tile - first, image, line, column) for tiles [first, last).
template <class Body>
void for_each_tile(const WinogradTiles& t, int64_t first, int64_t last, Body body) {
  int64_t column = first % t.columns, line = first / t.columns % t.lines, image = first / t.columns / t.lines;
  for (int64_t tile = first; tile < last; ++tile) {
    body(tile - first, image, line, column);
    if (++column < t.columns) continue;
    column = 0;
    if (++line == t.lines) line = 0, ++image;
  }
}

inline void transform_inputs(const WinogradTiles& t, const float* x, int64_t first, int64_t last, float* to) {
  Conv2dShape const& s = t.shape;
  int64_t const stride = winograd::place_floats(s.c);
  for_each_tile(t, first, last, [&](int64_t tile, int64_t image, int64_t line, int64_t column) {
    int64_t const top = 2 * line - s.pad_h, left = 2 * column - s.pad_w;
    for (int64_t channel = 0; channel < s.c; channel += native::block_depth) {
      const float* d[places];
      for (int64_t i = 0; i < places; ++i) {
        int64_t const h = top + i / side, v = left + i % side;
        bool const inside = h >= 0 && h < s.h && v >= 0 && v < s.w;
        d[i] = inside ? x + ((image * s.h + h) * s.w + v) * s.c + channel : zeros;
      }
      int64_t const rest = s.c - channel, length = rest < native::block_depth ? rest : native::block_depth;
      transform_input(d, length, to + tile * s.c + channel, stride);
    }
  });
}

/// products[place][tile][column] = inputs[place][tile] . one panel of the filters
inline void multiply_places(const WinogradScratch& scratch, int64_t count, int64_t channels, const float* panel,
                            int vectors) {
  int64_t const width = vectors * lanes, tile = tile_rows(vectors);
  for (int64_t place = 0; place < places; ++place) {
    const float* const left = scratch.inputs + place * winograd::place_floats(channels);
    float* const c = scratch.products + place * winograd::block_tiles * width;
    for (int64_t k = 0; k < channels; k += native::block_depth) {
      int64_t const length = channels - k < native::block_depth ? channels - k : native::block_depth;
      for (int64_t r = 0; r < count; ++r) scratch.table[r] = left + r * channels + k;
      for (int64_t r = 0; r < count; r += tile) {
        int64_t const height = count - r < tile ? count - r : tile;
        tiles.at[vectors][height].rows(scratch.table + r, 1, length, panel, c + r * width, k > 0);
      }
      panel += length * width;
    }
  }
}

/// A^T m A for one tile and `width` columns; the four results go to to[0..3].
inline void transform_output(const float* m, int64_t width, float* const to[4]) {
  int64_t const stride = winograd::block_tiles * width;
  for (int64_t c = 0; c < width; c += lanes) {
    auto const at = [&](int i, int j) { return load(m + (side * i + j) * stride + c); };
    auto const upper = [&](int j) { return at(0, j) + at(1, j) + at(2, j); };
    auto const lower = [&](int j) { return at(1, j) - at(2, j) - at(3, j); };
    Vector const u1 = upper(1), u2 = upper(2), l1 = lower(1), l2 = lower(2);
    store(to[0] + c, upper(0) + u1 + u2);
    store(to[1] + c, u1 - u2 - upper(3));
    store(to[2] + c, lower(0) + l1 + l2);
    store(to[3] + c, l1 - l2 - lower(3));
  }
}

/// The results of a block of tiles in one panel's columns, with their epilogue.
inline void finish_tiles(const WinogradTiles& t, int64_t first, int64_t last, int64_t column0, int64_t width,
                         const WinogradScratch& scratch, const Output& out) {
  int64_t const oh = t.shape.oh(), ow = t.shape.ow();
  float unused[native::panel_columns];
  int64_t rows = 0;
  for_each_tile(t, first, last, [&](int64_t tile, int64_t image, int64_t line, int64_t column) {
    float* to[4];
    for (int64_t i = 0; i < 4; ++i) {
      int64_t const h = 2 * line + i / 2, v = 2 * column + i % 2;
      bool const inside = h < oh && v < ow;
      to[i] = inside ? scratch.results + rows * width : unused;
      if (inside) scratch.row[rows++] = (image * oh + h) * ow + v;
    }
    transform_output(scratch.products + tile * width, width, to);
  });
  finish_block(out, scratch.row, rows, column0, width, scratch.results, width);
}

inline void launch_winograd(const Stream& stream, Conv2dProblem p, const float* filters, const float* x, float* y,
                            float* scratch) {
  LaunchScope const scope(stream, {"conv2d_winograd_f32", p.rows() * p.columns()});
  Conv2dShape const& s = p.shape;
  WinogradTiles const all(s);
  Output const out{y, p.epilogue, s.o};
  clear_sign_bits(out, p.rows());
  Panels const panels(s.o);
  // About as many blocks for every worker, of whole register tiles if those have up to 12 rows; each goes to who is
  // free.
  int64_t const unit = 12, workers = threads();
  int64_t const least = native::round_up((all.count() + winograd::block_tiles - 1) / winograd::block_tiles, workers);
  int64_t const step = native::round_up((all.count() + least - 1) / least, unit);
  int64_t const blocks = (all.count() + step - 1) / step;
  int64_t next = 0;
  on_workers(blocks, [&](int index, int) {
    WinogradScratch const own(scratch + index * winograd::worker_floats(s.c), s.c);
    while (true) {
      int64_t const block = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED);
      if (block >= blocks) return;
      int64_t const first = block * step, last = first + step < all.count() ? first + step : all.count();
      transform_inputs(all, x, first, last, own.inputs);
      for (int64_t panel = 0; panel < panels.count; ++panel) {
        int const vectors = panels.width_in_vectors(panel);
        int64_t const column = panels.first_column(panel);
        multiply_places(own, last - first, s.c, filters + places * s.c * column, vectors);
        finish_tiles(all, first, last, column, vectors * lanes, own, out);
      }
    }
  });
}

inline void launch_winograd_filters(const Stream& stream, Conv2dShape s, const float* w, float* to) {
  LaunchScope const scope(stream, {"conv2d_winograd_filters_f32", s.weights()});
  transform_filters(s, w, to);
}

KERNEL(conv2d_winograd_f32, launch_winograd);
KERNEL(conv2d_winograd_filters_f32, launch_winograd_filters);

}  // namespace mith::MITH_SPACE
