// The cpu meaning of the kernel vocabulary: one block a worker, one thread a block, loops that vectorise.
// threadIdx, __shared__ and __syncthreads are not declared here, so a map or row kernel that uses them does not
// compile.
#pragma once
#include <bit>
#include <cstdint>
#include <limits>
#include <tuple>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define MITH_DEVICE inline __attribute__((always_inline))
#define MITH_UNROLL _Pragma("GCC unroll 8")
#define MITH_IVDEP _Pragma("GCC ivdep")

namespace mith::MITH_SPACE {

/// This worker's part of the launch, set by run_workers and read by the ranges.
struct Worker {
  int64_t index = 0, count = 1;
};
inline constinit thread_local Worker worker;

/// A contiguous range whose step is 1 at compile time, which is what makes the loops vectorise.
struct Range {
  struct Iterator {
    int64_t i;
    MITH_DEVICE int64_t operator*() const { return i; }
    MITH_DEVICE Iterator& operator++() {
      ++i;
      return *this;
    }
    MITH_DEVICE bool operator!=(Iterator other) const { return i < other.i; }
  };
  int64_t first, last;
  MITH_DEVICE Iterator begin() const { return {first}; }
  MITH_DEVICE Iterator end() const { return {last}; }
};

/// Item `index` of `count` nearly equal parts of [0, n), cut at multiples of `grain`.
MITH_DEVICE Range part(int64_t n, int64_t index, int64_t count, int64_t grain) {
  int64_t const grains = (n + grain - 1) / grain;
  int64_t const first = grains * index / count * grain;
  int64_t const last = grains * (index + 1) / count * grain;
  return {first, last < n ? last : n};
}

MITH_DEVICE Range grid_stride(int64_t n) { return part(n, worker.index, worker.count, 64); }
MITH_DEVICE Range grid_rows(int64_t rows) { return part(rows, worker.index, worker.count, 1); }
MITH_DEVICE Range row_cols(int64_t cols) { return {0, cols}; }
MITH_DEVICE Range block_items(int64_t items) { return part(items, worker.index, worker.count, 1); }
MITH_DEVICE Range block_stride(int64_t n) { return {0, n}; }
MITH_DEVICE bool block_leader() { return true; }
template <class T>
MITH_DEVICE T block_sum(T v) {
  return v;
}
/// The largest of value(0), ..., value(n - 1); NaN wins over everything, and nothing at all gives -infinity. Compared
/// as integers of the same order, because a maximum of floats that keeps NaN does not vectorise.
template <class T, class Value>
MITH_DEVICE T block_max(int64_t n, Value value) {
  using Key = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  using Limits = std::numeric_limits<T>;
  auto const turned = [](Key key) {  // its own inverse
    return key ^ ((key >> (8 * sizeof(Key) - 1)) & std::numeric_limits<Key>::max());
  };
  Key largest = turned(std::bit_cast<Key>(-Limits::infinity()));
  Key nan = 0;
  for (int64_t i = 0; i < n; ++i) {
    T const v = value(i);
    Key const key = turned(std::bit_cast<Key>(v));
    largest = key > largest ? key : largest;
    nan |= v != v;
  }
  return nan ? Limits::quiet_NaN() : std::bit_cast<T>(turned(largest));
}
/// The pair with the largest value; ties go to the lower index, NaN wins over everything.
template <class T>
struct ValueIndex {
  T value;
  int64_t index;
};
template <class T>
MITH_DEVICE ValueIndex<T> block_argmax(ValueIndex<T> v) {
  return v;
}

/// Sums K quantities down the rows [first, last) for each column: `term(row, column, values)` adds to nothing, it
/// writes K values; `store(column, sums)` receives the totals. Columns vectorise.
template <int K, class T, class Term, class Store>
MITH_DEVICE void column_sums(int64_t first, int64_t last, int64_t cols, Term term, Store store) {
  constexpr int64_t width = 64;
  for (int64_t c0 = 0; c0 < cols; c0 += width) {
    T sums[K][width] = {};
    int64_t const n = cols - c0 < width ? cols - c0 : width;
    for (int64_t r = first; r < last; ++r) {
#pragma GCC ivdep
      for (int64_t j = 0; j < n; ++j) {
        T values[K];
        term(r, c0 + j, values);
        for (int k = 0; k < K; ++k) sums[k][j] += values[k];
      }
    }
    for (int64_t j = 0; j < n; ++j) {
      T values[K];
      for (int k = 0; k < K; ++k) values[k] = sums[k][j];
      store(c0 + j, values);
    }
  }
}

/// Collects one bit of each of `count` <= 32 rows for each column: `bit(row, column)` says it, `store(column, bits)`
/// receives all, the first row's the lowest. Columns vectorise.
template <class Bit, class Store>
MITH_DEVICE void column_bits(int64_t count, int64_t cols, Bit bit, Store store) {
  constexpr int64_t width = 64;
  for (int64_t c0 = 0; c0 < cols; c0 += width) {
    uint32_t bits[width] = {};
    int64_t const n = cols - c0 < width ? cols - c0 : width;
    for (int64_t r = 0; r < count; ++r) {
#pragma GCC ivdep
      for (int64_t j = 0; j < n; ++j) bits[j] |= uint32_t(bit(r, c0 + j)) << r;
    }
    for (int64_t j = 0; j < n; ++j) store(c0 + j, bits[j]);
  }
}

MITH_DEVICE void atomic_add(int64_t* target, int64_t v) { __atomic_fetch_add(target, v, __ATOMIC_RELAXED); }

/// Calls the kernel once a worker; small launches stay on the calling thread.
template <class Call>
void run_workers(int64_t elements, int64_t most, Call call) {
  int64_t const grain = 16384;
  int64_t wanted = elements / grain;
  if (wanted > most) wanted = most;
  int const available = ::mith::threads();
  int const count = wanted < 1 ? 1 : wanted < available ? static_cast<int>(wanted) : available;
  if (count == 1) {
    worker = {};
    call();
    return;
  }
  parallel_workers(
      count,
      [](void* context, int index, int workers) {
        worker = {index, workers};
        (*static_cast<Call*>(context))();
        worker = {};
      },
      &call);
}

template <class... P, class... A>
void launch_map(const Stream& stream, const Work& work, void (*kernel)(P...), A... args) {
  if (work.items <= 0) return;
  LaunchScope const scope(stream, work);
  run_workers(work.items, work.items, [&] { kernel(static_cast<P>(args)...); });
}

template <class... P, class... A>
void launch_row(const Stream& stream, const Work& work, int64_t cols, void (*kernel)(P...), A... args) {
  if (work.items <= 0) return;
  LaunchScope const scope(stream, work);
  // A row may stand for a group of them: then the bytes say how much work there is.
  int64_t const elements = work.items * (cols < 1 ? 1 : cols), moved = work.bytes / 4;
  run_workers(elements > moved ? elements : moved, work.items, [&] { kernel(static_cast<P>(args)...); });
}

template <class... P, class... A>
void launch_rows_cols(const Stream& stream, const Work& work, int64_t cols, void (*kernel)(P...), A... args) {
  launch_row(stream, work, cols, kernel, args...);
}

}  // namespace mith::MITH_SPACE
