// PGN (Ge et al. 2023): towards flat maxima, by penalising the norm of the gradient.
#pragma once
#include "attacks/momentum.h"

namespace mith {

/// Ascends CE - lambda |grad CE| around the iterate. The penalty's gradient is a finite difference: with r ~ U(-zeta
/// eps, zeta eps) in every pixel, g1 = grad CE(adv + r) and g2 = grad CE(adv + r - alpha g1 / mean |g1|),
/// g = mean over neighbours of (1 - gamma) g1 + gamma g2.
struct Pgn {
  static constexpr const char* name = "pgn";
  MomentumFrame frame;
  int neighbours = 20;
  float zeta = 3, gamma = 0.5f;

  Tensor estimate(GradientSource&, MomentumStep&) const;
  void fields(Fields&);
};

/// images + length g / mean |g|, the mean over one image; an image whose gradient is zero stays. Not limited to [0, 1].
Tensor mean_size_step(const Tensor& images, const Tensor& gradient, float length);

}  // namespace mith
