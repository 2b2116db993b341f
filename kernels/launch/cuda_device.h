// The cuda device's share of runtime.h: cuda_device.cu where nvcc was found, cuda_absent.cpp elsewhere.
#pragma once
#include "kernels/launch/runtime.h"

namespace mith::cuda {

int device_count();
std::string device_name();
void* allocate(size_t bytes);
void release(void*) noexcept;
void copy(const Stream&, void* destination, const void* source, size_t bytes, Copy);
void fill(const Stream&, void* destination, int byte, size_t bytes);
void synchronize(const Stream&);

}  // namespace mith::cuda
