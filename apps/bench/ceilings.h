// What this machine reaches, measured with the best kernels there are: the floor under everything else.
#pragma once
#include <algorithm>
#include <chrono>
#include <vector>

#include "apps/bench/kernel_case.h"

namespace mith::bench {

/// Seconds of one call, from as many calls as make a reading of 5 ms.
class Timer {
 public:
  Timer(const Stream&, Run);
  double reading() { return reading(calls_); }

 private:
  double reading(int64_t calls);
  Stream stream_;
  Run run_;
  int64_t calls_ = 1;
};

struct Ceilings {
  double bytes_per_second = 0, flops_per_second = 0;
  double bf16_flops_per_second = 0;  ///< of products in bf16; 0: there are none
  double rate(DType type) const { return type == DType::bf16 ? bf16_flops_per_second : flops_per_second; }
  /// The least time that so many bytes or so much arithmetic needs.
  double floor_seconds(double bytes, double flops, DType type) const {
    return std::max(bytes / bytes_per_second, flops / rate(type));
  }
};
/// Takes a second or two.
Ceilings measure_ceilings(const Stream&, const std::vector<KernelCase>&);

/// By what extents are divided: the checker is slow by design.
int64_t shrink_of(Device);

}  // namespace mith::bench
