#include "attacks/momentum.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "attacks/attack_books.h"
#include "attacks/draws.h"
#include "attacks/driver.h"
#include "engine/ops/arithmetic.h"
#include "kernels/launch/table.h"

namespace mith {
namespace {

const Kernel<float*, float*, const float*, const float*, float, float, float, int64_t*, int64_t, int64_t>
    momentum_sign_step{"momentum_sign_step"};
const Kernel<double*, const float*, const double*, int64_t, int64_t, int64_t, int64_t> sum_copies{"sum_copies"};

const Kernel<float*, const float*, const int64_t*, DrawKey, float, int64_t, int64_t, int64_t, int64_t>
    add_uniform_noise{"uniform_neighbours"};

constexpr int passes_ahead = 4;  ///< copies made at once fill about as many passes: enough, and memory stays small

/// One run of an attack over one batch.
class Run {
 public:
  Run(const MomentumAttack& attack, Classifier& model, const Batch& batch, const AttackOptions& options)
      : attack_(attack), model_(model), batch_(batch), options_(options), passes_(model, options.batch) {
    if (options.evaluation) {
      books_.emplace(attack.name(), batch, target(), model.classes());
      Outputs const clean = judge(batch, -1);
      books_->open(clean.logits, clean.loss, 1, 0);
      rows_ = books_->open_rows();
    } else {
      check_goals(attack.name(), batch, target(), model.classes());
      rows_.resize(static_cast<size_t>(batch.size()));
      std::iota(rows_.begin(), rows_.end(), int64_t{0});
    }
  }

  AttackResult all_steps();

 private:
  int64_t target() const { return attack_.frame().target; }
  /// The gradients' passes draw as restart 0.
  Outputs judge(const Batch& b, int iteration) const {
    return passes_.evaluate(b, attack_loss(b, target()), {.logits = true, .loss = true},
                            model_key(attack_.name(), options_, 1, iteration));
  }

  const MomentumAttack& attack_;
  Classifier& model_;
  const Batch& batch_;
  const AttackOptions& options_;
  Passes passes_;
  std::optional<AttackBooks> books_;  // in evaluation
  std::vector<int64_t> rows_;         ///< of the batch: the images under attack
};

AttackResult Run::all_steps() {
  MomentumFrame const& frame = attack_.frame();
  bool const everyone = static_cast<int64_t>(rows_.size()) == batch_.size();
  Batch const clean = everyone ? batch_ : select(batch_, rows_);
  int const steps = clean.size() > 0 ? frame.steps : 0;
  GradientSource source(attack_.name(), model_, clean, batch_, options_, target());
  Tensor adv = clean.x.clone(), momentum = Tensor::zeros_like(clean.x), memory;
  Tensor const nan_count = Tensor::zeros({1}, DType::i64, clean.x.device());
  int64_t const n = clean.size(), per_image = n ? clean.x.numel() / n : 0;
  for (int i = 0; i < steps; ++i) {
    source.begin(i);
    MomentumStep step{.clean = clean,
                      .adv = adv,
                      .momentum = momentum,
                      .memory = memory,
                      .iteration = i,
                      .steps = steps,
                      .alpha = frame.resolved_alpha(),
                      .mu = frame.mu,
                      .eps = frame.eps,
                      .key = draw_key(attack_.name(), options_, Purpose::noise, 0, i)};
    Tensor const gradient = attack_.estimate(source, step);
    check(gradient.shape() == adv.shape(), "attack ", attack_.name(), ": a gradient of ", gradient.shape(), " for ",
          adv.shape());
    momentum_sign_step(adv.stream(), adv.data<float>(), momentum.data<float>(), clean.x.data<float>(),
                       gradient.data<float>(), frame.mu, step.alpha, frame.eps, nan_count.data<int64_t>(), n,
                       per_image);
    if (books_ && (frame.keep_best || i + 1 == steps)) {
      Outputs const out = judge({adv, clean.y, clean.ids}, i + 1);
      books_->count(rows_, 1, 0);
      books_->enter(rows_, adv, out.logits, out.loss.to_host<float>(), frame.keep_best);
    }
    if (options_.progress) options_.progress({.done = i + 1, .total = frame.steps});
  }
  if (books_) books_->count(rows_, static_cast<int>(source.spent()), static_cast<int>(source.spent()));
  AttackResult result = books_ ? std::move(books_->result()) : AttackResult{.adversarial = adv};
  result.warnings = source.warnings();
  result.nan_gradients = nan_count.to_host<int64_t>().front();
  check(!options_.strict || result.nan_gradients == 0, "attack ", attack_.name(), ": the gradient is NaN at ",
        result.nan_gradients, " pixels");
  return result;
}

}  // namespace

void MomentumFrame::fields(Fields& f) {
  f.number("eps", eps, "radius of the ball, in pixel units", 0, 1);
  f.number("alpha", alpha, "step length, in pixel units; 0: eps / steps", 0, 1);
  f.integer("steps", steps, "steps; none is left out", 1, 1000000);
  f.number("mu", mu, "decay of the momentum; 0: none is kept", 0, 10);
  f.integer("target", target, "class to be mistaken for; -1: any other", -1, 1 << 30);
  f.flag("keep_best", keep_best, "in evaluation return the best iterate instead of the last");
}

Tensor look_ahead(const MomentumStep& step) {
  Tensor ahead = step.adv.clone();
  add_in_place(ahead, step.momentum, double(step.alpha) * double(step.mu));
  return ahead;
}

Tensor uniform_neighbours(const MomentumStep& step, const Tensor& centre, float radius, int64_t first, int64_t count) {
  int64_t const n = centre.dim(0), per_image = centre.numel() / n;
  Tensor out = Tensor::empty(centre.shape().with(0, n * count), DType::f32, centre.device());
  add_uniform_noise(out.stream(), out.data<float>(), centre.data<float>(), step.clean.ids.data<int64_t>(), step.key,
                    radius, first, n, count, per_image);
  return out;
}

GradientSource::GradientSource(std::string attack, Classifier& model, const Batch& clean, const Batch& whole,
                               const AttackOptions& options, int64_t target)
    : attack_(std::move(attack)),
      clean_(clean),
      whole_(whole),
      options_(options),
      target_(target),
      at_once_(options.batch > 0 ? options.batch : std::max<int64_t>(clean.size(), 1)),
      passes_(model, at_once_),
      ids_(clean.ids.to_host<int64_t>()) {}

const GradientSource::Labels& GradientSource::repeated(int64_t copies) {
  auto const [it, absent] = repeated_.try_emplace(copies);
  if (!absent) return it->second;
  if (copies == 1) return it->second = {clean_.y, clean_.ids};
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < clean_.size(); ++i) rows.insert(rows.end(), static_cast<size_t>(copies), i);
  return it->second = {gather_rows(clean_.y, rows), gather_rows(clean_.ids, rows)};
}

