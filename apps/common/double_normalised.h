// The error of the LC25000 study's notebooks, for docs/findings.md: images are divided by 255 before a model that
// normalises them itself, so that the network sees an almost black image (attacks.md 1.1).
#pragma once
#include <string>

#include "engine/classifier/classifier.h"
#include "engine/ops/arithmetic.h"

namespace mith {

/// f(x / 255). Does not own the model.
class DoubleNormalised final : public Classifier {
 public:
  explicit DoubleNormalised(Classifier& model) : model_(model) {}
  int64_t classes() const override { return model_.classes(); }
  Shape image_shape() const override { return model_.image_shape(); }
  bool randomised() const override { return model_.randomised(); }
  bool consistent() const override { return model_.consistent(); }
  std::string name() const override { return model_.name() + ", images divided by 255 once more"; }
  std::string gradient_path() const override { return model_.gradient_path(); }

 protected:
  Outputs run(const Batch& b, const Cotangent& cotangent, const Want& want, const DrawKey& key) override {
    Outputs out = model_.evaluate({scale(b.x, 1 / 255.), b.y, b.ids}, cotangent, want, key);
    if (out.input_gradient.defined()) out.input_gradient = scale(out.input_gradient, 1 / 255.);
    return out;
  }

 private:
  Classifier& model_;
};

}  // namespace mith
