// Classifiers written out on the host, so that attacks can be compared with closed forms.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "engine/autograd/tape.h"
#include "engine/classifier/classifier.h"

namespace mith {

/// A classifier given by each image's logits z = s(W x) with a scalar function s of each: in double up to the logits,
/// whose losses are the engine's.
class HostModel : public Classifier {
 public:
  /// `weights` [k][h*w*c].
  HostModel(Shape image, std::vector<std::vector<double>> weights) : image_(image), weights_(std::move(weights)) {}
  int64_t classes() const override { return static_cast<int64_t>(weights_.size()); }
  Shape image_shape() const override { return image_; }
  std::string name() const override { return "host model"; }

 protected:
  virtual double activate(double v) const { return v; }
  virtual double slope(double) const { return 1; }
  /// Noise on the class's share of W x, for random models.
  virtual double noise(const DrawKey&, int64_t /*id*/, size_t /*c*/) const { return 0; }
  /// The last word on an image's gradient, for models that misbehave.
  virtual void spoil(std::vector<float>&) const {}
  virtual void spoil_logits(std::vector<float>&, const DrawKey&) const {}

  Outputs run(const Batch& b, const Cotangent& cotangent, const Want& want, const DrawKey& key) override {
    size_t const n = static_cast<size_t>(b.size()), k = weights_.size(), d = weights_[0].size();
    auto const x = b.x.to_host<float>();
    auto const ids = b.ids.defined() ? b.ids.to_host<int64_t>() : std::vector<int64_t>(n, 0);
    std::vector<double> before(n * k);
    std::vector<float> values;
    for (size_t i = 0; i < n; ++i)
      for (size_t c = 0; c < k; ++c) {
        before[i * k + c] = noise(key, ids[i], c);
        for (size_t j = 0; j < d; ++j) before[i * k + c] += weights_[c][j] * double(x[i * d + j]);
        values.push_back(static_cast<float>(activate(before[i * k + c])));
      }
    spoil_logits(values, key);
    Tensor const logits = Tensor::from(values, {b.size(), classes()});
    Outputs out;
    if (want.logits) out.logits = logits;
    if (!want.loss && !want.input_gradient) return out;

    Tensor slopes;  // of what is differentiated by the logits
    if (auto const* loss = std::get_if<Loss>(&cotangent)) {
      Tape tape;
      tape.watch(logits);
      Tensor const losses = loss_of(logits, *loss);
      if (want.loss) out.loss = losses;
      slopes = tape.gradient(losses, Tensor::full({b.size()}, 1), logits);
    } else {
      slopes = std::get<OnLogits>(cotangent).weights;
    }
    if (!want.input_gradient) return out;
    auto const of_logits = slopes.to_host<float>();
    std::vector<float> gradient;
    for (size_t i = 0; i < n; ++i)
      for (size_t j = 0; j < d; ++j) {
        double g = 0;
        for (size_t c = 0; c < k; ++c) g += double(of_logits[i * k + c]) * slope(before[i * k + c]) * weights_[c][j];
        gradient.push_back(static_cast<float>(g));
      }
    spoil(gradient);
    out.input_gradient = Tensor::from(gradient, b.x.shape());
    return out;
  }

 private:
  Shape image_;
  std::vector<std::vector<double>> weights_;
};

}  // namespace mith
