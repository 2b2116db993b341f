// Classifiers written out on the host, so that attacks can be compared with closed forms.
#pragma once
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "engine/classifier/classifier.h"

namespace mith {

/// A classifier given by each image's logits z = s(W x) with a scalar function s of each; the rest follows.
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
  /// The last word on an image's gradient, for models that misbehave.
  virtual void spoil(std::vector<float>&) const {}
  virtual void spoil_logits(std::vector<float>&, const DrawKey&) const {}

  Outputs run(const Batch& b, const Cotangent& cotangent, const Want& want, const DrawKey& key) override {
    const Loss& loss = std::get<Loss>(cotangent);
    size_t const n = static_cast<size_t>(b.size()), k = weights_.size(), d = weights_[0].size();
    auto const x = b.x.to_host<float>();
    std::vector<int32_t> labels(n, 0);
    if (loss.labels.defined()) labels = loss.labels.to_host<int32_t>();
    std::vector<float> logits, losses, gradient;
    for (size_t i = 0; i < n; ++i) {
      std::vector<double> before(k, 0), z(k);
      for (size_t c = 0; c < k; ++c) {
        for (size_t j = 0; j < d; ++j) before[c] += weights_[c][j] * double(x[i * d + j]);
        z[c] = activate(before[c]);
        logits.push_back(static_cast<float>(z[c]));
      }
      size_t const y = static_cast<size_t>(labels[i]);
      double others = 0;  // sum over the other classes of exp(z - z_y)
      for (size_t c = 0; c < k; ++c)
        if (c != y) others += std::exp(std::min(z[c] - z[y], 700.0));
      double const sign = loss.targeted ? -1 : 1;
      losses.push_back(static_cast<float>(sign * std::log1p(others)));
      // d CE / d z is p_c for the others and p_y - 1; divided by 1 - p_y if only the direction matters.
      double const size = loss.direction_only ? 1 : static_cast<float>(others / (1 + others));
      for (size_t j = 0; j < d; ++j) {
        double g = -slope(before[y]) * weights_[y][j];
        for (size_t c = 0; c < k; ++c)
          if (c != y) g += share(z, c, y) * slope(before[c]) * weights_[c][j];
        gradient.push_back(static_cast<float>(sign * size * g));
      }
    }
    spoil(gradient);
    spoil_logits(logits, key);
    Outputs out;
    int64_t const count = b.size();
    if (want.logits) out.logits = Tensor::from(logits, {count, classes()});
    if (want.loss) out.loss = Tensor::from(losses, {count});
    if (want.input_gradient) out.input_gradient = Tensor::from(gradient, b.x.shape());
    return out;
  }

 private:
  /// p_c / (1 - p_y).
  static double share(const std::vector<double>& z, size_t c, size_t y) {
    double sum = 0;
    for (size_t i = 0; i < z.size(); ++i)
      if (i != y) sum += std::exp(z[i] - z[c]);
    return 1 / sum;
  }
  Shape image_;
  std::vector<std::vector<double>> weights_;
};

}  // namespace mith
