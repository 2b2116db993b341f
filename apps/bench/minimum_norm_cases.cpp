// Cases of the kernels behind minimum-norm attacks.
#include "apps/bench/case_builder.h"
#include "kernels/row/lbfgs.h"

namespace mith::bench {
namespace {

constexpr int64_t images = 128, per_image = 3 * 64 * 64;
const std::string shape = "128 images of 12288";

void add_norms(std::vector<KernelCase>& cases) {
  for (const char* name : {"gradient_norm_linf", "gradient_norm_l2", "gradient_norm_l1"})
    cases.push_back(
        make_case<Kernel<float*, const float*, int64_t*, int64_t, int64_t>>(name, shape, 1, [](Operands& o, auto run) {
          int64_t const n = o.extent(images);
          float* const out = o.empty<float>(n);
          const float* const g = o.values<float>(n * per_image);
          auto* const bad = o.sequence<int64_t>(1);
          return [=] { run(out, g, bad, n, per_image); };
        }));
  cases.push_back(make_case<Kernel<float*, const float*, const float*, int64_t, int64_t>>(
      "l1_distance", shape, 1, [](Operands& o, auto run) {
        int64_t const n = o.extent(images);
        float* const out = o.empty<float>(n);
        const float *const a = o.values<float>(n * per_image), *const b = o.values<float>(n * per_image);
        return [=] { run(out, a, b, n, per_image); };
      }));
}

void add_cw(std::vector<KernelCase>& cases) {
  cases.push_back(make_case<Kernel<float*, float*, const float*, int64_t, int64_t>>(
      "cw_tanh_start", shape, 2, [](Operands& o, auto run) {
        int64_t const n = o.extent(images);
        float *const w = o.empty<float>(n * per_image), *const adv = o.empty<float>(n * per_image);
        const float* const x = o.values<float>(n * per_image);
        return [=] { run(w, adv, x, n, per_image); };
      }));
  cases.push_back(
      make_case<Kernel<float*, float*, float*, float*, const float*, const float*, const float*, double, int64_t,
                       int64_t*, int64_t, int64_t>>("cw_tanh_step", shape, 0, [](Operands& o, auto run) {
        int64_t const n = o.extent(images), all = n * per_image;
        float *const w = o.values<float>(all), *const m = o.values<float>(all), *const v = o.values<float>(all),
                     *const adv = o.values<float>(all);
        const float *const x = o.values<float>(all), *const g = o.values<float>(all), *const c = o.values<float>(n);
        auto* const bad = o.sequence<int64_t>(1);
        return [=] { run(w, m, v, adv, x, g, c, 0.01, int64_t(3), bad, n, per_image); };
      }));
  cases.push_back(make_case<Kernel<float*, float*, float*, const float*, const float*, const float*, double, int64_t,
                                   int64_t*, int64_t, int64_t>>("cw_clip_step", shape, 0, [](Operands& o, auto run) {
    int64_t const n = o.extent(images), all = n * per_image;
    float *const m = o.values<float>(all), *const v = o.values<float>(all), *const adv = o.values<float>(all);
    const float *const x = o.values<float>(all), *const g = o.values<float>(all), *const c = o.values<float>(n);
    auto* const bad = o.sequence<int64_t>(1);
    return [=] { run(m, v, adv, x, g, c, 0.01, int64_t(3), bad, n, per_image); };
  }));
}

void add_boundary_steps(std::vector<KernelCase>& cases) {
  for (const char* name : {"deepfool_step_l2", "deepfool_step_linf"})
    cases.push_back(make_case<Kernel<float*, float*, const float*, const float*, const int64_t*, const float*, float,
                                     int64_t, int64_t>>(name, shape, 1, [](Operands& o, auto run) {
      int64_t const n = o.extent(images), all = n * per_image;
      float *const total = o.values<float>(all), *const adv = o.empty<float>(all);
      const float *const x = o.values<float>(all), *const g = o.values<float>(all), *const f = o.values<float>(n);
      const int64_t* const chosen = o.sequence<int64_t>(n);
      return [=] { run(total, adv, x, g, chosen, f, 0.02f, n, per_image); };
    }));
  for (const char* name : {"fab_projection_linf", "fab_projection_l2", "fab_projection_l1"})
    cases.push_back(make_case<Kernel<float*, const float*, const float*, const int64_t*, const float*, float, float,
                                     int64_t, int64_t>>(name, shape, 1, [](Operands& o, auto run) {
      int64_t const n = o.extent(images), all = n * per_image;
      float* const x1 = o.values<float>(all);
      const float *const x0 = o.values<float>(all), *const g = o.values<float>(all), *const gap = o.values<float>(n);
      const int64_t* const chosen = o.sequence<int64_t>(n);
      return [=] { run(x1, x0, g, chosen, gap, 1.05f, 0.1f, n, per_image); };
    }));
  cases.push_back(make_case<Kernel<float*, const float*, const float*, int64_t, int64_t>>(
      "shrink_distance", shape, 2, [](Operands& o, auto run) {
        int64_t const n = o.extent(images);
        float* const adv = o.values<float>(n * per_image);
        const float *const x = o.values<float>(n * per_image), *const share = o.values<float>(n);
        return [=] { run(adv, x, share, n, per_image); };
      }));
}

void add_lbfgs(std::vector<KernelCase>& cases) {
  using Direction = Kernel<float*, float*, float*, float*, float*, int32_t*, const float*, const float*, const float*,
                           const float*, const uint8_t*, int64_t*, int64_t, int64_t>;
  cases.push_back(
      make_case<Direction>("lbfgs_direction", "128 images of 12288, full history", 2, [](Operands& o, auto run) {
        int64_t const n = o.extent(images), all = n * per_image;
        float *const x = o.values<float>(all), *const g = o.values<float>(all), *const d = o.empty<float>(all),
                     *const s = o.values<float>(lbfgs_pairs * all), *const y = o.values<float>(lbfgs_pairs * all);
        auto* const count = o.sequence<int32_t>(n + lbfgs_pairs) + lbfgs_pairs;
        const float *const trial = o.values<float>(all), *const lg = o.values<float>(all),
                           *const clean = o.values<float>(all), *const c = o.values<float>(n);
        const uint8_t* const point = o.sequence<uint8_t>(n, 0);  // all accepted
        auto* const bad = o.sequence<int64_t>(1);
        return [=] { run(x, g, d, s, y, count, trial, lg, clean, c, point, bad, n, per_image); };
      }));
  cases.push_back(make_case<Kernel<float*, double*, const float*, const float*, const float*, const float*,
                                   const float*, int64_t, int64_t>>("lbfgs_trial", shape, 2, [](Operands& o, auto run) {
    int64_t const n = o.extent(images), all = n * per_image;
    float* const trial = o.empty<float>(all);
    auto* const measures = o.empty<double>(2 * n);
    const float *const x = o.values<float>(all), *const g = o.values<float>(all), *const d = o.values<float>(all),
                       *const clean = o.values<float>(all), *const t = o.values<float>(n);
    return [=] { run(trial, measures, x, g, d, clean, t, n, per_image); };
  }));
}

}  // namespace

std::vector<KernelCase> minimum_norm_cases() {
  std::vector<KernelCase> cases;
  add_norms(cases);
  add_cw(cases);
  add_boundary_steps(cases);
  add_lbfgs(cases);
  return cases;
}

}  // namespace mith::bench
