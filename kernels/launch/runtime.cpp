// Devices and raw memory: the cpu here, cuda behind cuda_device.h, simt behind checker/device.h.
#include "kernels/launch/runtime.h"

#include <omp.h>
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <new>

#include "kernels/checker/device.h"
#include "kernels/launch/cuda_device.h"
#include "kernels/launch/error.h"

namespace mith {
namespace {

int processor_level() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v4")) return 4;
  if (__builtin_cpu_supports("x86-64-v3")) return 3;
#endif
  return 2;
}

bool flag(const char* name) {
  const char* const value = std::getenv(name);
  return value && *value && std::strcmp(value, "0") != 0;
}

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "processor";
}

int block_of_environment() {
  const char* const value = std::getenv("MITH_BLOCK");
  int const threads = value ? std::atoi(value) : 0;
  require(threads >= 0 && threads <= 1024, "MITH_BLOCK must lie between 1 and 1024, not ", value ? value : "");
  return threads;
}

int worker_threads = 0;

}  // namespace

int isa_level() {
  static int const level = [] {
    int const own = processor_level();
    const char* const cap = std::getenv("MITH_ISA");
    int const wanted = cap ? std::atoi(cap) : own;
    return wanted >= 2 && wanted < own ? wanted : own;
  }();
  return level;
}

int threads() {
  if (worker_threads == 0) worker_threads = omp_get_max_threads();
  return worker_threads;
}

void set_threads(int count) {
  require(count >= 1 && count <= 1024, "--threads must lie between 1 and 1024, not ", count);
  worker_threads = count;
  omp_set_num_threads(count);
}

LaunchOptions& launch_options() {
  static LaunchOptions options{flag("MITH_SYNC"), flag("MITH_TRACE"), block_of_environment()};
  return options;
}

bool available(Device device) {
  if (device != Device::cuda) return true;
  return cuda::device_count() > 0;
}

std::string describe(Device device) {
  if (device == Device::cuda) return cuda::device_name();
  if (device == Device::simt) return checker::describe();
  return cat(processor_name(), ", x86-64-v", isa_level(), ", ", threads(), " threads");
}

namespace {

/// Asks for large blocks in pages of 2 MiB: an entry of the TLB covers 512 times as much.
void* allocate_on_host(size_t bytes) {
  constexpr size_t page = size_t{2} << 20;
  bool const large = bytes >= 2 * page;
  void* memory = nullptr;
  if (posix_memalign(&memory, large ? page : 256, bytes) != 0) throw std::bad_alloc();
  if (large) madvise(memory, bytes / page * page, MADV_HUGEPAGE);
  return memory;
}

}  // namespace

void* raw_allocate(Device device, size_t bytes, const char* label) {
  if (device == Device::cuda) return cuda::allocate(bytes);
  if (device == Device::simt) return checker::allocate(bytes, label);
  return allocate_on_host(bytes);
}

void raw_release(Device device, void* pointer) noexcept {
  if (device == Device::cuda) return cuda::release(pointer);
  if (device == Device::simt) return checker::release(pointer);
  std::free(pointer);
}

void copy_bytes(const Stream& stream, void* destination, const void* source, size_t bytes, Copy kind) {
  if (bytes == 0) return;
  if (stream.device == Device::cuda) return cuda::copy(stream, destination, source, bytes, kind);
  if (stream.device == Device::simt) return checker::copy(destination, source, bytes, kind);
  std::memcpy(destination, source, bytes);
}

void fill_bytes(const Stream& stream, void* destination, int byte, size_t bytes) {
  if (bytes == 0) return;
  if (stream.device == Device::cuda) return cuda::fill(stream, destination, byte, bytes);
  if (stream.device == Device::simt) return checker::fill(destination, byte, bytes);
  std::memset(destination, byte, bytes);
}

void synchronize(const Stream& stream) {
  if (stream.device == Device::cuda) cuda::synchronize(stream);
  if (stream.device == Device::simt) checker::synchronize();
}

}  // namespace mith
