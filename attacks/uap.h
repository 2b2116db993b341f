// Universal perturbations: one v for all images, clamp(x + v, 0, 1).
#pragma once
#include "attacks/universal.h"

namespace mith {

/// Adam on v, the mean cross-entropy over the set maximised; v <- clamp(v, -eps, eps) after every step.
class Uap final : public AdamUniversal {
 public:
  struct Config {
    float eps = 0.05f, rate = 0.01f;
    int passes = 10;
    int64_t batch = 32;
    std::string clamp_grad = "exact";  ///< or "pass": as if the clamp to [0, 1] were not there
    float loss_cap = 0;                ///< images whose loss has reached it do not count; 0: all count
    int64_t target = -1;
    void fields(Fields&);
  };
  explicit Uap(Config config) : c_(std::move(config)) {}
  Threat threat() const override { return {.norm = "linf", .eps = c_.eps, .access = "universal", .target = c_.target}; }
  std::string spec() const override { return spec_text(c_, "uap"); }
  std::string name() const override { return "uap"; }

 protected:
  Plan plan() const override {
    return {
        .rate = c_.rate, .passes = c_.passes, .batch = c_.batch, .low = -c_.eps, .high = c_.eps, .target = c_.target};
  }
  Tensor start(const Shape& image, const AttackOptions&) const override { return Tensor::zeros(image); }
  Tensor compose(const Tensor& v, const Batch& b, const DrawKey&) const override { return add_universal(b.x, v); }
  Tensor gradient(const Tensor& v, const Batch& b, const Outputs&, const DrawKey&) const override;

 private:
  Config c_;
};

/// Moosavi-Dezfooli et al. 2017, algorithm 1: an image that v does not fool yet is pushed across its nearest boundary,
/// and v with it; v is projected onto its ball after every update. Each update undoes what the last ones did across the
/// same boundary, so of few classes the last v may fool hardly any image: the best v met is what is returned.
class UapDeepFool final : public UniversalAttack {
 public:
  struct Config {
    float eps = 10 / 255.f;
    std::string norm = "linf";
    float delta = 0.2f;  ///< finished when 1 - delta of the images are fooled
    int passes = 10;
    int64_t batch = 1;  ///< images that move v together; 1: one after another
    std::string inner = "deepfool";
    int steps = 10;           ///< of DeepFool; an image that needs the last of them does not count
    float overshoot = 0.02f;  ///< of DeepFool
    float inner_eps = 0.0024f;
    int64_t target = -1;
    void fields(Fields&);
  };
  explicit UapDeepFool(Config config);
  Threat threat() const override {
    return {.norm = c_.norm, .eps = c_.eps, .access = "universal", .target = c_.target};
  }
  std::string spec() const override { return spec_text(c_, "uap-deepfool"); }
  std::string name() const override { return "uap-deepfool"; }
  Tensor apply(const Universal& u, const Batch& b, const AttackOptions&) const override {
    return add_universal(b.x, u.values);
  }

 protected:
  int passes() const override { return c_.passes; }
  bool needs_clean_predictions() const override { return true; }
  Universal begin(const Shape& image, const AttackOptions&) const override {
    Universal u;
    u.values = Tensor::zeros(image);
    return u;
  }
  void pass(const Crafting&, Universal&) const override;

 private:
  /// A call's number tells its draws from other calls'.
  void update(const Crafting&, Universal&, const std::vector<int64_t>& positions, int call) const;
  void judge(const Crafting&, Universal&, const std::vector<int64_t>& judges, int call) const;
  /// Of a perturbation on the images at these positions: sums.
  struct Found {
    int64_t fooled = 0;
    double objective = 0;
  };
  Found measure(const Crafting&, Universal&, const Tensor& v, const std::vector<int64_t>& positions,
                const DrawKey&) const;
  Config c_;
  std::unique_ptr<Attack> inner_;
};

}  // namespace mith
