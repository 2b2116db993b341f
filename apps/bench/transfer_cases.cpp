// Cases of the transfer attacks' kernels.
#include "apps/bench/case_builder.h"
#include "kernels/launch/philox.h"

namespace mith::bench {
namespace {

constexpr int64_t images = 128, side = 64, channels = 3, per_image = side * side * channels, copies = 4;

/// An image's size unchanged, shrunk to nine tenths, and enlarged, in turn.
std::vector<int32_t> geometries(int64_t n) {
  std::vector<int32_t> all;
  for (int64_t i = 0; i < n; ++i)
    for (int32_t v : i % 3 == 0   ? std::vector<int32_t>{64, 64, 0, 0, 64, 64}
                     : i % 3 == 1 ? std::vector<int32_t>{58, 58, 2, 3, 64, 64}
                                  : std::vector<int32_t>{66, 66, 1, 2, 70, 70})
      all.push_back(v);
  return all;
}

}  // namespace

std::vector<KernelCase> transfer_cases() {
  std::vector<KernelCase> cases;
  std::string const shape = "128 images of 12288";
  cases.push_back(
      make_case<Kernel<float*, float*, const float*, const float*, float, float, float, int64_t*, int64_t, int64_t>>(
          "momentum_sign_step", shape, 0, [](Operands& o, auto run) {
            int64_t const n = o.extent(images);
            float *const adv = o.values<float>(n * per_image), *const m = o.values<float>(n * per_image);
            const float *const x = o.values<float>(n * per_image), *const g = o.values<float>(n * per_image);
            auto* const bad = o.sequence<int64_t>(1);
            return [=] { run(adv, m, x, g, 1.0f, 1.6f / 255, 16 / 255.f, bad, n, per_image); };
          }));
  cases.push_back(make_case<Kernel<float*, const float*, const float*, float, int64_t, int64_t>>(
      "mean_size_step", shape, 1, [](Operands& o, auto run) {
        int64_t const n = o.extent(images);
        auto* const out = o.empty<float>(n * per_image);
        const float *const x = o.values<float>(n * per_image), *const g = o.values<float>(n * per_image);
        return [=] { run(out, x, g, 0.01f, n, per_image); };
      }));
  cases.push_back(
      make_case<Kernel<float*, const float*, const int64_t*, DrawKey, float, int64_t, int64_t, int64_t, int64_t>>(
          "uniform_neighbours", shape + ", 4 copies", 1, [](Operands& o, auto run) {
            int64_t const n = o.extent(images);
            auto* const out = o.empty<float>(n * copies * per_image);
            const float* const x = o.values<float>(n * per_image);
            const int64_t* const ids = o.sequence<int64_t>(n);
            return [=] { run(out, x, ids, DrawKey{.seed = 1}, 0.1f, int64_t(0), n, copies, per_image); };
          }));
  cases.push_back(make_case<Kernel<double*, const float*, const double*, int64_t, int64_t, int64_t, int64_t>>(
      "sum_copies", shape + ", 4 copies", 1, [](Operands& o, auto run) {
        int64_t const n = o.extent(images);
        auto* const sum = o.values<double>(n * per_image);
        const float* const x = o.values<float>(n * copies * per_image);
        const double* const weights = o.values<double>(copies);
        return [=] { run(sum, x, weights, n, copies, side, side * channels); };
      }));
  for (const char* name : {"resize_pad_forward", "resize_pad_backward"})
    cases.push_back(make_case<Kernel<float*, const float*, const int32_t*, int64_t, int64_t, int64_t, int64_t>>(
        name, "128x64x64x3", 1, [](Operands& o, auto run) {
          int64_t const n = o.extent(images);
          auto* const to = o.empty<float>(n * per_image);
          const float* const from = o.values<float>(n * per_image);
          const int32_t* const geometry = o.copied(geometries(n));
          return [=] { run(to, from, geometry, n, side, side, channels); };
        }));
  for (const char* name : {"smooth_rows", "smooth_columns"})
    cases.push_back(make_case<Kernel<float*, const float*, const float*, int64_t, int64_t, int64_t, int64_t, int64_t>>(
        name, "128x64x64x3, 15 weights", 1, [](Operands& o, auto run) {
          int64_t const n = o.extent(images), size = 15;
          auto* const y = o.empty<float>(n * per_image);
          const float *const x = o.values<float>(n * per_image), *const weights = o.values<float>(size);
          return [=] { run(y, x, weights, size, n, side, side, channels); };
        }));
  return cases;
}

}  // namespace mith::bench
