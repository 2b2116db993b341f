// One thread block's tile of a matrix product in f32: both operands pass through shared memory, every thread sums a
// TM x TN register tile. Operands are functors, so a convolution gathers its matrix while it is loaded:
//
//   Place place(int index)          what one row (or column) of the operand needs to know
//   Step step(int k)                what one index of the depth needs to know
//   float read(Place, Step)         the element, zero where there is none
//   static bool depth_fast          whether neighbouring threads should read along the depth
#pragma once
#include "kernels/launch/launch.h"
#include "kernels/providers/fused.h"

namespace mith::MITH_SPACE {

constexpr int tile_threads = 256, tile_depth = 16;

/// Moves `extent` x tile_depth elements of an operand from global to shared memory, by way of registers.
template <int extent, class Operand>
struct Loader {
  static constexpr int held_count = extent * tile_depth / tile_threads;
  static constexpr int place_count = Operand::depth_fast ? held_count : 1;
  typename Operand::Place place[place_count];
  float held[held_count];

  /// Where element i of this thread lies in the tile.
  static __device__ int index(int i) {
    int const t = static_cast<int>(threadIdx.x);
    return Operand::depth_fast ? t / tile_depth + i * (tile_threads / tile_depth) : t % extent;
  }
  static __device__ int depth(int i) {
    int const t = static_cast<int>(threadIdx.x);
    return Operand::depth_fast ? t % tile_depth : t / extent + i * (tile_threads / extent);
  }

  __device__ Loader(const Operand& operand, int first) {
    MITH_UNROLL
    for (int i = 0; i < place_count; ++i) place[i] = operand.place(first + index(i));
  }
  __device__ void fetch(const Operand& operand, int k0, int k1) {
    MITH_UNROLL
    for (int i = 0; i < held_count; ++i) {
      int const k = k0 + depth(i);
      held[i] = k < k1 ? operand.read(place[Operand::depth_fast ? i : 0], operand.step(k)) : 0.0f;
    }
  }
  __device__ void put(float (*shared)[extent + 4]) const {
    MITH_UNROLL
    for (int i = 0; i < held_count; ++i) shared[depth(i)][index(i)] = held[i];
  }
};

/// Row i of a thread's register tile within the block's: groups of four, so that shared memory is read 16 bytes at a
/// time without bank conflicts.
__device__ __forceinline__ int spread(int thread, int i) { return i / 4 * 64 + thread * 4 + i % 4; }

/// Sums a[row, k] b[k, column] over k in [k0, k1) for the tile that begins at (row0, column0) and hands every result
/// to store(row, column, value), which checks the bounds.
template <int TM, int TN, class A, class B, class Store>
static __device__ void multiply_tile(const A& a, const B& b, int row0, int column0, int k0, int k1,
                                     const Store& store) {
  constexpr int rows = 16 * TM, columns = 16 * TN;
  // 16-byte rows: four floats of padding keep the alignment and spread the banks.
  __shared__ __align__(16) float left[tile_depth][rows + 4];
  __shared__ __align__(16) float right[tile_depth][columns + 4];
  int const across = static_cast<int>(threadIdx.x) % 16, down = static_cast<int>(threadIdx.x) / 16;
  float sum[TM][TN] = {};
  Loader<rows, A> load_a(a, row0);
  Loader<columns, B> load_b(b, column0);
  load_a.fetch(a, k0, k1);
  load_b.fetch(b, k0, k1);
  for (int k = k0; k < k1; k += tile_depth) {
    load_a.put(left);
    load_b.put(right);
    __syncthreads();
    // The next tile travels while this one is multiplied.
    load_a.fetch(a, k + tile_depth, k1);
    load_b.fetch(b, k + tile_depth, k1);
    MITH_UNROLL
    for (int d = 0; d < tile_depth; ++d) {
      float x[TM], y[TN];
      MITH_UNROLL
      for (int i = 0; i < TM; ++i) x[i] = left[d][spread(down, i)];
      MITH_UNROLL
      for (int j = 0; j < TN; ++j) y[j] = right[d][spread(across, j)];
      MITH_UNROLL
      for (int i = 0; i < TM; ++i) {
        MITH_UNROLL
        for (int j = 0; j < TN; ++j) sum[i][j] += x[i] * y[j];
      }
    }
    __syncthreads();
  }
  MITH_UNROLL
  for (int i = 0; i < TM; ++i) {
    MITH_UNROLL
    for (int j = 0; j < TN; ++j) store(row0 + spread(down, i), column0 + spread(across, j), sum[i][j]);
  }
}

/// A stored matrix: element (index, k) at data[index * ld + k], or at data[k * ld + index] if the depth is outermost.
template <bool depth_inner>
struct Matrix {
  static constexpr bool depth_fast = depth_inner;
  const float* data;
  int64_t ld;
  int extent;
  Prologue prologue = {};
  struct Place {
    int64_t offset;  ///< negative outside
  };
  struct Step {
    int k;
  };
  __device__ Place place(int index) const {
    return {index < extent ? (depth_inner ? index * ld : static_cast<int64_t>(index)) : -1};
  }
  __device__ Step step(int k) const { return {k}; }
  __device__ float read(Place p, Step s) const {
    if (p.offset < 0) return 0;
    return read_through<float>(prologue, data, p.offset + (depth_inner ? static_cast<int64_t>(s.k) : s.k * ld), s.k);
  }
};

/// Stores through an epilogue; sign bits, which neighbouring threads share a byte of, are set atomically in an array
/// that was cleared.
__device__ __forceinline__ void store_result(const Epilogue& e, float r, int64_t row, int64_t column, int64_t columns,
                                             float* y) {
  bool const positive = store_through<float>(e, r, row, column, columns, y);
  if (!e.sign_bits || !positive) return;
  int64_t const bit = row * columns + column;
  auto const byte = reinterpret_cast<uintptr_t>(e.sign_bits + bit / 8);
  atomicOr(reinterpret_cast<unsigned*>(byte & ~uintptr_t(3)), 1u << (byte % 4 * 8 + bit % 8));
}

inline void clear_sign_bits(const Stream& stream, const Epilogue& e, int64_t results) {
  if (e.sign_bits) fill_bytes(stream, e.sign_bits, 0, static_cast<size_t>((results + 7) / 8));
}

/// Sizes inside a tile kernel are ints, addresses 64 bits.
inline int tile_extent(const char* name, int64_t v) {
  check(v < (int64_t(1) << 30), name, ": an extent of ", v, " is too large for one launch");
  return static_cast<int>(v);
}
inline unsigned tiles_of(int64_t extent, int tile) { return static_cast<unsigned>((extent + tile - 1) / tile); }

/// Large register tiles where there are enough of them to fill a GPU.
inline bool large_tiles(int64_t rows, int64_t columns) { return columns > 64 && rows * columns >= 128 * 128 * 128; }

}  // namespace mith::MITH_SPACE
