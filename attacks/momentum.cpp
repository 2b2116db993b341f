#include "attacks/momentum.h"

#include <algorithm>

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
      : attack_(attack), model_(model), batch_(batch), options_(options) {
    read_goals();
    result_.adversarial = batch.x.clone();
    for (int64_t i = 0; i < batch.size(); ++i) rows_.push_back(i);
    if (options.evaluation) open_books();
  }

  AttackResult all_steps();

 private:
  void read_goals();
  void open_books();
  Outputs judge(const Passes&, const Batch& clean, const Tensor& images) const;
  void record(const Tensor& adv, const Outputs&, bool only_better);
  /// Passes draw from restart 0, the attack from restart 1.
  DrawKey key(int draw, int iteration) const {
    return draw_key(attack_.name(), options_, Purpose::noise, draw, iteration);
  }

  const MomentumAttack& attack_;
  Classifier& model_;
  const Batch& batch_;
  const AttackOptions& options_;
  bool targeted_ = false;
  std::vector<int32_t> goal_;  ///< class to reach or to leave
  std::vector<int64_t> rows_;  ///< of the batch: the images under attack
  AttackResult result_;
};

/// The classes to reach or to leave; out of range they would be read past the logits.
void Run::read_goals() {
  Loss const loss = attack_loss(batch_, attack_.frame().target);
  targeted_ = loss.targeted;
  goal_ = loss.labels.to_host<int32_t>();
  for (int32_t goal : goal_)
    require(goal >= 0 && goal < model_.classes(), "attack ", attack_.name(), ": ", targeted_ ? "target " : "label ",
            goal, " for a model of ", model_.classes(), " classes");
}

Outputs Run::judge(const Passes& passes, const Batch& clean, const Tensor& images) const {
  Batch const b{images, clean.y, clean.ids};
  return passes.evaluate(b, attack_loss(b, attack_.frame().target), {.logits = true, .loss = true}, key(0, 0));
}

/// Leaves under attack what is right to begin with, and not of the class to be reached.
void Run::open_books() {
  Outputs const clean = judge(Passes(model_, options_.batch), batch_, batch_.x);
  auto const labels = batch_.y.to_host<int32_t>(), predictions = argmax(clean.logits).to_host<int32_t>();
  size_t const n = labels.size();
  rows_.clear();
  for (size_t i = 0; i < n; ++i) {
    result_.clean_correct.push_back(predictions[i] == labels[i]);
    if (result_.clean_correct[i] && !(targeted_ && goal_[i] == labels[i])) rows_.push_back(static_cast<int64_t>(i));
  }
  result_.loss = clean.loss.to_host<float>();
  result_.success.assign(n, 0);
  result_.queries.assign(n, 1);
  result_.gradients.assign(n, 0);
}

/// Enters iterates into the books: all, or those that fool, and of images not yet fooled those of a higher loss.
void Run::record(const Tensor& adv, const Outputs& out, bool only_better) {
  auto const predictions = argmax(out.logits).to_host<int32_t>();
  auto const loss = out.loss.to_host<float>();
  std::vector<int64_t> entered, entered_rows;
  for (size_t i = 0; i < rows_.size(); ++i) {
    size_t const row = static_cast<size_t>(rows_[i]);
    bool const fooled = (predictions[i] == goal_[row]) == targeted_;
    ++result_.queries[row];
    if (only_better && !fooled && (result_.success[row] || !(loss[i] > result_.loss[row]))) continue;
    entered.push_back(static_cast<int64_t>(i));
    entered_rows.push_back(rows_[i]);
    result_.success[row] = fooled;
    result_.loss[row] = loss[i];
  }
  if (!entered.empty()) scatter_rows(result_.adversarial, gather_rows(adv, entered), entered_rows);
}

AttackResult Run::all_steps() {
  MomentumFrame const& frame = attack_.frame();
  bool const everyone = static_cast<int64_t>(rows_.size()) == batch_.size();
  Batch const clean = everyone ? batch_ : select(batch_, rows_);
  int const steps = clean.size() > 0 ? frame.steps : 0;
  GradientSource source(model_, clean, batch_, options_, frame.target);
  Tensor adv = clean.x.clone(), momentum = Tensor::zeros_like(clean.x), memory;
  Tensor const nan_count = Tensor::zeros({1}, DType::i64, clean.x.device());
  int64_t const n = clean.size(), per_image = n ? clean.x.numel() / n : 0;
  for (int i = 0; i < steps; ++i) {
    source.begin(key(0, i));
    MomentumStep step{.clean = clean,
                      .adv = adv,
                      .momentum = momentum,
                      .memory = memory,
                      .iteration = i,
                      .steps = steps,
                      .alpha = frame.resolved_alpha(),
                      .mu = frame.mu,
                      .eps = frame.eps,
                      .key = key(1, i)};
    Tensor const gradient = attack_.estimate(source, step);
    check(gradient.shape() == adv.shape(), "attack ", attack_.name(), ": a gradient of ", gradient.shape(), " for ",
          adv.shape());
    momentum_sign_step(adv.stream(), adv.data<float>(), momentum.data<float>(), clean.x.data<float>(),
                       gradient.data<float>(), frame.mu, step.alpha, frame.eps, nan_count.data<int64_t>(), n,
                       per_image);
    if (options_.evaluation && (frame.keep_best || i + 1 == steps))
      record(adv, judge(source.passes(), clean, adv), frame.keep_best);
    if (options_.progress) options_.progress({.done = i + 1, .total = frame.steps});
  }
  if (!options_.evaluation) result_.adversarial = adv;
  for (int64_t row : rows_) {
    if (!options_.evaluation) break;
    result_.queries[static_cast<size_t>(row)] += source.spent();
    result_.gradients[static_cast<size_t>(row)] += source.spent();
  }
  result_.warnings = source.warnings();
  result_.nan_gradients = nan_count.to_host<int64_t>().front();
  check(!options_.strict || result_.nan_gradients == 0, "attack ", attack_.name(), ": the gradient is NaN at ",
        result_.nan_gradients, " pixels");
  return std::move(result_);
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

GradientSource::GradientSource(Classifier& model, const Batch& clean, const Batch& whole, const AttackOptions& options,
                               int64_t target)
    : clean_(clean),
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
  return passes_.evaluate(b, loss, {.input_gradient = true}, model_key_).input_gradient;
}

Tensor GradientSource::average(int64_t copies, const OfCopies& gradients, std::vector<double> weights) {
  if (weights.empty()) weights.assign(static_cast<size_t>(copies), 1.0 / static_cast<double>(copies));
  check(static_cast<int64_t>(weights.size()) == copies, weights.size(), " weights for ", copies, " copies");
  int64_t const n = clean_.size(), lines = clean_.x.dim(1), cols = clean_.x.dim(2) * clean_.x.dim(3);
  int64_t const most = std::clamp(passes_ahead * at_once_ / n, int64_t{1}, std::max(copies, int64_t{1}));
  Tensor const all = Tensor::from(weights, {copies}, clean_.x.device());
  Tensor sum = Tensor::zeros(clean_.x.shape(), DType::f64, clean_.x.device());
  for (int64_t first = 0; first < copies; first += most) {
    int64_t const count = std::min(most, copies - first);
    Tensor const part = gradients(first, count);
    check(part.numel() == n * count * lines * cols, "gradients of ", count, " copies of ", clean_.x.shape(), ": ",
          part.shape());
    sum_copies(sum.stream(), sum.data<double>(), part.data<float>(), all.data<double>() + first, n, count, lines, cols);
  }
  return sum.cast(DType::f32);
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
