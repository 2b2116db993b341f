// PGD over the expectation of a random model's loss, EOT (Athalye, Carlini & Wagner 2018).
#pragma once
#include "attacks/driver.h"
#include "attacks/steps.h"

namespace mith {

/// PGD whose steps follow the average of the loss's gradients over passes with noise of their own. An image counts as
/// fooled by the average of its logits.
struct EotPgd {
  static constexpr const char* name = "eotpgd";
  float eps = 8 / 255.f, alpha = 2 / 255.f;
  int steps = 10, eot = 2, restarts = 1;
  bool random_start = true;
  int64_t target = -1;

  float resolved_alpha() const { return alpha > 0 ? alpha : 2.5f * eps / static_cast<float>(steps); }
  Threat threat() const { return {.norm = "linf", .eps = eps, .target = target}; }
  Plan plan() const { return {.steps = steps, .restarts = restarts, .random_start = random_start, .passes = eot}; }
  Tensor start(const Batch& b, const DrawKey& key) const {
    return random_start ? uniform_in_linf_ball(b, eps, key) : b.x.clone();
  }
  Loss loss(const Batch& b) const { return attack_loss(b, target, eot); }
  void step(Tensor& adv, const Batch& b, const Tensor& gradient, StepInfo& info) const {
    sign_step_project(adv, b.x, gradient, resolved_alpha(), eps, info.nan_count);
  }
  void fields(Fields&);
};

}  // namespace mith
