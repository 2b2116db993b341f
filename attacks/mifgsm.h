// MI-FGSM (Dong et al. 2018) and NI-FGSM (Lin et al. 2020): one gradient a step, with momentum.
#pragma once
#include "attacks/momentum.h"

namespace mith {

/// g = grad CE(f(adv), y).
struct Mifgsm {
  static constexpr const char* name = "mifgsm";
  MomentumFrame frame;

  Tensor estimate(GradientSource& source, const MomentumStep& step) const { return source.direction(step.adv); }
  void fields(Fields& f) { frame.fields(f); }
};

/// Nesterov's momentum: g = grad CE(f(adv + alpha mu m), y).
struct Nifgsm {
  static constexpr const char* name = "nifgsm";
  MomentumFrame frame;

  Tensor estimate(GradientSource& source, const MomentumStep& step) const { return source.direction(look_ahead(step)); }
  void fields(Fields& f) { frame.fields(f); }
};

}  // namespace mith
