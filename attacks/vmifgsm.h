// VMI-FGSM and VNI-FGSM (Wang & He 2021): the gradient is tuned by how it varied around the iterate before.
#pragma once
#include "attacks/momentum.h"

namespace mith {

/// g = G(adv) + v, then v = mean over neighbours r of G(adv + r) - G(adv), with G = grad CE and r ~ U(-beta eps, beta
/// eps) in every pixel. The first v is zero.
struct Vmifgsm {
  static constexpr const char* name = "vmifgsm";
  MomentumFrame frame;
  int neighbours = 20;
  float beta = 1.5f;

  Tensor estimate(GradientSource&, MomentumStep&) const;
  void fields(Fields&);
};

/// The same with all gradients taken around NI-FGSM's look-ahead point.
struct Vnifgsm {
  static constexpr const char* name = "vnifgsm";
  MomentumFrame frame;
  int neighbours = 20;
  float beta = 1.5f;

  Tensor estimate(GradientSource&, MomentumStep&) const;
  void fields(Fields&);
};

}  // namespace mith
