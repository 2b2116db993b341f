// Cases of the kernels behind Adam inside attacks and behind attacks that look at altered copies of each image.
#include "apps/bench/case_builder.h"
#include "kernels/launch/philox.h"

namespace mith::bench {
namespace {

constexpr int64_t images = 16, per_image = 64 * 64 * 3;

}  // namespace

std::vector<KernelCase> copies_cases() {
  std::vector<KernelCase> cases;
  cases.push_back(
      make_case<Kernel<float*, float*, float*, const float*, double, double, double, double, int64_t, float, float,
                       int64_t*, int64_t>>("adam_ascent_clamp", "128 images of 12288", 1, [](Operands& o, auto run) {
        int64_t const n = o.extent(128) * per_image;
        float *const value = o.values<float>(n), *const m = o.values<float>(n), *const v = o.values<float>(n);
        const float* const g = o.values<float>(n);
        auto* const bad = o.sequence<int64_t>(1);
        return [=] { run(value, m, v, g, 0.01, 0.9, 0.999, 1e-8, int64_t(3), 0.0f, 1.0f, bad, n); };
      }));
  return cases;
}

}  // namespace mith::bench
