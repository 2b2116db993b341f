// PGD, projected gradient descent (Madry et al. 2018, section 3), in the L-infinity and the L2 ball.
#pragma once
#include "attacks/driver.h"
#include "attacks/steps.h"

namespace mith {

struct Pgd {
  static constexpr const char* name = "pgd";
  float eps = 8 / 255.f, alpha = 2 / 255.f;
  int steps = 10, restarts = 1;
  bool random_start = true;
  int64_t target = -1;

  float resolved_alpha() const { return alpha > 0 ? alpha : 2.5f * eps / static_cast<float>(steps); }
  Threat threat() const { return {.norm = "linf", .eps = eps, .target = target}; }
  Plan plan() const { return {.steps = steps, .restarts = restarts, .random_start = random_start, .memoryless = true}; }
  Tensor start(const Batch& b, const DrawKey& key) const {
    return random_start ? uniform_in_linf_ball(b, eps, key) : b.x.clone();
  }
  Loss loss(const Batch& b) const { return attack_loss(b, target); }
  void step(Tensor& adv, const Batch& b, const Tensor& gradient, StepInfo& info) const {
    sign_step_project(adv, b.x, gradient, resolved_alpha(), eps,
                      info.nan_count);  // step, ball and [0, 1] in one kernel
  }
  void fields(Fields&);
};

struct PgdL2 {
  static constexpr const char* name = "pgd-l2";
  float eps = 1, alpha = 0.2f;
  int steps = 10, restarts = 1;
  bool random_start = true;
  std::string l2_start = "uniform";  ///< or "torchattacks", whose draws crowd the centre
  int64_t target = -1;

  float resolved_alpha() const { return alpha > 0 ? alpha : 2.5f * eps / static_cast<float>(steps); }
  Threat threat() const { return {.norm = "l2", .eps = eps, .target = target}; }
  Plan plan() const { return {.steps = steps, .restarts = restarts, .random_start = random_start}; }
  Tensor start(const Batch& b, const DrawKey& key) const {
    if (!random_start) return b.x.clone();
    return draw_in_l2_ball(b, eps, l2_start == "uniform" ? L2Start::uniform : L2Start::torchattacks, key);
  }
  Loss loss(const Batch& b) const { return attack_loss(b, target); }
  void step(Tensor& adv, const Batch& b, const Tensor& gradient, StepInfo& info) const {
    l2_step_project(adv, b, gradient, resolved_alpha(), eps, info.key, info.nan_count);
  }
  void fields(Fields&);
};

}  // namespace mith
