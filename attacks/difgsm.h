// DI-FGSM (Xie et al. 2019): the network sees each image resized and padded at random, and the gradient flows back
// through that.
#pragma once
#include "attacks/momentum.h"

namespace mith {

/// With `probability` an image is resized to r x r and padded with zeros, the same image the same way for every batch.
///   shrink    r ~ U{floor(rate S), ..., S - 1}, padded to S (torchattacks' geometry)
///   enlarge   S' = floor(rate S), r ~ U{S, ..., S' - 1}, padded to S' and resized to S (TransferAttack's)
/// Rows above and columns to the left ~ U{0, ..., padding - 1}. Height and width share the draw of r.
struct InputDiversity {
  float probability = 0.5f;
  float resize_rate = 0;  ///< 0: 0.9 or 1.1
  std::string mode = "shrink";

  double resolved_rate() const;  ///< throws UsageError where the rate is none of the mode's
  /// i32 [n,6] for the resize_pad kernels: size resized to, rows above, columns to the left, size padded to.
  Tensor geometry(const Tensor& images, const std::vector<int64_t>& ids, const DrawKey&) const;
  /// The direction of the gradient at `images` through the transform.
  Tensor direction(GradientSource&, const MomentumStep&, const Tensor& images) const;
  void fields(Fields&);
};

/// Images as `geometry` has it, and the adjoint; shapes stay.
Tensor resize_pad(const Tensor& images, const Tensor& geometry);
Tensor resize_pad_adjoint(const Tensor& gradient, const Tensor& geometry);

/// g = grad_x CE(f(T(adv)), y).
struct Difgsm {
  static constexpr const char* name = "difgsm";
  MomentumFrame frame;
  InputDiversity diversity;

  Tensor estimate(GradientSource& source, const MomentumStep& step) const {
    return diversity.direction(source, step, step.adv);
  }
  void fields(Fields& f) {
    frame.fields(f);
    diversity.fields(f);
  }
  void validate() const { diversity.resolved_rate(); }
};

}  // namespace mith
