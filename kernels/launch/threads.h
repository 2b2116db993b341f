// The kernel vocabulary in portable CUDA, for the devices that run real blocks of threads: cuda and simt.
#pragma once
#include <cstdint>

namespace mith::MITH_SPACE {

/// A strided range: what a literal grid-stride loop compiles to.
struct Range {
  struct Iterator {
    int64_t i, step;
    __device__ __forceinline__ int64_t operator*() const { return i; }
    __device__ __forceinline__ Iterator& operator++() {
      i += step;
      return *this;
    }
    __device__ __forceinline__ bool operator!=(Iterator other) const { return i < other.i; }
  };
  int64_t first, last, step;
  __device__ __forceinline__ Iterator begin() const { return {first, step}; }
  __device__ __forceinline__ Iterator end() const { return {last, step}; }
};

__device__ __forceinline__ Range grid_stride(int64_t n) {
  return {int64_t(blockIdx.x) * blockDim.x + threadIdx.x, n, int64_t(gridDim.x) * blockDim.x};
}
__device__ __forceinline__ Range grid_rows(int64_t rows) {
  return {int64_t(blockIdx.x) * blockDim.y + threadIdx.y, rows, int64_t(gridDim.x) * blockDim.y};
}
__device__ __forceinline__ Range row_cols(int64_t cols) { return {threadIdx.x, cols, blockDim.x}; }
__device__ __forceinline__ Range block_items(int64_t items) { return {blockIdx.x, items, gridDim.x}; }
__device__ __forceinline__ Range block_stride(int64_t n) { return {threadIdx.x, n, blockDim.x}; }
__device__ __forceinline__ bool block_leader() { return threadIdx.x == 0; }

/// Block-wide reduction of any trivially copyable value; every thread of the block must call it and receives the
/// result. Any block size: the lanes of a last, partial warp know that they are fewer. Static, like every function that
/// owns shared memory: see __global__ in simt.h.
template <class T, class Combine>
static __device__ T block_reduce(T v, Combine combine) {
  __shared__ T partial[32];
  __shared__ T total;
  int const lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int const warps = (blockDim.x + 31) / 32;
  int const lanes = blockDim.x - warp * 32 < 32 ? blockDim.x - warp * 32 : 32;
  unsigned const mask = 0xffffffffu >> (32 - lanes);
  // A shuffle exchanges 4 bytes, so a value travels as words.
  auto const from_lane = [&](T value, int offset) {
    static_assert(sizeof(T) % 4 == 0, "block reductions exchange whole 4-byte words");
    union Words {
      T value;
      unsigned word[sizeof(T) / 4];
      __device__ Words() {}
    } mine, theirs;
    mine.value = value;
    for (unsigned i = 0; i < sizeof(T) / 4; ++i) theirs.word[i] = __shfl_down_sync(mask, mine.word[i], offset);
    return theirs.value;
  };
  for (int offset = 16; offset > 0; offset /= 2) {
    T const other = from_lane(v, offset);
    if (lane + offset < lanes) v = combine(v, other);
  }
  if (lane == 0) partial[warp] = v;
  __syncthreads();
  if (threadIdx.x == 0) {
    T sum = partial[0];
    for (int w = 1; w < warps; ++w) sum = combine(sum, partial[w]);
    total = sum;
  }
  __syncthreads();
  T const result = total;
  return result;
}

template <class T>
__device__ T block_sum(T v) {
  return block_reduce(v, [](T a, T b) { return a + b; });
}
/// The largest of value(0), ..., value(n - 1); NaN wins over everything, and nothing at all gives -infinity.
template <class T, class Value>
__device__ T block_max(int64_t n, Value value) {
  auto const larger = [](T a, T b) { return a > b || a != a ? a : b; };
  T largest = static_cast<T>(-__builtin_inf());
  for (auto i : block_stride(n)) largest = larger(largest, value(i));
  return block_reduce(largest, larger);
}
/// The pair with the largest value; ties go to the lower index, NaN wins over everything.
template <class T>
struct ValueIndex {
  T value;
  int64_t index;
};
template <class T>
__device__ ValueIndex<T> block_argmax(ValueIndex<T> v) {
  return block_reduce(v, [](ValueIndex<T> a, ValueIndex<T> b) {
    bool const a_nan = a.value != a.value, b_nan = b.value != b.value;
    if (a_nan != b_nan) return a_nan ? a : b;
    if (a.value > b.value) return a;
    if (b.value > a.value) return b;
    return a.index < b.index ? a : b;
  });
}

/// Sums K quantities down the rows [first, last) for each column: `term(row, column, values)` writes K values,
/// `store(column, sums)` receives the totals. A thread a column; neighbours read neighbours.
template <int K, class T, class Term, class Store>
__device__ void column_sums(int64_t first, int64_t last, int64_t cols, Term term, Store store) {
  for (auto c : row_cols(cols)) {
    T sums[K] = {};
    for (int64_t r = first; r < last; ++r) {
      T values[K];
      term(r, c, values);
      for (int k = 0; k < K; ++k) sums[k] += values[k];
    }
    store(c, sums);
  }
}

/// Collects one bit of each of `count` <= 32 rows for each column: `bit(row, column)` says it, `store(column, bits)`
/// receives all, the first row's the lowest. A thread a column.
template <class Bit, class Store>
__device__ void column_bits(int64_t count, int64_t cols, Bit bit, Store store) {
  for (auto c : row_cols(cols)) {
    uint32_t bits = 0;
    for (int64_t r = 0; r < count; ++r) bits |= uint32_t(bit(r, c)) << r;
    store(c, bits);
  }
}

__device__ __forceinline__ void atomic_add(int64_t* target, int64_t v) {
  atomicAdd(reinterpret_cast<unsigned long long*>(target), static_cast<unsigned long long>(v));
}

}  // namespace mith::MITH_SPACE
