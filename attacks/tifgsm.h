// TI-FGSM (Dong et al. 2019): the gradient is smoothed, which stands for attacking the image at many small shifts.
#pragma once
#include "attacks/difgsm.h"

namespace mith {

/// g = W * grad CE(f(adv), y), each channel for itself, with zeros beyond the borders; W = w w^T.
struct Tifgsm {
  static constexpr const char* name = "tifgsm";
  MomentumFrame frame;
  std::string kernel = "gaussian";
  int kernel_size = 0;  ///< odd; 0: 15 for images of 299 pixels, in proportion for others, at least 3
  InputDiversity diversity{.probability = 0};

  Tensor estimate(GradientSource&, const MomentumStep&) const;
  void fields(Fields&);
  void validate() const;
};

/// The odd number nearest to 15 side / 299, at least 3.
int smoothing_size(int64_t side);
/// w [size], of sum 1: a normal density from -3 to 3 deviations, all equal, or falling linearly to both sides.
std::vector<float> smoothing_weights(const std::string& kind, int size);
/// Images [n,h,w,c] convolved with w w^T.
Tensor smooth(const Tensor& images, const std::vector<float>& weights);

}  // namespace mith
