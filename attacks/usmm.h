// USMM (uniform scale and mix mask): momentum steps on copies that are scaled and masked by another image.
#pragma once
#include "attacks/momentum.h"

namespace mith {

/// Copies clamp(s_i x M, 0, 1) with s_i in even steps from low to high and M = 1 - r + 2 r x', x' a clean image of
/// another class.
struct Usmm {
  static constexpr const char* name = "usmm";
  MomentumFrame frame;
  float low = 0.1f, high = 0.75f;
  int scales = 5, mixes = 3;
  float r = 0.5f;
  std::string usmm_grad = "copy";  ///< copy: the copies' gradients as they are; chain: those of the image

  Tensor estimate(GradientSource&, const MomentumStep&) const;
  void fields(Fields&);
};

}  // namespace mith
