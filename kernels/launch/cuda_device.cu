// The cuda device: memory, copies and synchronisation.
#include "kernels/launch/cuda_device.h"

#include <cuda_runtime.h>

#include <new>

#include "kernels/launch/error.h"

namespace mith::cuda {
namespace {

void expect(cudaError_t status, const char* what) {
  check(status == cudaSuccess, what, ": ", cudaGetErrorString(status));
}

cudaStream_t handle(const Stream& stream) { return static_cast<cudaStream_t>(stream.handle); }

}  // namespace

int device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

std::string device_name() {
  if (device_count() == 0) return "none";
  cudaDeviceProp properties;
  expect(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  return cat(properties.name, ", sm_", properties.major, properties.minor, ", ", properties.totalGlobalMem >> 20,
             " MiB");
}

void* allocate(size_t bytes) {
  void* pointer = nullptr;
  if (cudaMalloc(&pointer, bytes) != cudaSuccess) {
    cudaGetLastError();  // clears it: the allocator tries again after trimming
    throw std::bad_alloc();
  }
  return pointer;
}

void release(void* pointer) noexcept { cudaFree(pointer); }

void copy(const Stream& stream, void* destination, const void* source, size_t bytes, Copy kind) {
  cudaMemcpyKind const direction = kind == Copy::host_to_device   ? cudaMemcpyHostToDevice
                                   : kind == Copy::device_to_host ? cudaMemcpyDeviceToHost
                                                                  : cudaMemcpyDeviceToDevice;
  expect(cudaMemcpyAsync(destination, source, bytes, direction, handle(stream)), "cudaMemcpyAsync");
  if (kind != Copy::device_to_device) cuda::synchronize(stream);
}

void fill(const Stream& stream, void* destination, int byte, size_t bytes) {
  expect(cudaMemsetAsync(destination, byte, bytes, handle(stream)), "cudaMemsetAsync");
}

void synchronize(const Stream& stream) { expect(cudaStreamSynchronize(handle(stream)), "cudaStreamSynchronize"); }

}  // namespace mith::cuda
