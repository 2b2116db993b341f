// The frame of the transfer attacks: MI-FGSM's momentum and step (Dong et al. 2018, algorithm 1) around an estimate of
// the gradient that each attack makes in its own way.
//
//   adv = x, m = 0;  steps times:
//     g   = estimate(adv, m)
//     m   = mu m + g / mean |g|,  the mean over one image; an image whose g is zero adds nothing
//     adv = P(adv + alpha sign(m)),  P onto the ball and [0, 1]
//
// An attack is a plain struct:
//   static constexpr const char* name = "nifgsm";
//   MomentumFrame frame;                                       radius, steps, momentum
//   Tensor estimate(GradientSource&, MomentumStep&) const;     f32 [n,h,w,c], shaped as the images
//   void   fields(Fields& f) { frame.fields(f); ... }
//   void   validate() const;                                   if need be: UsageError where fields do not go together
// It is registered by register_momentum<Nifgsm>(entry). Such attacks are made on a surrogate to fool another network:
// the number of steps is fixed, nobody leaves early, and the last iterate is returned (attacks.md 0.6 and 4).
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "attacks/passes.h"

namespace mith {

struct MomentumFrame {
  float eps = 16 / 255.f, alpha = 0;  ///< pixel units; alpha 0: eps / steps
  int steps = 10;
  float mu = 1;  ///< how much of the momentum a step keeps
  int64_t target = -1;
  bool keep_best = false;  ///< evaluation: the last iterate that fools, or the one of the highest loss; a pass a step

  float resolved_alpha() const { return alpha > 0 ? alpha : eps / static_cast<float>(steps); }
  /// "white": the attack differentiates the network it runs on. A report calls it transfer where that is a surrogate.
  Threat threat() const { return {.norm = "linf", .eps = eps, .access = "white", .target = target}; }
  void fields(Fields&);
};

/// One iteration as an estimate of the gradient sees it.
struct MomentumStep {
  const Batch& clean;            ///< the images under attack, with their labels and ids
  const Tensor& adv;             ///< their iterates
  const Tensor& momentum;        ///< after the last step; zero at first
  Tensor& memory;                ///< the attack's own, kept from one iteration to the next; undefined at first
  int iteration = 0, steps = 1;  ///< from 0; of how many
  float alpha = 0, mu = 0, eps = 0;
  DrawKey key;  ///< a stream for this iteration's draws; the passes draw from another
};

/// adv + alpha mu m, where the next step would lead if the gradient were zero (Lin et al. 2020, eq. 6); may leave the
/// ball and [0, 1].
Tensor look_ahead(const MomentumStep&);
/// Copies [first, first + count) of each image of `centre`, moved by U(-radius, radius) a pixel, [n * count,h,w,c]; may
/// leave [0, 1]. A copy's draws depend on the step's key, the image's id and the copy's number alone.
Tensor uniform_neighbours(const MomentumStep&, const Tensor& centre, float radius, int64_t first, int64_t count);

/// Gradients of what the attack maximises, CE(f(x), y), or -CE(f(x), t) if targeted, for the images under attack.
/// Counts the passes and cuts them to options.batch; a random model draws anew for each.
class GradientSource {
 public:
  /// `attack`: its name; `whole`: the batch that `clean` was taken from.
  GradientSource(std::string attack, Classifier&, const Batch& clean, const Batch& whole, const AttackOptions&,
                 int64_t target);

  /// At one image each, [n,h,w,c], up to a positive factor per image, so that it cannot underflow: for attacks that
  /// do not weigh gradients against each other.
  Tensor direction(const Tensor& images) { return pass(images, 1, true); }
  /// At `copies` images each, [n * copies,h,w,c]: row i * copies + j is copy j of image i. True to size.
  Tensor gradient(const Tensor& images, int64_t copies = 1) { return pass(images, copies, false); }

  /// Gradients of copies [first, first + count) of each image, [n * count,h,w,c] with respect to the image itself; one
  /// such tensor, or several to be added up.
  using OfCopies = std::function<std::vector<Tensor>(int64_t first, int64_t count)>;
  /// Sum over copies of weight * gradient, [n,h,w,c]; `weights` are those of the first tensors' copies, then those of
  /// the second's. Without weights the mean. Asks for as many copies at once as fill a few passes; how many does not
  /// change a bit. Equal copies have exactly their own gradient as mean.
  Tensor average(int64_t copies, const OfCopies&, std::vector<double> weights = {});

  /// Ids of the images under attack, on the host: attacks draw by them.
  const std::vector<int64_t>& ids() const { return ids_; }
  /// Clean images for mixing attacks to take partners from: the options', or the whole batch.
  const Batch& partners() const { return options_.partners.x.defined() ? options_.partners : whole_; }

  /// Something that makes the result doubtful, for the report; however often it is said, once.
  void warn(const std::string& text);

  // For the frame.
  const std::vector<std::string>& warnings() const { return warnings_; }
  void begin(int iteration) { iteration_ = iteration, pass_ = 0; }
  int64_t spent() const { return spent_; }  ///< forward and backward passes an image

 private:
  struct Labels {
    Tensor y, ids;
  };
  const Labels& repeated(int64_t copies);
  Tensor pass(const Tensor& images, int64_t copies, bool direction_only);

  std::string attack_;
  const Batch &clean_, &whole_;
  const AttackOptions& options_;
  int64_t target_, at_once_;
  Passes passes_;
  std::vector<int64_t> ids_;
  std::vector<std::string> warnings_;
  std::map<int64_t, Labels> repeated_;  ///< by number of copies
  int iteration_ = 0, pass_ = 0;
  int64_t spent_ = 0;
};

/// An attack of this frame, so that the loop is compiled once.
class MomentumAttack : public Attack {
 public:
  virtual const MomentumFrame& frame() const = 0;
  virtual Tensor estimate(GradientSource&, MomentumStep&) const = 0;
  virtual std::string name() const = 0;
  Threat threat() const final { return frame().threat(); }
  AttackResult run(Classifier&, const Batch&, const AttackOptions&) const final;
};

/// A configuration struct as an Attack.
template <class C>
class Momentum final : public MomentumAttack {
 public:
  explicit Momentum(C config) : config_(std::move(config)) {
    if constexpr (requires { config_.validate(); }) config_.validate();
  }
  const MomentumFrame& frame() const override { return config_.frame; }
  Tensor estimate(GradientSource& source, MomentumStep& step) const override { return config_.estimate(source, step); }
  std::string name() const override { return C::name; }
  std::string spec() const override { return spec_text(config_, C::name); }

 private:
  C config_;
};

template <class C>
AttackRegistry::Add register_momentum(Entry entry) {
  return AttackRegistry::Add(std::move(entry), default_fields<C>(), [](const Spec& spec) -> std::unique_ptr<Attack> {
    return std::make_unique<Momentum<C>>(configure<C>(spec, std::string("attack ") + C::name));
  });
}

}  // namespace mith
