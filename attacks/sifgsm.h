// Attacks on scaled copies: SI-FGSM and SI-NI-FGSM (Lin et al. 2020), Admix (Wang et al. 2021).
#pragma once
#include "attacks/momentum.h"

namespace mith {

/// g = mean over i < copies of grad_x CE(f(x / 2^i), y).
struct Sifgsm {
  static constexpr const char* name = "sifgsm";
  MomentumFrame frame;
  int copies = 5;

  Tensor estimate(GradientSource&, const MomentumStep&) const;
  void fields(Fields&);
};

/// The same where Nesterov's momentum leads.
struct Sinifgsm {
  static constexpr const char* name = "sinifgsm";
  MomentumFrame frame;
  int copies = 5;

  Tensor estimate(GradientSource&, const MomentumStep&) const;
  void fields(Fields&);
};

/// g = mean over `mixes` partners x' and i < scales of grad_x CE(f((x + eta x') / 2^i), y); x' a clean image of another
/// class.
struct Admix {
  static constexpr const char* name = "admix";
  MomentumFrame frame;
  float eta = 0.2f;
  int mixes = 3, scales = 5;

  Tensor estimate(GradientSource&, const MomentumStep&) const;
  void fields(Fields&);
};

}  // namespace mith
