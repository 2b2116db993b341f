// The loop that every iterative attack shares.
//
// An attack is a plain struct: its fields with defaults, and
//   static constexpr const char* name = "pgd";
//   Threat threat() const;
//   Plan   plan() const;                                             how often, and whether the start is drawn
//   Tensor start(const Batch&, const DrawKey&) const;                the first iterate, a tensor of its own
//   Loss   loss(const Batch&) const;                                 what to make large; or, with the clean logits,
//   Loss   loss(const Batch&, const Tensor& clean_logits) const;
//   void   step(Tensor& adv, const Batch&, const Tensor& gradient, StepInfo&) const;
//   void   fields(Fields&);
// It is registered by register_iterative<Pgd>(entry). The driver does the rest: restarts, clean predictions, the best
// iterate, early success, counts.
#pragma once
#include <memory>
#include <utility>

#include "attacks/attack.h"

namespace mith {

struct Plan {
  int steps = 1;
  int restarts = 1;           ///< 1 to 255; without a random start one is made
  bool random_start = false;  ///< false: the attack starts at the clean image
  int passes = 1;             ///< passes whose average each step follows, for models that draw (EOT)
  bool clean_logits = false;  ///< the loss needs them
  /// A step follows from the iterate and its gradient alone. Then an image that comes back to an iterate has seen all
  /// it ever will, and leaves, unless the model draws or is not consistent.
  bool memoryless = false;
};

/// What a step may need besides the gradient.
struct StepInfo {
  DrawKey key;        ///< a stream of its own for this restart and iteration
  int iteration = 0;  ///< from 0
  Tensor nan_count;   ///< i64 [1]: pixels left in place because their gradient was NaN
};

/// An iterative attack as the loop sees it, so that the loop is compiled once and a frozen network may capture it.
class IterativeAttack : public Attack {
 public:
  virtual Plan plan() const = 0;
  virtual Tensor start(const Batch&, const DrawKey&) const = 0;
  /// `clean_logits` f32 [n,k]: undefined unless the plan asks for them.
  virtual Loss loss(const Batch&, const Tensor& clean_logits) const = 0;
  virtual void step(Tensor& adv, const Batch&, const Tensor& gradient, StepInfo&) const = 0;
  virtual std::string name() const = 0;
  AttackResult run(Classifier&, const Batch&, const AttackOptions&) const final;
};

/// The cross-entropy of the true labels, or of one target class for all images (target < 0: untargeted). Steps use the
/// gradient's direction only, so it is asked for in the form that cannot underflow; an average over `passes` needs the
/// gradient as it is.
Loss attack_loss(const Batch&, int64_t target, int passes = 1);

/// A configuration struct as an Attack.
template <class C>
class Iterative final : public IterativeAttack {
 public:
  explicit Iterative(C config) : config_(std::move(config)) {}
  Plan plan() const override { return config_.plan(); }
  Tensor start(const Batch& b, const DrawKey& key) const override { return config_.start(b, key); }
  Loss loss(const Batch& b, const Tensor& clean_logits) const override {
    if constexpr (requires { config_.loss(b, clean_logits); })
      return config_.loss(b, clean_logits);
    else
      return config_.loss(b);
  }
  void step(Tensor& adv, const Batch& b, const Tensor& gradient, StepInfo& info) const override {
    config_.step(adv, b, gradient, info);
  }
  std::string name() const override { return C::name; }
  std::string spec() const override { return spec_text(config_, C::name); }
  Threat threat() const override { return config_.threat(); }

 private:
  C config_;
};

template <class C>
AttackRegistry::Add register_iterative(Entry entry) {
  return AttackRegistry::Add(std::move(entry), default_fields<C>(), [](const Spec& spec) -> std::unique_ptr<Attack> {
    return std::make_unique<Iterative<C>>(configure<C>(spec, std::string("attack ") + C::name));
  });
}

}  // namespace mith
