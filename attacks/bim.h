// BIM, the basic iterative method, also called I-FGSM (Kurakin, Goodfellow & Bengio 2017).
#pragma once
#include "attacks/driver.h"
#include "attacks/steps.h"

namespace mith {

/// FGSM in small steps from the clean image, projected after each: PGD without its random start.
struct Bim {
  static constexpr const char* name = "bim";
  float eps = 8 / 255.f, alpha = 2 / 255.f;
  int steps = 10;  ///< 0: Kurakin's rule, floor(min(255 eps + 4, 1.25 * 255 eps)), at least 1
  int64_t target = -1;

  int resolved_steps() const;
  float resolved_alpha() const { return alpha > 0 ? alpha : 2.5f * eps / static_cast<float>(resolved_steps()); }
  Threat threat() const { return {.norm = "linf", .eps = eps, .target = target}; }
  Plan plan() const { return {.steps = resolved_steps(), .memoryless = true}; }
  Tensor start(const Batch& b, const DrawKey&) const { return b.x.clone(); }
  Loss loss(const Batch& b) const { return attack_loss(b, target); }
  void step(Tensor& adv, const Batch& b, const Tensor& gradient, StepInfo& info) const {
    sign_step_project(adv, b.x, gradient, resolved_alpha(), eps, info.nan_count);
  }
  void fields(Fields&);
};

}  // namespace mith
