// Random noise: what a perturbation of the same size does that knows nothing of the network. Every report needs it
// beside its attacks: an attack that noise outdoes has failed (attacks.md 0.9).
#pragma once
#include "attacks/driver.h"
#include "attacks/steps.h"

namespace mith {

/// Every pixel moved by +eps or -eps; the best of `restarts` draws. A start without steps.
struct Noise {
  static constexpr const char* name = "noise";
  float eps = 8 / 255.f;
  int restarts = 1;
  int64_t target = -1;

  Threat threat() const { return {.norm = "linf", .eps = eps, .access = "score", .target = target}; }
  Plan plan() const { return {.steps = 0, .restarts = restarts, .random_start = true}; }
  Tensor start(const Batch& b, const DrawKey& key) const { return random_signs(b, eps, key); }
  Loss loss(const Batch& b) const { return attack_loss(b, target); }
  void step(Tensor&, const Batch&, const Tensor&, StepInfo&) const {}
  void fields(Fields&);
};

}  // namespace mith