Tensor GradientSource::pass(const Tensor& images, int64_t copies, bool direction_only) {
  Labels const& labels = repeated(copies);
  Batch const b{images, labels.y, labels.ids};
  Loss loss = attack_loss(b, target_);
  loss.direction_only = direction_only;
  spent_ += copies;
  DrawKey const key = model_key(attack_, options_, 0, iteration_, pass_++);
  return passes_.evaluate(b, loss, {.input_gradient = true}, key).input_gradient;
}

Tensor GradientSource::average(int64_t copies, const OfCopies& gradients, std::vector<double> weights) {
  if (weights.empty()) weights.assign(static_cast<size_t>(copies), 1.0 / static_cast<double>(copies));
  int64_t const n = clean_.size(), lines = clean_.x.dim(1), cols = clean_.x.dim(2) * clean_.x.dim(3);
  // A random model draws by image and pass: copies of an image that share a pass would share their noise.
  int64_t const wanted = passes_.model().randomised() ? 1 : passes_ahead * at_once_ / n;
  int64_t const most = std::clamp(wanted, int64_t{1}, std::max(copies, int64_t{1}));
  Tensor const all = Tensor::from(weights, {static_cast<int64_t>(weights.size())}, clean_.x.device());
  // One for each tensor of a part, whose order is then that of the copies, however they are cut.
  std::vector<Tensor> sums(weights.size() / static_cast<size_t>(copies));
  for (Tensor& sum : sums) sum = Tensor::zeros(clean_.x.shape(), DType::f64, clean_.x.device());
  for (int64_t first = 0; first < copies; first += most) {
    int64_t const count = std::min(most, copies - first);
    std::vector<Tensor> const parts = gradients(first, count);
    check(parts.size() * static_cast<size_t>(copies) == weights.size(), weights.size(), " weights for ", parts.size(),
          " times ", copies, " copies");
    for (size_t i = 0; i < parts.size(); ++i) {
      check(parts[i].numel() == n * count * lines * cols, "gradients of ", count, " copies of ", clean_.x.shape(), ": ",
            parts[i].shape());
      const double* const of_part = all.data<double>() + static_cast<int64_t>(i) * copies + first;
      sum_copies(sums[i].stream(), sums[i].data<double>(), parts[i].data<float>(), of_part, n, count, lines, cols);
    }
  }
  for (size_t i = 1; i < sums.size(); ++i) add_in_place(sums[0], sums[i]);
  return sums[0].cast(DType::f32);
}

void GradientSource::warn(const std::string& text) {
  if (std::find(warnings_.begin(), warnings_.end(), text) == warnings_.end()) warnings_.push_back(text);
}

AttackResult MomentumAttack::run(Classifier& model, const Batch& batch, const AttackOptions& options) const {
  if (batch.size() == 0) return {.adversarial = batch.x};
  check(batch.y.defined() && batch.ids.defined(), "attack ", name(), ": a batch without labels or ids");
  return Run(*this, model, batch, options).all_steps();
}

}  // namespace mith
