// The simt meaning of the kernel vocabulary: CUDA's own names, executed thread for thread by kernels/checker.
#pragma once
#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/checker/device.h"
#include "kernels/launch/error.h"

#define __global__ static  // so that a template kernel's shared arrays are its own, and AddressSanitizer guards them
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static  // a plain static: AddressSanitizer sees where it ends
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)
#define MITH_DEVICE inline
#define MITH_UNROLL
#define MITH_IVDEP

#define threadIdx (::mith::checker::builtins.thread)
#define blockIdx (::mith::checker::builtins.block)
#define blockDim (::mith::checker::builtins.block_dim)
#define gridDim (::mith::checker::builtins.grid_dim)
/// DYNAMIC_SHARED(float, tile): the launch's dynamic shared memory as an array.
#define DYNAMIC_SHARED(type, name) type* const name = static_cast<type*>(::mith::checker::builtins.dynamic_shared)

namespace mith::MITH_SPACE {

using dim3 = checker::Extent3;
using checker::Where;

inline void __syncthreads(Where where = Where::current()) { checker::sync_threads(where); }
inline void __syncwarp(uint32_t mask = 0xffffffffu, Where where = Where::current()) {
  checker::step_together({.kind = checker::WarpStep::Kind::sync, .mask = mask}, where);
}
inline void __threadfence() {}
inline void __threadfence_block() {}

/// The value of lane `source`; what a GPU leaves undefined is all ones, a NaN.
template <class T>
T exchange(uint32_t mask, T v, int source, Where where) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 16);
  checker::WarpStep step{.kind = checker::WarpStep::Kind::exchange, .mask = mask, .source = source};
  std::memcpy(step.value, &v, sizeof v);
  checker::WarpResult const result = checker::step_together(step, where);
  std::memcpy(&v, result.value, sizeof v);
  return v;
}

// Lanes form groups of `width`, a power of two; a source outside the group means the lane itself.
template <class T>
T __shfl_sync(uint32_t mask, T v, int source, int width = 32, Where where = Where::current()) {
  return exchange(mask, v, checker::lane() / width * width + source % width, where);
}
template <class T>
T __shfl_down_sync(uint32_t mask, T v, unsigned delta, int width = 32, Where where = Where::current()) {
  int const lane = checker::lane(), source = lane + static_cast<int>(delta);
  return exchange(mask, v, source / width == lane / width ? source : lane, where);
}
template <class T>
T __shfl_up_sync(uint32_t mask, T v, unsigned delta, int width = 32, Where where = Where::current()) {
  int const lane = checker::lane(), source = lane - static_cast<int>(delta);
  return exchange(mask, v, source >= lane / width * width ? source : lane, where);
}
template <class T>
T __shfl_xor_sync(uint32_t mask, T v, int lanes, int width = 32, Where where = Where::current()) {
  int const lane = checker::lane(), source = lane ^ lanes;
  return exchange(mask, v, source / width <= lane / width ? source : lane, where);
}

inline uint32_t __ballot_sync(uint32_t mask, int predicate, Where where = Where::current()) {
  checker::WarpStep step{.kind = checker::WarpStep::Kind::vote, .mask = mask};
  step.value[0] = predicate != 0;
  return checker::step_together(step, where).ballot;
}
inline int __any_sync(uint32_t mask, int predicate, Where where = Where::current()) {
  return __ballot_sync(mask, predicate, where) != 0;
}
inline int __all_sync(uint32_t mask, int predicate, Where where = Where::current()) {
  return __ballot_sync(mask, !predicate, where) == 0;
}
inline int __popc(uint32_t v) { return std::popcount(v); }
inline int __ffs(int v) { return __builtin_ffs(v); }

// Atomics return the old value.
template <class T>
T atomicAdd(T* target, std::type_identity_t<T> v) {
  if constexpr (std::is_integral_v<T>) {
    return __atomic_fetch_add(target, v, __ATOMIC_RELAXED);
  } else {
    T old, sum;
    __atomic_load(target, &old, __ATOMIC_RELAXED);
    do sum = old + v;
    while (!__atomic_compare_exchange(target, &old, &sum, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return old;
  }
}
template <class T>
T atomicMax(T* target, std::type_identity_t<T> v) {
  T old = __atomic_load_n(target, __ATOMIC_RELAXED);
  while (old < v && !__atomic_compare_exchange_n(target, &old, v, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}
template <class T>
T atomicOr(T* target, std::type_identity_t<T> v) {
  return __atomic_fetch_or(target, v, __ATOMIC_RELAXED);
}
template <class T>
T atomicExch(T* target, std::type_identity_t<T> v) {
  return __atomic_exchange_n(target, v, __ATOMIC_RELAXED);
}
template <class T>
T atomicCAS(T* target, std::type_identity_t<T> expected, std::type_identity_t<T> v) {
  __atomic_compare_exchange_n(target, &expected, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}

/// The one launch function: queues the grid.
template <class... P, class... A>
void launch(const Stream& stream, const Work& work, dim3 grid, dim3 block, size_t shared, void (*kernel)(P...),
            A... args) {
  if (work.items <= 0) return;
  LaunchScope const scope(stream, work);
  checker::launch({work.name, grid, block, shared, [=] { kernel(static_cast<P>(args)...); }});
}

}  // namespace mith::MITH_SPACE

#include "kernels/launch/grids.h"
#include "kernels/launch/threads.h"
