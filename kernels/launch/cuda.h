// The CUDA meaning of the kernel vocabulary.
#pragma once
#include <cuda_runtime.h>
#include <nvtx3/nvToolsExt.h>

#include <algorithm>
#include <cstdint>

#include "kernels/launch/error.h"
#include "kernels/launch/threads.h"

#define MITH_DEVICE __host__ __device__ __forceinline__
#define MITH_UNROLL _Pragma("unroll")
#define MITH_IVDEP
/// DYNAMIC_SHARED(float, tile): the launch's dynamic shared memory as an array.
#define DYNAMIC_SHARED(type, name)                       \
  extern __shared__ __align__(16) char dynamic_shared[]; \
  type* const name = reinterpret_cast<type*>(dynamic_shared)

namespace mith::MITH_SPACE {

/// Nsight's range with the kernel's name.
struct NamedRange {
  explicit NamedRange(const char* name) { nvtxRangePushA(name); }
  ~NamedRange() { nvtxRangePop(); }
};

/// The one launch function.
template <class... P, class... A>
void launch(const Stream& stream, const Work& work, dim3 grid, dim3 block, size_t shared, void (*kernel)(P...),
            A... args) {
  if (work.items <= 0) return;
  check(work.items < (int64_t(1) << 47), work.name, ": ", work.items, " items are too many for one launch");
  LaunchScope const scope(stream, work);
  NamedRange const range(work.name);
  kernel<<<grid, block, shared, static_cast<cudaStream_t>(stream.handle)>>>(static_cast<P>(args)...);
  cudaError_t const status = cudaGetLastError();
  check(status == cudaSuccess, work.name, ": ", cudaGetErrorString(status));
}

}  // namespace mith::MITH_SPACE

#include "kernels/launch/grids.h"
