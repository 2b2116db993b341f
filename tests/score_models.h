// Models and images for the attacks on scores: not square, of two channels, written out on the host.
#pragma once
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "attacks/attack.h"
#include "engine/ops/arithmetic.h"
#include "tests/host_models.h"

namespace mith::score_tests {

constexpr int64_t h = 5, w = 7, c = 2, pixels = h * w * c;
inline const Shape image{h, w, c};

/// Weights drawn from U(-1, 1), one row a class.
inline std::vector<std::vector<double>> random_weights(int classes, uint64_t seed, double scale = 1) {
  std::vector<std::vector<double>> rows(static_cast<size_t>(classes), std::vector<double>(pixels));
  for (size_t k = 0; k < rows.size(); ++k)
    for (size_t j = 0; j < rows[k].size(); ++j)
      rows[k][j] = scale * (2 * double(uniform({.seed = seed, .purpose = Purpose::noise}, k, j)) - 1);
  return rows;
}

/// Linear in the image; remembers every logit it gave.
struct Linear : HostModel {
  explicit Linear(int classes = 2, double scale = 1, uint64_t seed = 3)
      : HostModel(image, random_weights(classes, seed, scale)) {}
  void spoil_logits(std::vector<float>& logits, const DrawKey&) const override {
    given.insert(given.end(), logits.begin(), logits.end());
  }
  mutable std::vector<float> given;
};

/// Logits that go up and down along every direction.
struct Wavy final : Linear {
  explicit Wavy(double scale = 1) : Linear(3, scale, 4) {}
  double activate(double v) const override { return 3 * std::sin(2 * v); }
  double slope(double v) const override { return 6 * std::cos(2 * v); }
};

/// Always of class 0, whatever the image.
struct Certain final : HostModel {
  Certain() : HostModel(image, std::vector<std::vector<double>>(2, std::vector<double>(pixels, 0))) {}
  void spoil_logits(std::vector<float>& logits, const DrawKey&) const override {
    for (size_t i = 0; i < logits.size(); i += 2) logits[i] = 1;
  }
};

/// Notes what its first layer that draws would draw in each pass.
struct Drawing final : Linear {
  Drawing() : Linear(3, 0.3) {}
  bool randomised() const override { return true; }
  Outputs run(const Batch& b, const Cotangent& cotangent, const Want& want, const DrawKey& key) override {
    draws.push_back(random_bits(key.with(Purpose::dropout, 0), 0, 0));
    return Linear::run(b, cotangent, want, key);
  }
  std::vector<uint32_t> draws;
};

/// n random images in [low, high], labelled as the model sees them, so that every one is right to begin with.
inline Batch images_of(Classifier& model, int64_t n, float low = 0, float high = 1) {
  std::vector<float> x;
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < n; ++i) {
    ids.push_back(7 * i + 3);
    for (uint64_t j = 0; j < pixels; ++j)
      x.push_back(low + (high - low) * uniform({.seed = 11, .purpose = Purpose::phantom}, static_cast<uint64_t>(i), j));
  }
  Batch b{Tensor::from(x, {n, h, w, c}), Tensor(), Tensor::from(ids, {n})};
  b.y = argmax(model.logits(b));
  return b;
}

inline std::vector<float> host(const Tensor& t) { return t.to_host<float>(); }
inline int64_t successes(const AttackResult& r) {
  return std::accumulate(r.success.begin(), r.success.end(), int64_t{0});
}
inline AttackResult run(const std::string& spec, Classifier& model, const Batch& b, const AttackOptions& options = {}) {
  return make_attack(spec)->run(model, b, options);
}

/// Every pass of the attack gives a model that draws something new to draw from.
inline void check_draws_anew(const std::string& spec) {
  CAPTURE(spec);
  Drawing model;
  Batch const b = images_of(model, 8);
  model.draws.clear();
  AttackOptions options;
  options.batch = 256;  // what is asked for at one time is one pass
  run(spec, model, b, options);
  CHECK(model.draws.size() > 1);
  CHECK(std::set(model.draws.begin(), model.draws.end()).size() == model.draws.size());
}

/// z_y - max_{i != y} z_i of each row.
inline std::vector<float> margins(const std::vector<float>& logits, size_t classes, size_t y) {
  std::vector<float> all;
  for (size_t row = 0; row < logits.size(); row += classes) {
    float other = -INFINITY;
    for (size_t k = 0; k < classes; ++k)
      if (k != y) other = std::max(other, logits[row + k]);
    all.push_back(logits[row + y] - other);
  }
  return all;
}

/// Equal results, bit for bit, for batches of 1, 7 and all images, in another order, and in padded passes.
template <class Check>
void for_every_split(const std::string& spec, Classifier& model, const Batch& b, Check check_equal) {
  AttackOptions options;
  options.seed = 9;
  int64_t const n = b.size();
  AttackResult const whole = run(spec, model, b, options);
  for (int64_t size : {1, 7}) {
    for (int64_t first = 0; first < n; first += size) {
      int64_t const count = std::min(size, n - first);
      check_equal(whole, first, run(spec, model, slice(b, first, count), options));
    }
  }
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.rbegin(), order.rend(), int64_t{0});
  AttackResult const turned = run(spec, model, select(b, order), options);
  AttackResult back = turned;
  back.adversarial = gather_rows(turned.adversarial, order);
  std::reverse(back.success.begin(), back.success.end());
  std::reverse(back.queries.begin(), back.queries.end());
  std::reverse(back.loss.begin(), back.loss.end());
  check_equal(whole, 0, back);
  options.batch = 4;
  check_equal(whole, 0, run(spec, model, b, options));
}

/// `part` is what `whole` says of the images from `first` on.
inline bool same(const AttackResult& whole, int64_t first, const AttackResult& part) {
  size_t const n = part.success.size(), at = static_cast<size_t>(first);
  auto const a = host(whole.adversarial), b = host(part.adversarial);
  bool equal = std::equal(b.begin(), b.end(), a.begin() + first * pixels);
  for (size_t i = 0; i < n; ++i)
    equal = equal && part.success[i] == whole.success[at + i] && part.queries[i] == whole.queries[at + i] &&
            part.loss[i] == whole.loss[at + i];
  return equal && b.size() == n * pixels;
}

}  // namespace mith::score_tests
