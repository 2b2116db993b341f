// FGSM from a random start: R+FGSM (Tramer et al. 2018) and the attack of fast adversarial training (Wong et al. 2020).
#pragma once
#include <algorithm>

#include "attacks/driver.h"
#include "attacks/steps.h"

namespace mith {

/// A random sign step of length alpha, then `steps` sign steps in the ball. The paper has one, of the length
/// eps - alpha with alpha = eps / 2: rfgsm:eps=8/255,alpha=4/255,steps=1,second_step=4/255.
struct Rfgsm {
  static constexpr const char* name = "rfgsm";
  float eps = 8 / 255.f, alpha = 2 / 255.f;
  int steps = 10;
  float second_step = 0;  ///< length of the gradient steps; 0: alpha
  int64_t target = -1;

  float resolved_step() const { return second_step > 0 ? second_step : alpha; }
  Threat threat() const { return {.norm = "linf", .eps = eps, .target = target}; }
  Plan plan() const { return {.steps = steps, .random_start = alpha > 0}; }
  Tensor start(const Batch& b, const DrawKey& key) const { return random_signs(b, std::min(alpha, eps), key); }
  Loss loss(const Batch& b) const { return attack_loss(b, target); }
  void step(Tensor& adv, const Batch& b, const Tensor& gradient, StepInfo& info) const {
    sign_step_project(adv, b.x, gradient, resolved_step(), eps, info.nan_count);
  }
  void fields(Fields&);
};

/// One sign step from a uniform point of the ball, a little longer than the radius.
struct Ffgsm {
  static constexpr const char* name = "ffgsm";
  float eps = 8 / 255.f, alpha = 0;  ///< alpha 0: 1.25 eps
  bool random_start = true;
  int64_t target = -1;

  float resolved_alpha() const { return alpha > 0 ? alpha : 1.25f * eps; }
  Threat threat() const { return {.norm = "linf", .eps = eps, .target = target}; }
  Plan plan() const { return {.steps = 1, .random_start = random_start}; }
  Tensor start(const Batch& b, const DrawKey& key) const {
    return random_start ? uniform_in_linf_ball(b, eps, key) : b.x.clone();
  }
  Loss loss(const Batch& b) const { return attack_loss(b, target); }
  void step(Tensor& adv, const Batch& b, const Tensor& gradient, StepInfo& info) const {
    sign_step_project(adv, b.x, gradient, resolved_alpha(), eps, info.nan_count);
  }
  void fields(Fields&);
};

}  // namespace mith
