// U-SimBA: one perturbation for all images from scores alone (Koga & Takemoto 2022).
#pragma once
#include "attacks/dct.h"
#include "attacks/universal.h"

namespace mith {

class USimba final : public UniversalAttack {
 public:
  struct Config {
    float eps = 0.04f;
    std::string norm = "linf";
    float step = 0.2f;
    int steps = 1000;
    std::string basis = "dct";
    int64_t freq_dim = 28, stride = 7;
    float delta = 0.01f;
    int64_t target = -1;
    void fields(Fields&);
  };
  explicit USimba(Config config);
  Threat threat() const override {
    return {.norm = c_.norm, .eps = c_.eps, .access = "universal", .target = c_.target};
  }
  std::string spec() const override { return spec_text(c_, "u-simba"); }
  std::string name() const override { return "u-simba"; }
  Tensor apply(const Universal& u, const Batch& b, const AttackOptions&) const override {
    return add_universal(b.x, u.values);
  }

 protected:
  int passes() const override { return (c_.steps + directions_a_pass - 1) / directions_a_pass; }
  Universal begin(const Shape& image, const AttackOptions&) const override {
    Universal u;
    u.values = Tensor::zeros(image);
    return u;
  }
  void pass(const Crafting&, Universal&) const override;

 private:
  static constexpr int directions_a_pass = 50;
  /// Sums over the crafting set of p_y, or of p_t, and how many images are fooled, for each of the candidates.
  struct Score {
    double probability = 0;
    int64_t fooled = 0;
  };
  std::vector<Score> scores(const Crafting&, Universal&, const std::vector<Tensor>& candidates) const;
  DirectionOrder direction_order(const Shape& image, const AttackOptions&, int64_t round) const;
  Tensor moved(const Tensor& v, const Directions&, const Direction&, float step) const;
  Config c_;
};

}  // namespace mith
