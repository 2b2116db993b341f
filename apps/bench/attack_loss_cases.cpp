// Cases of the losses that attacks use beside the cross-entropy.
#include "apps/bench/case_builder.h"

namespace mith::bench {
namespace {

constexpr int64_t logit_rows = 4096;

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

}  // namespace

std::vector<KernelCase> attack_loss_cases() {
  std::vector<KernelCase> cases;
  for (int64_t k : {8, 1000}) {
    add_losses<float>(cases, 1, k);
    add_losses<double>(cases, 8, k);
  }
  return cases;
}

}  // namespace mith::bench
