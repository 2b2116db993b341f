// Devices, streams and raw memory. The only header through which the rooms above reach a device.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace mith {

enum class Device : uint8_t { cpu, simt, cuda };
constexpr const char* name_of(Device d) { return d == Device::cpu ? "cpu" : d == Device::simt ? "simt" : "cuda"; }

/// An in-order queue of work on one device. `handle` is a cudaStream_t on cuda and unused elsewhere.
struct Stream {
  Device device = Device::cpu;
  void* handle = nullptr;
};

/// True if this binary was built for the device and the machine has one.
bool available(Device);
/// One line about the device: processor, instruction set level, or GPU name and memory.
std::string describe(Device);

/// Raw device memory, 256-byte aligned. Throws std::bad_alloc when the device has no more. simt names `label` when
/// somebody misuses the memory.
void* raw_allocate(Device, size_t bytes, const char* label = "memory");
void raw_release(Device, void*) noexcept;

/// Copies between any two of {host, this stream's device}; returns when the source may be reused.
enum class Copy { host_to_device, device_to_host, device_to_device };
void copy_bytes(const Stream&, void* destination, const void* source, size_t bytes, Copy);
void fill_bytes(const Stream&, void* destination, int byte, size_t bytes);
/// Waits for all work queued on the stream and throws Error if any of it failed.
void synchronize(const Stream&);

/// x86-64 level (2, 3 or 4) whose kernels run here: the processor's, capped by the environment's MITH_ISA.
int isa_level();

/// Worker threads of the cpu device. Scratch is sized by them when it is planned, and does not serve more later.
int threads();
void set_threads(int count);

/// MITH_SYNC=1 checks after every launch; MITH_TRACE=1 also prints name, items, time and bandwidth. MITH_BLOCK=n gives
/// map and row kernels blocks of n threads on cuda and simt: their results must not depend on it.
struct LaunchOptions {
  bool synchronize = false;
  bool trace = false;
  int block = 0;
};
LaunchOptions& launch_options();

}  // namespace mith
