// What mith-bench kernels measures: every registered kernel, and the providers' matrix products and convolutions, on
// operands of a fixed size.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/launch/dtype.h"
#include "kernels/launch/runtime.h"

namespace mith::bench {

/// Device memory that lives as long as a case's operands.
class Operands {
 public:
  Operands(const Stream& stream, int64_t shrink) : stream(stream), shrink_(shrink) {}
  ~Operands();
  Operands(const Operands&) = delete;
  Operands& operator=(const Operands&) = delete;

  /// Random values in [0.1, 0.9).
  template <class T>
  T* values(int64_t n) {
    std::vector<T> host(static_cast<size_t>(n));
    uint64_t state = 88172645463325252u + memory_.size();
    for (T& v : host) {
      state ^= state << 13, state ^= state >> 7, state ^= state << 17;
      v = static_cast<T>(0.1 + 0.8 * static_cast<double>(state >> 40) / 16777216.0);
    }
    return copied(host);
  }
  template <class T>
  T* empty(int64_t n) {
    return static_cast<T*>(allocate(static_cast<size_t>(n) * sizeof(T)));
  }
  /// first, first + step, ...
  template <class T>
  T* sequence(int64_t n, T step = 1, T modulus = 0) {
    std::vector<T> host(static_cast<size_t>(n));
    for (size_t i = 0; i < host.size(); ++i) {
      T const v = static_cast<T>(i) * step;
      host[i] = modulus ? v % modulus : v;
    }
    return copied(host);
  }
  /// The given values.
  template <class T>
  T* copied(const std::vector<T>& host) {
    T* const device = empty<T>(static_cast<int64_t>(host.size()));
    copy_bytes(stream, device, host.data(), host.size() * sizeof(T), Copy::host_to_device);
    return device;
  }
  /// An extent as it is, or smaller where the device is the checker, which is slow by design.
  int64_t extent(int64_t n) const { return n / shrink_ > 0 ? n / shrink_ : 1; }

  Stream const stream;

 private:
  void* allocate(size_t bytes);
  int64_t shrink_;
  std::vector<void*> memory_;
};

using Run = std::function<void()>;

struct KernelCase {
  std::string kernel;    ///< registered name; or the operator, for providers
  std::string provider;  ///< empty: the kernel itself
  std::string shape;
  int priority = 1;  ///< 0: matters most
  double flops = 0;
  DType dtype = DType::f32;  ///< of a product
  std::function<Run(Operands&)> prepare;
  /// A hand-written OpenMP loop of the same arithmetic on the same operands, for the cpu; may be empty.
  std::function<Run(Operands&)> prepare_plain;

  std::string key() const { return kernel + (provider.empty() ? "" : " " + provider) + " " + shape; }
};

std::vector<KernelCase> apgd_cases();
std::vector<KernelCase> attack_cases();
std::vector<KernelCase> copies_cases();
std::vector<KernelCase> elementwise_cases();
std::vector<KernelCase> minimum_norm_cases();
std::vector<KernelCase> network_cases();
std::vector<KernelCase> row_cases();
std::vector<KernelCase> score_cases();
std::vector<KernelCase> transfer_cases();
std::vector<KernelCase> universal_cases();
std::vector<KernelCase> window_cases();
std::vector<KernelCase> provider_cases(Device);

/// All cases that the device can run, the most important first.
std::vector<KernelCase> kernel_cases(Device);

struct KernelOptions {
  std::string filter;  ///< part of the kernel's name, or several separated by commas
  std::string resume;  ///< file of rows measured before, to which new ones are added
  double budget = 0;   ///< seconds; 0: no limit
  int64_t rounds = 9;
  bool json = false, markdown = false;
};
/// Measures and prints.
void bench_kernels(const KernelOptions&);

}  // namespace mith::bench
