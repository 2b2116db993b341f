// STM, the style transfer method (Ge et al. 2023), with random styles in place of its trained style network: STM-R.
#pragma once
#include "attacks/momentum.h"

namespace mith {

/// g = mean over `copies` of the gradient at gamma x + (1 - gamma) style(x) + U(-beta eps, beta eps). Styles: randconv,
/// a random convolution of the image with the image's own channel means and deviations; adain_pixel, the image with the
/// channel means and deviations of a random clean one. The paper's network is not offered: it comes with weights.
struct Stm {
  static constexpr const char* name = "stm";
  MomentumFrame frame;
  int copies = 20;
  float gamma = 0.5f, beta = 2, jitter = 0.1f;
  std::string style = "mixed";  ///< randconv, adain_pixel, or half of the copies each

  Tensor estimate(GradientSource&, const MomentumStep&) const;
  void fields(Fields&);
};

}  // namespace mith
