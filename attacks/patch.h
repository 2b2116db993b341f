// Adversarial patches: a square of pixels for all images, crafted by Adam on a set.
#pragma once
#include "attacks/universal.h"

namespace mith {

/// A patch P blended into a fixed window: (1 - beta) x + beta P there, x elsewhere. P starts as U(0, 1) and is smoothed
/// after every step.
class Patch final : public AdamUniversal {
 public:
  struct Config {
    int64_t size = 10;
    float beta = 0.05f, rate = 0.01f;
    int passes = 20;
    int64_t batch = 32, row = -1, col = -1;
    float smooth_sigma = 1;
    int64_t target = -1;
    void fields(Fields&);
  };
  explicit Patch(const Config& config) : c_(config) {}
  Threat threat() const override {
    return {.norm = "region", .eps = c_.beta, .access = "universal", .target = c_.target};
  }
  std::string spec() const override { return spec_text(c_, "patch"); }
  std::string name() const override { return "patch"; }
  std::string kind() const override { return "patch"; }
  /// The window's top left pixel and side in images [h,w,c]; UsageError if it does not lie inside.
  struct Window {
    int64_t row, col, size;
  };
  Window window(const Shape& image) const;

 protected:
  Plan plan() const override { return {.rate = c_.rate, .passes = c_.passes, .batch = c_.batch, .target = c_.target}; }
  Tensor start(const Shape& image, const AttackOptions&) const override;
  Tensor compose(const Tensor& patch, const Batch&, const DrawKey&) const override;
  Tensor gradient(const Tensor& patch, const Batch&, const Outputs&, const DrawKey&) const override;
  Tensor after_step(const Tensor& patch) const override { return gaussian_smooth(patch, c_.smooth_sigma); }

 private:
  /// Each channel of [p,p,c] by a Gaussian of this deviation, cut at three of them, mirrored at the border.
  static Tensor gaussian_smooth(const Tensor& patch, float sigma);
  Config c_;
};

/// Brown et al. 2017: a round patch that is turned, scaled and moved anew for each image and step (EOT).
class PatchEot final : public AdamUniversal {
 public:
  struct Config {
    int64_t size = 0;
    float beta = 1, rate = 0.02f;
    int passes = 20;
    int64_t batch = 16;
    float rotation = 22.5f, scale_min = 0.1f, scale_max = 0.4f;
    int64_t target = -1;
    void fields(Fields&);
  };
  explicit PatchEot(const Config& config);
  Threat threat() const override {
    return {.norm = "region", .eps = c_.beta, .access = "universal", .target = c_.target};
  }
  std::string spec() const override { return spec_text(c_, "patch-eot"); }
  std::string name() const override { return "patch-eot"; }
  std::string kind() const override { return "patch"; }
  /// Share of the images that were right (and are not of the target class) and are as wanted under a patch of this
  /// scale, a share of the image's shorter side.
  double success_at_scale(Classifier&, const Universal&, const BatchSource&, const AttackOptions&, float scale) const;
  float scale_min() const { return c_.scale_min; }
  float scale_max() const { return c_.scale_max; }

 protected:
  Plan plan() const override { return {.rate = c_.rate, .passes = c_.passes, .batch = c_.batch, .target = c_.target}; }
  Tensor start(const Shape& image, const AttackOptions&) const override;
  Tensor compose(const Tensor& patch, const Batch&, const DrawKey&) const override;
  Tensor gradient(const Tensor& patch, const Batch&, const Outputs&, const DrawKey&) const override;

 private:
  /// Centre x and y, side, cosine and sine for every image: f32 [n,5]. The circle lies inside the image.
  Tensor poses(const Batch&, const DrawKey&) const;
  Config c_;
};

}  // namespace mith
