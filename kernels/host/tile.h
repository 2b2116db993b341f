// The register tile at the heart of the cpu's matrix products, at three vector widths.
// A tile is up to `tile_rows(v)` rows by v vectors of columns, held in registers while a block of the depth runs by.
// Every result is a sum of blocks, each one chain of multiply-adds in the order of the depth, whatever tile it falls
// into: rounding then grows with the length of a block and the number of blocks, not with their product.
#pragma once
#include "kernels/launch/launch.h"
#include "kernels/providers/native.h"

namespace mith::MITH_SPACE {

#if MITH_ISA >= 4
constexpr int lanes = 16, most_vectors = 4;
constexpr int tile_rows(int vectors) { return vectors == 4 ? 6 : vectors == 3 ? 8 : 12; }
#else
constexpr int lanes = MITH_ISA == 3 ? 8 : 4, most_vectors = 2;
constexpr int tile_rows(int vectors) { return vectors == 2 ? 6 : 12; }
#endif
static_assert(lanes * most_vectors <= native::panel_columns && lanes <= native::most_lanes);

/// Vectors at any address that a float may have.
typedef float Vector __attribute__((vector_size(lanes * 4), aligned(4), may_alias));

MITH_DEVICE Vector load(const float* p) { return *reinterpret_cast<const Vector*>(p); }
MITH_DEVICE void store(float* p, Vector v) { *reinterpret_cast<Vector*>(p) = v; }

/// c[rows, vectors * lanes] = (add ? c : 0) + A . b over `segments` runs of `length`. Row r of segment s begins at
/// table[s * native::block_rows + r]; b is packed, vectors * lanes wide.
template <int rows, int vectors>
void multiply_rows(const float* const* table, int64_t segments, int64_t length, const float* b, float* c, bool add) {
  constexpr int ldc = vectors * lanes;
  Vector sum[rows][vectors];
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sum[r][v] = Vector{};
  }
  for (int64_t s = 0; s < segments; ++s, table += native::block_rows) {
    const float* row[rows];
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) row[r] = table[r];
    for (int64_t k = 0; k < length; ++k, b += vectors * lanes) {
      Vector right[vectors];
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) right[v] = load(b + v * lanes);
#pragma GCC unroll 16
      for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) sum[r][v] += row[r][k] * right[v];
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      float* const to = c + r * ldc + v * lanes;
      store(to, add ? load(to) + sum[r][v] : sum[r][v]);
    }
  }
}

/// c[rows, vectors * lanes] = (add ? c : 0) + A^T . b over `depth`; a is stored with the depth outermost, `lda` apart.
template <int rows, int vectors>
void multiply_columns(const float* a, int64_t lda, int64_t depth, const float* b, float* c, int64_t ldc, bool add) {
  Vector sum[rows][vectors];
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sum[r][v] = Vector{};
  }
  for (int64_t k = 0; k < depth; ++k, a += lda, b += vectors * lanes) {
    Vector right[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) right[v] = load(b + v * lanes);
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sum[r][v] += a[r] * right[v];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      float* const to = c + r * ldc + v * lanes;
      store(to, add ? load(to) + sum[r][v] : sum[r][v]);
    }
  }
}

/// The two kernels for one tile shape.
struct TileKernels {
  decltype(&multiply_rows<1, 1>) rows = nullptr;
  decltype(&multiply_columns<1, 1>) columns = nullptr;
};

struct TileTable {
  TileKernels at[most_vectors + 1][13];

  template <int vectors, int rows>
  constexpr void fill_rows() {
    at[vectors][rows] = {&multiply_rows<rows, vectors>, &multiply_columns<rows, vectors>};
    if constexpr (rows > 1) fill_rows<vectors, rows - 1>();
  }
  template <int vectors>
  constexpr void fill() {
    fill_rows<vectors, tile_rows(vectors)>();
    if constexpr (vectors > 1) fill<vectors - 1>();
  }
  constexpr TileTable() : at() { fill<most_vectors>(); }
};
inline constexpr TileTable tiles;

/// The columns of a right-hand matrix in panels of nearly equal width, so that none is left with a single vector.
struct Panels {
  int64_t vectors, count;
  explicit Panels(int64_t columns)
      : vectors((columns + lanes - 1) / lanes), count((vectors + most_vectors - 1) / most_vectors) {}
  int64_t first_vector(int64_t panel) const { return vectors * panel / count; }
  int64_t first_column(int64_t panel) const { return first_vector(panel) * lanes; }
  int width_in_vectors(int64_t panel) const { return static_cast<int>(first_vector(panel + 1) - first_vector(panel)); }
};

/// Runs body(index, count) on as many workers as there are tasks and threads for.
template <class Body>
void on_workers(int64_t tasks, Body body) {
  int64_t const available = ::mith::threads();
  int const count = static_cast<int>(tasks < available ? (tasks < 1 ? 1 : tasks) : available);
  if (count == 1) return body(0, 1);
  parallel_workers(
      count, [](void* context, int index, int workers) { (*static_cast<Body*>(context))(index, workers); }, &body);
}

}  // namespace mith::MITH_SPACE
