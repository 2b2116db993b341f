// Passes of any number of images through a model, as many at once as a run's --batch says.
#pragma once
#include "attacks/attack.h"

namespace mith {

/// Cuts what is asked for into passes of `batch` images; fewer are filled up by repeating some, so that a library's
/// choice of kernel, and so the last bit, does not depend on how many are asked for (AttackOptions::batch).
class Passes {
 public:
  /// `batch` 0: all images at once, whatever their number.
  Passes(Classifier& model, int64_t batch) : model_(model), batch_(batch) {}

  /// Classifier::evaluate for n images; the cotangent's tensors have n rows. Features are not given.
  Outputs evaluate(const Batch&, const Cotangent&, const Want&, const DrawKey& = {}) const;
  /// The averages of `count` passes, each with the key of its number: what a model that draws gives on average.
  Outputs average(const Batch&, const Cotangent&, const Want&, int count,
                  const std::function<DrawKey(int pass)>& key) const;
  /// Logits only: one query an image.
  Tensor logits(const Batch& b, const DrawKey& key = {}) const {
    return evaluate(b, Loss{}, {.logits = true}, key).logits;
  }
  /// The gradient of the weighted sum of logits, weights f32 [n,k].
  Tensor gradient_of_logits(const Batch& b, const Tensor& weights, const DrawKey& key = {}) const {
    return evaluate(b, OnLogits{weights}, {.input_gradient = true}, key).input_gradient;
  }
  Classifier& model() const { return model_; }

 private:
  Classifier& model_;
  int64_t batch_;
};

}  // namespace mith
