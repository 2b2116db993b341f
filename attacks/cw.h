// C&W: the minimum-norm attack of Carlini & Wagner 2017 in L2.
#pragma once
#include "attacks/attack.h"

namespace mith {

/// min |x_adv - x|_2^2 + c max(0, A + kappa) by Adam, A the margin by which the label (or any class before the target)
/// leads, with a search for the smallest c that succeeds, image by image.
struct Cw {
  static constexpr const char* name = "cw";
  int search_steps = 9, steps = 10000;
  float rate = 0.01f, c = 1e-3f, kappa = 0;
  bool abort_early = true;
  /// How pixels are kept in [0, 1]: x_adv = (tanh w + 1) / 2 with Adam on w, or Adam on the pixels, clipped. A pixel at
  /// exactly 0 or 1 has a slope of 1e-6 by w, so that in images with black borders only "clip" moves those.
  std::string cw_box = "tanh";
  int64_t target = -1;

  Threat threat() const { return {.norm = "l2", .target = target}; }
  AttackResult run(Classifier& model, const Batch& batch, const AttackOptions& options) const {
    return run_as(name, model, batch, options);
  }
  void fields(Fields&);

 protected:
  /// `called`: the attack's name in errors.
  AttackResult run_as(const char* called, Classifier&, const Batch&, const AttackOptions&) const;
};

/// 2500 of 90000 passes, from a constant at which most networks give way sooner.
struct CwFast : Cw {
  static constexpr const char* name = "cw-fast";
  CwFast() {
    search_steps = 5;
    steps = 500;
    c = 1e-2f;
  }
  AttackResult run(Classifier& model, const Batch& batch, const AttackOptions& options) const {
    return run_as(name, model, batch, options);
  }
};

}  // namespace mith
