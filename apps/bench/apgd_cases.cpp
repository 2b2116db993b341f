// Cases of APGD: its losses, which other attacks share, its start and its moves.
#include "apps/bench/case_builder.h"
#include "kernels/launch/philox.h"

namespace mith::bench {
namespace {

constexpr int64_t logit_rows = 4096, images = 128, per_image = 3 * 64 * 64;

template <class T>
void add_losses(std::vector<KernelCase>& cases, int priority, int64_t k) {
  std::string const shape = "4096 x " + std::to_string(k);
  cases.push_back(make_case<Kernel<T*, const T*, const int32_t*, const int32_t*, int, int64_t, int64_t>>(
      named<T>("margin_loss_forward"), shape, priority, [k](Operands& o, auto run) {
        int64_t const n = o.extent(logit_rows);
        T *const loss = o.empty<T>(n), *const z = o.values<T>(n * k);
        const int32_t *const labels = o.sequence<int32_t>(n, 7, int32_t(k)), *const others =
                                                                                 o.sequence<int32_t>(n, 5, int32_t(k));
        return [=] { run(loss, static_cast<const T*>(z), labels, others, 4, n, k); };
      }));
  cases.push_back(make_case<Kernel<T*, const T*, const T*, const int32_t*, const int32_t*, int, int64_t, int64_t>>(
      named<T>("margin_loss_backward"), shape, priority, [k](Operands& o, auto run) {
        int64_t const n = o.extent(logit_rows);
        T *const dz = o.empty<T>(n * k), *const dloss = o.values<T>(n), *const z = o.values<T>(n * k);
        const int32_t *const labels = o.sequence<int32_t>(n, 7, int32_t(k)), *const others =
                                                                                 o.sequence<int32_t>(n, 5, int32_t(k));
        return [=] { run(dz, static_cast<const T*>(dloss), static_cast<const T*>(z), labels, others, 4, n, k); };
      }));
  cases.push_back(make_case<Kernel<T*, const T*, const T*, int64_t, int64_t>>(
      named<T>("kl_divergence_forward"), shape, priority, [k](Operands& o, auto run) {
        int64_t const n = o.extent(logit_rows);
        T *const loss = o.empty<T>(n), *const p = o.values<T>(n * k), *const z = o.values<T>(n * k);
        return [=] { run(loss, static_cast<const T*>(p), static_cast<const T*>(z), n, k); };
      }));
  cases.push_back(make_case<Kernel<T*, const T*, const T*, const T*, int64_t, int64_t>>(
      named<T>("kl_divergence_backward"), shape, priority, [k](Operands& o, auto run) {
        int64_t const n = o.extent(logit_rows);
        T *const dz = o.empty<T>(n * k), *const dloss = o.values<T>(n), *const p = o.values<T>(n * k),
                 *const z = o.values<T>(n * k);
        return [=] { run(dz, static_cast<const T*>(dloss), static_cast<const T*>(p), static_cast<const T*>(z), n, k); };
      }));
}

void add_moves(std::vector<KernelCase>& cases) {
  std::string const shape = "128 images of 12288";
  for (const char* name : {"apgd_linf_step", "apgd_l2_step"})
    cases.push_back(make_case<Kernel<float*, float*, const float*, const float*, const float*, float, float, int64_t*,
                                     int64_t, int64_t>>(name, shape, 0, [](Operands& o, auto run) {
      int64_t const n = o.extent(images);
      float *const adv = o.values<float>(n * per_image), *const old = o.values<float>(n * per_image);
      const float *const x = o.values<float>(n * per_image), *const g = o.values<float>(n * per_image),
                         *const step = o.values<float>(n);
      auto* const bad = o.sequence<int64_t>(1);
      return [=] { run(adv, old, x, g, step, 0.75f, 0.5f, bad, n, per_image); };
    }));
  cases.push_back(make_case<Kernel<float*, const float*, const int64_t*, DrawKey, float, int64_t, int64_t>>(
      "linf_sphere_start", shape, 1, [](Operands& o, auto run) {
        int64_t const n = o.extent(images);
        auto* const adv = o.empty<float>(n * per_image);
        const float* const x = o.values<float>(n * per_image);
        const int64_t* const ids = o.sequence<int64_t>(n);
        return [=] { run(adv, x, ids, DrawKey{.seed = 1}, 8 / 255.f, n, per_image); };
      }));
}

}  // namespace

std::vector<KernelCase> apgd_cases() {
  std::vector<KernelCase> cases;
  for (int64_t k : {8, 1000}) {
    add_losses<float>(cases, 1, k);
    add_losses<double>(cases, 8, k);
  }
  add_moves(cases);
  return cases;
}

}  // namespace mith::bench
