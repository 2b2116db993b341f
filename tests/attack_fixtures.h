// Small models and images with closed forms, for tests of attacks.
#pragma once
#include <cmath>
#include <numeric>
#include <vector>

#include "attacks/driver.h"
#include "engine/ops/arithmetic.h"
#include "tests/host_models.h"

namespace mith::fixtures {

inline constexpr int64_t side = 6, pixels = side * side;
inline const Shape image{side, side, 1};

template <class C>
AttackResult run(C config, Classifier& model, const Batch& batch, const AttackOptions& options = {}) {
  return Iterative<C>(config).run(model, batch, options);
}
inline AttackOptions training() {
  AttackOptions o;
  o.evaluation = false;
  return o;
}

/// Weights drawn from U(-1, 1), one row a class.
inline std::vector<std::vector<double>> random_weights(int classes, uint64_t seed) {
  std::vector<std::vector<double>> w(static_cast<size_t>(classes), std::vector<double>(pixels));
  for (size_t c = 0; c < w.size(); ++c)
    for (size_t j = 0; j < w[c].size(); ++j)
      w[c][j] = 2 * double(uniform({.seed = seed, .purpose = Purpose::noise}, c, j)) - 1;
  return w;
}

/// n random images in [low, high], labelled as the model sees them, so that every one is right to begin with.
inline Batch images_of(Classifier& model, int64_t n, float low = 0, float high = 1) {
  std::vector<float> x;
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < n; ++i) {
    ids.push_back(7 * i + 3);
    for (uint64_t j = 0; j < pixels; ++j)
      x.push_back(low + (high - low) * uniform({.seed = 11, .purpose = Purpose::phantom}, static_cast<uint64_t>(i), j));
  }
  Batch b{Tensor::from(x, {n, side, side, 1}), Tensor(), Tensor::from(ids, {n})};
  b.y = argmax(model.logits(b));
  return b;
}

struct Linear final : HostModel {
  explicit Linear(int classes = 2, double scale = 1) : HostModel(image, scaled(classes, scale)) {}
  static std::vector<std::vector<double>> scaled(int classes, double scale) {
    auto w = random_weights(classes, 3);
    for (auto& row : w)
      for (double& v : row) v *= scale;
    return w;
  }
};

/// Logits that go up and down along every direction: iterates overshoot, restarts matter.
struct Wavy final : HostModel {
  Wavy() : HostModel(image, random_weights(3, 4)) {}
  double activate(double v) const override { return 3 * std::sin(4 * v); }
  double slope(double v) const override { return 12 * std::cos(4 * v); }
};

/// Logits that do not depend on the image.
struct Constant final : HostModel {
  Constant() : HostModel(image, std::vector<std::vector<double>>(2, std::vector<double>(pixels, 0))) {}
};

inline std::vector<float> host(const Tensor& t) { return t.to_host<float>(); }
inline int64_t successes(const AttackResult& r) {
  return std::accumulate(r.success.begin(), r.success.end(), int64_t{0});
}

}  // namespace mith::fixtures
