// Small models and images with closed forms, for tests of attacks.
#pragma once
#include <algorithm>
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

/// Weights drawn from U(-size, size), one row a class.
inline std::vector<std::vector<double>> random_weights(int classes, uint64_t seed, double size = 1,
                                                       const Shape& of = image) {
  std::vector<std::vector<double>> w(static_cast<size_t>(classes), std::vector<double>(size_t(of[0] * of[1] * of[2])));
  for (size_t c = 0; c < w.size(); ++c)
    for (size_t j = 0; j < w[c].size(); ++j)
      w[c][j] = size * (2 * double(uniform({.seed = seed, .purpose = Purpose::noise}, c, j)) - 1);
  return w;
}

/// n random images in [low, high], labelled as the model sees them, so that every one is right to begin with.
inline Batch images_of(Classifier& model, int64_t n, float low = 0, float high = 1) {
  Shape const of = model.image_shape();
  std::vector<float> x;
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < n; ++i) {
    ids.push_back(7 * i + 3);
    for (uint64_t j = 0; j < uint64_t(of[0] * of[1] * of[2]); ++j)
      x.push_back(low + (high - low) * uniform({.seed = 11, .purpose = Purpose::phantom}, static_cast<uint64_t>(i), j));
  }
  Batch b{Tensor::from(x, {n, of[0], of[1], of[2]}), Tensor(), Tensor::from(ids, {n})};
  b.y = argmax(model.logits(b));
  return b;
}

struct Linear : HostModel {
  explicit Linear(int classes = 2, double size = 1, const Shape& of = image)
      : HostModel(of, random_weights(classes, 3, size, of)) {}
};

/// Logits that go up and down along every direction: iterates overshoot, restarts matter.
struct Wavy : HostModel {
  explicit Wavy(double size = 1, const Shape& of = image) : HostModel(of, random_weights(3, 4, size, of)) {}
  double activate(double v) const override { return 3 * std::sin(4 * v); }
  double slope(double v) const override { return 12 * std::cos(4 * v); }
};

/// Logits that do not depend on the image.
struct Constant : HostModel {
  explicit Constant(const Shape& of = image) : HostModel(of, random_weights(2, 3, 0, of)) {}
};

/// A gradient that is NaN at the first pixel of every image, from its pass number `first` on.
struct NanGradient : Linear {
  explicit NanGradient(int first = 0, double size = 1, const Shape& of = image) : Linear(2, size, of), left(first) {}
  void spoil(std::vector<float>& g) const override {
    if (left-- > 0) return;
    Shape const of = image_shape();
    for (size_t i = 0; i < g.size(); i += size_t(of[0] * of[1] * of[2])) g[i] = std::nanf("");
  }
  mutable int left;
};

/// Noise on its logits, drawn as layers draw: through with(), which replaces what the key says of purpose and stream.
struct Drawing : HostModel {
  explicit Drawing(const Shape& of = image) : HostModel(of, random_weights(3, 3, 1, of)) {}
  bool randomised() const override { return true; }
  double noise(const DrawKey& key, int64_t id, size_t c) const override {
    return double(normal(key.with(Purpose::dropout, 1), static_cast<uint64_t>(id), c));
  }
  void spoil_logits(std::vector<float>&, const DrawKey& key) const override {
    drawn.push_back(random_bits(key.with(Purpose::dropout, 1), 0, 0));
  }
  bool drew_anew_in_every_pass() const {
    std::vector<uint32_t> sorted = drawn;
    std::sort(sorted.begin(), sorted.end());
    return std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end();
  }
  mutable std::vector<uint32_t> drawn;  ///< a number for each pass
};

inline std::vector<float> host(const Tensor& t) { return t.to_host<float>(); }
inline int64_t successes(const AttackResult& r) {
  return std::accumulate(r.success.begin(), r.success.end(), int64_t{0});
}

}  // namespace mith::fixtures
