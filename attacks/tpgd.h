// The inner attack of TRADES (Zhang et al. 2019): PGD away from the model's own clean probabilities.
#pragma once
#include "attacks/driver.h"
#include "attacks/steps.h"
#include "engine/ops/loss.h"

namespace mith {

/// Needs no labels. At the clean image itself the divergence has no gradient, so the start is jittered.
struct Tpgd {
  static constexpr const char* name = "tpgd";
  float eps = 8 / 255.f, alpha = 2 / 255.f;
  int steps = 10, restarts = 1;
  float jitter = 1e-3f;  ///< deviation of the Gaussian start; with 0 the attack stays where it is

  float resolved_alpha() const { return alpha > 0 ? alpha : 2.5f * eps / static_cast<float>(steps); }
  Threat threat() const { return {.norm = "linf", .eps = eps}; }
  Plan plan() const { return {.steps = steps, .restarts = restarts, .random_start = true, .clean_logits = true}; }
  Tensor start(const Batch& b, const DrawKey& key) const {
    Tensor adv = gaussian_noise(b, jitter, key);
    project_linf(adv, b.x, eps);
    return adv;
  }
  Loss loss(const Batch&, const Tensor& clean_logits) const {
    return {.kind = Loss::kl, .labels = {}, .probabilities = softmax(clean_logits)};
  }
  void step(Tensor& adv, const Batch& b, const Tensor& gradient, StepInfo& info) const {
    sign_step_project(adv, b.x, gradient, resolved_alpha(), eps, info.nan_count);
  }
  void fields(Fields&);
};

}  // namespace mith
