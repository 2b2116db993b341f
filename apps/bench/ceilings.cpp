#include "apps/bench/ceilings.h"

namespace mith::bench {
namespace {

using Clock = std::chrono::steady_clock;

double best_rate(const Stream& stream, int64_t shrink, const KernelCase& c, double work) {
  Operands operands(stream, shrink);
  Timer timer(stream, c.prepare(operands));
  double best = 1e30;
  for (int i = 0; i < 7; ++i) best = std::min(best, timer.reading());
  return work / best;
}

}  // namespace

Timer::Timer(const Stream& stream, Run run) : stream_(stream), run_(std::move(run)) {
  run_();  // warms up: page faults, packed weights, clocks
  synchronize(stream_);
  double const once = reading(1);
  calls_ = std::clamp<int64_t>(static_cast<int64_t>(0.005 / std::max(once, 1e-9)), 1, 10000);
}

double Timer::reading(int64_t calls) {
  auto const start = Clock::now();
  for (int64_t i = 0; i < calls; ++i) run_();
  synchronize(stream_);
  return std::chrono::duration<double>(Clock::now() - start).count() / static_cast<double>(calls);
}

int64_t shrink_of(Device device) { return device == Device::simt ? 256 : 1; }

Ceilings measure_ceilings(const Stream& stream, const std::vector<KernelCase>& cases) {
  Ceilings ceilings;
  int64_t const shrink = shrink_of(stream.device);
  for (KernelCase const& c : cases) {
    if (c.kernel == "add_f32" || c.kernel == "scale_f32" || c.kernel == "fill_f32") {
      int64_t const arrays = c.kernel == "add_f32" ? 3 : c.kernel == "scale_f32" ? 2 : 1;
      int64_t const bytes = arrays * 4 * ((1 << 22) / shrink);
      ceilings.bytes_per_second = std::max(ceilings.bytes_per_second, best_rate(stream, shrink, c, double(bytes)));
    }
    bool const large = c.kernel == "matmul" ? c.flops > 2e9 : c.shape.find("56x56x64 -> 64") != std::string::npos;
    if (!large || c.provider == "reference") continue;
    double& rate = c.dtype == DType::bf16 ? ceilings.bf16_flops_per_second : ceilings.flops_per_second;
    rate = std::max(rate, best_rate(stream, shrink, c, c.flops / double(shrink)));
  }
  return ceilings;
}

}  // namespace mith::bench
