// What attacks on scores share: they ask about candidates, see logits and nothing else, and every answer is a query.
#pragma once
#include <memory>
#include <string>
#include <utility>

#include "attacks/attack.h"
#include "attacks/passes.h"
#include "attacks/pick.h"

namespace mith {

/// What a score-based attack makes small for each image; z are the logits, y the label. Of a target t it is always
/// logsumexp_{i != t} z_i - z_t, which falls as the cross-entropy against t does.
enum class Objective : uint8_t {
  margin,      ///< z_y - max_{i != y} z_i
  probability  ///< z_y - logsumexp_{i != y} z_i: the log-odds of p_y, which however sure a model is do not round to 1
};

struct Score {
  double value;  ///< the objective; NaN is never better
  bool fooled;   ///< another class than the label, or the target, has the highest logit; ties go to the lowest class
};

/// The score of one row of logits, whose class to leave or (targeted) to reach is `goal`.
Score score_of(const float* logits, int64_t classes, int32_t goal, bool targeted, Objective);
/// As AttackResult has it: minus the margin, or the cross-entropy (minus it, of a target).
float loss_of(const Score&, bool targeted, Objective);

/// A whole number in [0, n), n < 2^32, each as likely as the others to 2^-32.
inline int64_t draw_below(const DrawKey& key, uint64_t image, uint64_t element, int64_t n) {
  return static_cast<int64_t>((uint64_t{random_bits(key, image, element)} * static_cast<uint64_t>(n)) >> 32);
}

/// One attack on one batch: the images still under attack ("active"; numbered from 0 in the batch's order), queries and
/// the result. Evaluation begins with the images that the model gets right (a clean pass says which), training with
/// all.
class ScoreRun {
 public:
  ScoreRun(std::string attack, Classifier&, const Batch&, const AttackOptions&, Objective, int64_t target);

  int64_t size() const { return static_cast<int64_t>(images_.size()); }
  bool empty() const { return images_.empty(); }
  bool evaluation() const { return options_.evaluation; }
  const Batch& clean() const { return clean_; }  ///< of the active images
  uint64_t id(int64_t i) const { return image(i).id; }
  /// The best class but the label, of the clean image.
  int32_t runner_up(int64_t i) const { return image(i).runner_up; }
  const Score& best(int64_t i) const { return image(i).best; }
  void accept(int64_t i, const Score& score) { images_[static_cast<size_t>(i)].best = score; }
  bool better(int64_t i, const Score& score) const { return score.fooled || score.value < best(i).value; }

  /// Scores of candidates, a query each. Candidate r is one of active image owners[r]; without owners, of image r.
  /// `iteration` keys what a randomised model draws.
  std::vector<Score> query(const Tensor& candidates, int64_t iteration, const std::vector<int64_t>& owners = {});
  /// The same of logits that are there already; counts the passes.
  std::vector<Score> judge(const Tensor& logits, const std::vector<int64_t>& owners = {});
  void count_gradients();  ///< one for every active image

  /// The images with done[i] leave with images[i] as what became of them; returns the others' numbers. The caller's own
  /// tensors follow by gather_rows, its vectors by pick.
  std::vector<int64_t> leave(const Tensor& images, const std::vector<uint8_t>& done);
  /// All leave; the result.
  AttackResult finish(const Tensor& images);

  void progress(int64_t done, int64_t total) const;
  const Passes& passes() const { return passes_; }
  DrawKey model_key(int64_t iteration) const;  ///< what a randomised model draws from in one pass
  /// A stream of draws of the attack's own; draws of one image count on in the element.
  DrawKey draws(int stream) const;
  Tensor nan_count;  ///< i64 [1]

 private:
  struct Image {
    int64_t row;  ///< of the batch
    uint64_t id;
    int32_t goal, runner_up;
    Score best;
  };
  const Image& image(int64_t i) const { return images_[static_cast<size_t>(i)]; }
  void open(const Batch&, int64_t target);

  std::string attack_;
  const AttackOptions& options_;
  Objective objective_;
  bool targeted_;
  Passes passes_;
  std::vector<Image> images_;
  Batch clean_;
  AttackResult result_;
};

/// A configuration struct with name, run, threat and fields as an Attack. Batches without images are given back.
template <class C>
class ScoreAttack final : public Attack {
 public:
  explicit ScoreAttack(C config) : config_(std::move(config)) {}
  AttackResult run(Classifier& model, const Batch& b, const AttackOptions& options) const override {
    if (b.size() == 0) return {.adversarial = b.x};
    return config_.run(model, b, options);
  }
  Threat threat() const override { return config_.threat(); }
  std::string spec() const override { return spec_text(config_, C::name); }

 private:
  C config_;
};

template <class C>
AttackRegistry::Add register_score(Entry entry) {
  return AttackRegistry::Add(std::move(entry), default_fields<C>(), [](const Spec& spec) -> std::unique_ptr<Attack> {
    return std::make_unique<ScoreAttack<C>>(configure<C>(spec, std::string("attack ") + C::name));
  });
}

}  // namespace mith
