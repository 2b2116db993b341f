// What the minimum-norm attacks share: norms, class-wise gradients, and the books of the nearest success so far.
//
// They look for the smallest change that fools the network, image by image. An image that is wrong to begin with needs
// none and stays as it is, and so does one for which nothing was found. In training too: it has the clean pass, the
// restarts and the books of evaluation, unlike what AttackOptions::evaluation says of other attacks.
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "attacks/attack.h"
#include "attacks/passes.h"

namespace mith {

enum class Norm : uint8_t { linf, l2, l1 };
/// "linf", "l2" or "l1".
Norm norm_named(const std::string&);
/// The norm that measures gradients where `norm` measures steps: L1 for L-infinity, L-infinity for L1.
Norm dual(Norm norm);
/// Norm of each image's gradient [n,...]. Elements that are not finite count as zero, and in `nan_count` (i64 [1]).
std::vector<float> gradient_norms(Norm, const Tensor& gradients, Tensor& nan_count);
/// Distance of each image of a from its fellow in b.
std::vector<float> distances(Norm, const Tensor& a, const Tensor& b);
/// adv <- x + share (adv - x), a share for each image.
void shrink_distance(Tensor& adv, const Tensor& x, const std::vector<float>& share);

/// How the logits of other classes lie to each image's label, and how to change that: m classes an image.
struct ClassGradients {
  std::vector<float> gaps;  ///< z_k - z_y, [n * m], image by image
  Tensor gradients;         ///< of the gaps by the image, f32 [n * m, h, w, c]
};
/// `others`: m classes for each of the n images, image by image.
ClassGradients class_gradients(const Passes&, const Batch&, const std::vector<int32_t>& others, const DrawKey&);

/// The class whose linearised boundary is nearest, for each image.
struct NearestBoundary {
  std::vector<int64_t> chosen;  ///< its row of the gradients
  std::vector<float> gap;       ///< of ClassGradients
  std::vector<float> length;    ///< the gradient's, by the dual norm; 0 where no class has a gradient to follow
};
NearestBoundary nearest_boundary(Norm, const ClassGradients&, size_t images, Tensor& nan_count);

/// Some images of the batch, by row, whose attack goes on.
using Rows = std::vector<int64_t>;

/// Which images are to be attacked, and the nearest success for each.
class NearestSuccess {
 public:
  struct Goal {
    std::string attack;  ///< for errors and draws
    Norm norm = Norm::l2;
    int64_t target = -1;  ///< the class to reach; negative: any but the label
    double eps = -1;      ///< further away is no success; negative: any distance counts
  };
  /// Passes the clean images. Throws UsageError for a label or a target beyond the model's classes, or for one class.
  NearestSuccess(Goal, Classifier&, const Batch&, const AttackOptions&);

  const Passes& passes() const { return passes_; }
  Tensor& nan_count() { return nan_count_; }
  /// What a randomised model draws from in one pass; every pass has its own.
  DrawKey model_key(int restart, int iteration, int pass = 0) const;
  /// Images that are right to begin with, and not of the target class.
  const Rows& open() const { return open_; }
  /// Those of them without a success.
  Rows standing() const;
  int32_t label(int64_t row) const { return labels_[static_cast<size_t>(row)]; }
  bool succeeded(int64_t row) const { return result_.success[static_cast<size_t>(row)] != 0; }
  /// `count` other classes for each of the rows, image by image: those of the largest clean logits, without the first
  /// `skipped`.
  std::vector<int32_t> rivals(const Rows&, int64_t skipped, int64_t count) const;

  /// Whether each of the rows is taken for another class, or for the target.
  std::vector<uint8_t> fooled(const Rows&, const Tensor& logits) const;
  /// Enters images of the rows that fool and lie nearer than any before.
  void enter(const Rows&, const Tensor& images, const std::vector<uint8_t>& fooled, const std::vector<float>& distance);
  /// Counts passes of each of the rows.
  void count(const Rows&, int64_t forwards, int64_t backwards);
  void progress(int64_t done, int64_t total) const;
  /// The result: the nearest successes, with the cross-entropy of what is returned.
  AttackResult finish();

 private:
  Goal goal_;
  const Batch& batch_;
  const AttackOptions& options_;
  Passes passes_;
  Tensor nan_count_;
  std::vector<int32_t> labels_;
  std::vector<float> clean_logits_, best_;
  Rows open_;
  AttackResult result_;
};

/// A configuration struct with run(), threat() and fields() as an Attack.
template <class C>
class MinimumNorm final : public Attack {
 public:
  explicit MinimumNorm(C config) : config_(std::move(config)) {}
  AttackResult run(Classifier& model, const Batch& batch, const AttackOptions& options) const override {
    if (batch.size() == 0) return {.adversarial = batch.x};
    return config_.run(model, batch, options);
  }
  std::string spec() const override { return spec_text(config_, C::name); }
  Threat threat() const override { return config_.threat(); }

 private:
  C config_;
};

template <class C>
AttackRegistry::Add register_minimum_norm(Entry entry) {
  return AttackRegistry::Add(std::move(entry), default_fields<C>(), [](const Spec& spec) -> std::unique_ptr<Attack> {
    return std::make_unique<MinimumNorm<C>>(configure<C>(spec, std::string("attack ") + C::name));
  });
}

}  // namespace mith
