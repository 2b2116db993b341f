// The one-step attacks: FGSM (Goodfellow, Shlens & Szegedy 2015) in L-infinity, and its L2 form FGM.
#pragma once
#include "attacks/driver.h"
#include "attacks/steps.h"

namespace mith {

/// x + eps sign(grad CE(f(x), y)), limited to [0, 1].
struct Fgsm {
  static constexpr const char* name = "fgsm";
  float eps = 8 / 255.f;
  int64_t target = -1;

  Threat threat() const { return {.norm = "linf", .eps = eps, .target = target}; }
  Plan plan() const { return {.steps = 1}; }
  Tensor start(const Batch& b, const DrawKey&) const { return b.x.clone(); }
  Loss loss(const Batch& b) const { return attack_loss(b, target); }
  void step(Tensor& adv, const Batch& b, const Tensor& gradient, StepInfo& info) const {
    sign_step_project(adv, b.x, gradient, eps, eps, info.nan_count);
  }
  void fields(Fields&);
};

/// x + eps g / |g|_2 with g = grad CE(f(x), y), limited to [0, 1].
struct Fgm {
  static constexpr const char* name = "fgm";
  float eps = 1;
  int64_t target = -1;

  Threat threat() const { return {.norm = "l2", .eps = eps, .target = target}; }
  Plan plan() const { return {.steps = 1}; }
  Tensor start(const Batch& b, const DrawKey&) const { return b.x.clone(); }
  Loss loss(const Batch& b) const { return attack_loss(b, target); }
  void step(Tensor& adv, const Batch& b, const Tensor& gradient, StepInfo& info) const {
    l2_step_project(adv, b, gradient, eps, eps, std::nullopt, info.nan_count);
  }
  void fields(Fields&);
};

}  // namespace mith
