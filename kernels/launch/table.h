// The kernel table: how the engine finds a kernel by name on whatever device a tensor lives.
//
// A kernel file registers its launchers,            KERNEL(pgd_linf_step, launch_pgd_linf_step);
// an operator declares what it calls,               const Kernel<float*, const float*, int64_t> step{"pgd_linf_step"};
// and calls it,                                     step(stream, x, g, n);
// The name is the one seen in Nsight, in traces, in errors and in benchmarks. Signatures are compared when a kernel is
// first looked up; a test resolves every declared kernel on every device that was built.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <typeinfo>
#include <vector>

#include "kernels/launch/dtype.h"
#include "kernels/launch/runtime.h"

namespace mith {

using AnyFunction = void (*)();

/// Puts a launcher into the table; of several levels on one device the highest that the processor runs wins.
struct KernelRegistration {
  KernelRegistration(const char* name, const char* suffix, Device device, int isa, const char* signature, AnyFunction);
};

/// A kernel by name. Lookup happens on first use on a device; an unknown name or another signature throws Error.
class KernelBase {
 public:
  KernelBase(std::string name, const char* signature);
  KernelBase(const KernelBase&) = delete;
  KernelBase& operator=(const KernelBase&) = delete;
  const std::string& name() const { return name_; }
  /// The launcher for this device.
  AnyFunction resolve(Device) const;
  bool exists(Device) const;
  /// True once it has been called on the device.
  bool called(Device device) const { return called_[static_cast<int>(device)]; }

 protected:
  mutable bool called_[3] = {};

 private:
  std::string name_;
  const char* signature_;
  mutable AnyFunction found_[3] = {};
};

template <class... Args>
class Kernel : public KernelBase {
 public:
  using Launcher = void(const Stream&, Args...);
  explicit Kernel(const char* name) : KernelBase(name, typeid(Launcher).name()) {}
  /// A kernel that exists for several element types: "name" of f32 is registered as "name_f32".
  Kernel(const char* name, DType type) : KernelBase(std::string(name) + "_" + name_of(type), typeid(Launcher).name()) {}
  void operator()(const Stream& stream, Args... args) const {
    called_[static_cast<int>(stream.device)] = true;
    reinterpret_cast<Launcher*>(resolve(stream.device))(stream, args...);
  }
};

/// Every Kernel object of the program, and every registered name on a device: for the resolve-all test and benchmarks.
std::vector<const KernelBase*> declared_kernels();
std::vector<std::string> registered_kernels(Device);

/// What a launch is about: its searchable name, how many elements or rows it handles, and the bytes it must move.
struct Work {
  const char* name;
  int64_t items;
  int64_t bytes = 0;
};

/// Sees every launch, on whatever device: benchmarks add up its bytes, a test the kernels that ran. May be empty.
using LaunchObserver = std::function<void(const Stream&, const Work&)>;
void observe_launches(LaunchObserver);

/// Opened around every launch by the launch layer: trace and checks. Out of line, so no kernel object carries a copy.
class LaunchScope {
 public:
  LaunchScope(const Stream&, const Work&);
  ~LaunchScope() noexcept(false);
  LaunchScope(const LaunchScope&) = delete;
  LaunchScope& operator=(const LaunchScope&) = delete;

 private:
  const Stream& stream_;
  Work work_;
  int64_t start_ns_ = 0;
  int exceptions_;
};

/// Throws Error: `kernel` was given more elements than it can number. Out of line, so no kernel object carries a copy.
[[noreturn]] void throw_too_many(const char* kernel, int64_t elements);

/// Runs `body(context, index, count)` on `count` workers of the cpu device.
void parallel_workers(int count, void (*body)(void* context, int index, int count), void* context);

}  // namespace mith

#define MITH_CAT_(a, b) a##b
#define MITH_CAT(a, b) MITH_CAT_(a, b)
#define MITH_REGISTER(title, suffix, launcher)                                                      \
  [[maybe_unused]] static const ::mith::KernelRegistration MITH_CAT(registration_, __COUNTER__) {   \
#title, suffix, ::mith::Device::MITH_SPACE_DEVICE, MITH_ISA, typeid(decltype(launcher)).name(), \
        reinterpret_cast < ::mith::AnyFunction>(&(launcher))                                        \
  }
/// KERNEL(name, launcher): registers a launcher under a name.
#define KERNEL(title, launcher) MITH_REGISTER(title, "", launcher)
/// KERNEL_FLOATS(name, launcher): registers launcher<float> as name_f32 and launcher<double> as name_f64.
#define KERNEL_FLOATS(title, launcher)           \
  MITH_REGISTER(title, "_f32", launcher<float>); \
  MITH_REGISTER(title, "_f64", launcher<double>)
/// KERNEL_NARROW_FLOATS(name, launcher): launcher<float> as name_f32 and launcher<bf16> as name_bf16.
#define KERNEL_NARROW_FLOATS(title, launcher)    \
  MITH_REGISTER(title, "_f32", launcher<float>); \
  MITH_REGISTER(title, "_bf16", launcher<::mith::bf16>)
/// KERNEL_ALL_FLOATS(name, launcher): all three.
#define KERNEL_ALL_FLOATS(title, launcher) \
  KERNEL_FLOATS(title, launcher);          \
  MITH_REGISTER(title, "_bf16", launcher<::mith::bf16>)
