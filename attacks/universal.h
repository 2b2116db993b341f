// Universal attacks: one perturbation or patch for all images, crafted on a set and then applied to any.
//
// Crafting goes through the set in passes. After each the whole state is in one struct, from which crafting continues
// to the same bytes. An attack states how it begins, what one pass does, and how an image is changed; the rest is here.
#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "attacks/adam.h"
#include "attacks/passes.h"
#include "engine/train/batch_source.h"

namespace mith {

/// What one pass over the set found, measured on the way.
struct CraftingPass {
  double objective = 0;  ///< mean over the images of what is maximised
  double fooled = 0;     ///< share of the images that are taken for another class, or for the target
};

/// A universal perturbation or patch, and how far its crafting has come. Tensors are never changed in place once the
/// struct is handed out.
struct Universal {
  Tensor values;         ///< f32 [h,w,c] in [-eps, eps], or a patch [p,p,c] in [0, 1]
  Tensor current;        ///< what the next step moves, where `values` are the best met so far; else undefined
  Adam adam;             ///< its moments, where Adam moves the values
  int64_t steps = 0;     ///< updates, or directions tried
  double objective = 0;  ///< sum over the set, and images fooled, at `values`: where the next step depends on them
  int64_t fooled = 0;
  bool finished = false;
  std::vector<CraftingPass> passes;
  int64_t queries = 0, gradients = 0;  ///< images passed forward, and backward
  int64_t nan_gradients = 0;           ///< pixels that did not count because their gradient was NaN
};

/// What crafting works with.
struct Crafting {
  Classifier& model;
  const BatchSource& set;
  const AttackOptions& options;
  std::vector<int64_t> positions;  ///< of the set: all, without images of the target class
  std::vector<int32_t> clean;      ///< predictions of the clean images, by position; empty: not asked for
};

class UniversalAttack : public Attack {
 public:
  /// Called after every pass.
  using AfterPass = std::function<void(const Universal&)>;
  /// Crafts on the set, from the beginning or from where `from` stands. Tells the progress with every batch it takes.
  Universal craft(Classifier&, const BatchSource& set, const AttackOptions&, const AfterPass& = {},
                  Universal from = {}) const;
  /// The images with the perturbation: f32 [n,h,w,c] in [0, 1]. Random poses are drawn by the images' ids.
  virtual Tensor apply(const Universal&, const Batch&, const AttackOptions&) const = 0;
  /// Applies what was crafted and keeps the books as every attack does.
  AttackResult attack(Classifier&, const Universal&, const Batch&, const AttackOptions&) const;
  /// Crafts on the very batch that is attacked.
  AttackResult run(Classifier&, const Batch&, const AttackOptions&) const final;
  virtual std::string name() const = 0;
  /// "perturbation" or "patch".
  virtual std::string kind() const { return "perturbation"; }

 protected:
  virtual int passes() const = 0;  ///< at most
  virtual bool needs_clean_predictions() const { return false; }
  virtual Universal begin(const Shape& image, const AttackOptions&) const = 0;
  /// Goes through the set once, appends to `passes`, and says if it is finished early.
  virtual void pass(const Crafting&, Universal&) const = 0;
};

/// A universal attack by its spec; UsageError if the spec names another kind.
std::unique_ptr<UniversalAttack> make_universal(const std::string& spec);

/// The whole state as a safetensors file, and back; UsageError if the file is another attack's or damaged.
void write_universal(const std::filesystem::path&, const Universal&, const std::string& spec);
Universal read_universal(const std::filesystem::path&, const std::string& spec);

/// Adam on what all images share: loss(f(compose(x, values)), y) is maximised over the set in shuffled batches, and the
/// values are limited after every step (attacks.md 8.1, 9.1).
class AdamUniversal : public UniversalAttack {
 public:
  Tensor apply(const Universal&, const Batch&, const AttackOptions&) const final;

 protected:
  struct Plan {
    float rate = 0.01f;
    int passes = 1;
    int64_t batch = 32;  ///< images of one step
    float low = 0, high = 1;
    int64_t target = -1;
  };
  virtual Plan plan() const = 0;
  virtual Tensor start(const Shape& image, const AttackOptions&) const = 0;
  /// The attacked images; random poses are drawn from the key.
  virtual Tensor compose(const Tensor& values, const Batch&, const DrawKey&) const = 0;
  /// The mean over the images of the gradient with respect to `values`, from the gradient at the composed images.
  virtual Tensor gradient(const Tensor& values, const Batch&, const Outputs&, const DrawKey&) const = 0;
  /// What follows a step and its limits.
  virtual Tensor after_step(const Tensor& values) const { return values; }

 private:
  int passes() const final { return plan().passes; }
  Universal begin(const Shape& image, const AttackOptions&) const final;
  void pass(const Crafting&, Universal&) const final;
};

/// Positions in an order drawn for this pass.
std::vector<int64_t> pass_order(const Crafting&, const std::string& attack, size_t pass);
/// Images that a pass of crafting sees at once: `wanted`, or fewer if the run allows fewer.
int64_t at_once(const AttackOptions&, int64_t wanted);
/// How many of the images are as the attack wants: taken for `target`, or with a negative one for another class.
int64_t count_fooled(const Tensor& logits, const std::vector<int32_t>& classes, int64_t target);

/// clamp(x + v, 0, 1): x f32 [n,h,w,c], v f32 [h,w,c].
Tensor add_universal(const Tensor& x, const Tensor& v);
/// Mean over the images of their gradients f32 [n,h,w,c] -> [h,w,c], without NaN and without images whose loss has
/// reached `cap`; `exact`: without the pixels of x + v that the clamp to [0, 1] holds.
Tensor mean_gradient(const Tensor& x, const Tensor& v, const Tensor& gradient, const Tensor& loss, float cap,
                     bool exact);
/// Mean over the images of the sign of each element: f32 [n,h,w,c] -> [h,w,c].
Tensor mean_sign(const Tensor& delta);
/// clamp(v + delta, -limit, limit), in place.
void shift_universal(Tensor& v, const Tensor& delta, float limit);
/// v in its ball: scaled to the L2 norm eps if it is longer, or limited to [-eps, eps].
Tensor project_universal(const Tensor& v, const std::string& norm, float eps);

}  // namespace mith
