#include "kernels/providers/fixed_weights.h"

#include <utility>

#include "kernels/launch/runtime.h"

namespace mith {
namespace {

thread_local FixedWeights* in_use = nullptr;

}  // namespace

FixedWeights::FixedWeights(const std::vector<const void*>& weights) {
  for (const void* w : weights) packed_[w];
}

FixedWeights::~FixedWeights() {
  for (auto const& [weights, layouts] : packed_)
    for (auto const& [layout, data] : layouts) raw_release(Device::cpu, data);
}

FixedWeights::Use::Use(FixedWeights* weights) : previous_(std::exchange(in_use, weights)) {}
FixedWeights::Use::~Use() { in_use = previous_; }

FixedWeights::Packed FixedWeights::find(const void* weights, int layout, size_t bytes) {
  if (!in_use) return {};
  auto const known = in_use->packed_.find(weights);
  if (known == in_use->packed_.end()) return {};
  void*& form = known->second[layout];
  bool const fresh = !form;
  if (fresh) form = raw_allocate(Device::cpu, bytes, "packed weights");  // may throw, and be tried again
  return {form, fresh};
}

size_t FixedWeights::forms() const {
  size_t sum = 0;
  for (auto const& [weights, forms] : packed_) sum += forms.size();
  return sum;
}

}  // namespace mith
