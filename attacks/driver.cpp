#include "attacks/driver.h"

#include <algorithm>
#include <bit>
#include <optional>

#include "attacks/attack_books.h"
#include "attacks/draws.h"
#include "attacks/passes.h"
#include "attacks/steps.h"
#include "engine/ops/arithmetic.h"

namespace mith {
namespace {

/// Some images of the batch and how far the attack has come with them.
struct Active {
  std::vector<int64_t> rows;  ///< of the whole batch
  Batch clean;
  Tensor clean_logits;  ///< if the plan asks for them
  Tensor adv, gradient;
  Tensor earlier;  ///< iterates of a step before, if cycles are looked for

  bool empty() const { return rows.empty(); }
  void keep(const std::vector<int64_t>& kept) {
    if (kept.size() == rows.size()) return;
    std::vector<int64_t> left;
    left.reserve(kept.size());
    for (int64_t i : kept) left.push_back(rows[static_cast<size_t>(i)]);
    rows = std::move(left);
    clean = select(clean, kept);
    for (Tensor* t : {&clean_logits, &adv, &gradient, &earlier})
      if (t->defined()) *t = gather_rows(*t, kept);
  }
};

/// What the books need of a pass, and that with the gradient.
const Want judged{.logits = true, .loss = true}, everything{.logits = true, .loss = true, .input_gradient = true};

/// One run of an attack over one batch.
class Run {
 public:
  Run(const IterativeAttack& attack, Classifier& model, const Batch& batch, const AttackOptions& options)
      : attack_(attack),
        model_(model),
        batch_(batch),
        options_(options),
        plan_(attack.plan()),
        passes_(model, options.batch) {
    check(!plan_.clean_logits || plan_.random_start, "attack ", attack.name(),
          ": a loss that needs the clean logits needs a random start");
    if (!plan_.random_start || !options.evaluation) plan_.restarts = 1;
    info_.nan_count = Tensor::zeros({1}, DType::i64, batch.x.device());
  }

  AttackResult for_training();
  AttackResult for_evaluation();

 private:
  DrawKey key(Purpose purpose, int restart, int iteration) const;
  DrawKey clean_key() const { return model_key(attack_.name(), options_, 0, -1); }
  Outputs pass(const Active&, const Want&, int iteration);
  Outputs clean_pass(bool gradient);
  void run_restart(int restart, const Outputs& clean);
  std::vector<int64_t> record(const Active&, const Outputs&);
  void step(Active&, int iteration);
  void leave_cycles(Active&, int iteration) const;
  void count_progress(int64_t steps) const;
  AttackResult finish(AttackResult);

  const IterativeAttack& attack_;
  Classifier& model_;
  const Batch& batch_;
  const AttackOptions& options_;
  Plan plan_;
  Passes passes_;
  int restart_ = 0;
  StepInfo info_;
  std::optional<AttackBooks> books_;  // in evaluation
};

DrawKey Run::key(Purpose purpose, int restart, int iteration) const {
  return draw_key(attack_.name(), options_, purpose, restart, iteration);
}

/// Averages over the plan's passes.
Outputs Run::pass(const Active& a, const Want& want, int iteration) {
  Batch const b{a.adv, a.clean.y, a.clean.ids};
  return passes_.average(b, attack_.loss(b, a.clean_logits), want, plan_.passes,
                         [&](int pass) { return model_key(attack_.name(), options_, restart_, iteration, pass); });
}

/// An attack that starts at the clean image begins with the very pass that the clean predictions need; no other pass
/// shares a random model's draws with it.
Outputs Run::clean_pass(bool gradient) {
  if (!plan_.clean_logits) {
    Active const images{{}, batch_, {}, batch_.x, {}, {}};
    bool const at_once = gradient && model_.consistent();
    Outputs clean = pass(images, at_once ? everything : judged, gradient ? 0 : -1);
    if (gradient && !at_once) clean.input_gradient = pass(images, {.input_gradient = true}, 0).input_gradient;
    return clean;
  }
  Outputs clean;
  clean.logits = passes_.logits(batch_, clean_key());
  clean.loss = loss_of(clean.logits, attack_.loss(batch_, clean.logits));
  return clean;
}

void Run::step(Active& a, int iteration) {
  info_.iteration = iteration;
  info_.key = key(Purpose::noise, restart_, iteration);
  attack_.step(a.adv, a.clean, a.gradient, info_);
}

/// Compares with the iterate of the last power of two, which finds a cycle of any length (Brent 1980).
void Run::leave_cycles(Active& a, int iteration) const {
  if (!plan_.memoryless || plan_.passes > 1 || model_.randomised() || !model_.consistent()) return;
  if (a.earlier.defined()) {
    auto const moved = linf_distance(a.adv, a.earlier);
    std::vector<int64_t> going;
    for (size_t i = 0; i < moved.size(); ++i)
      if (moved[i] != 0) going.push_back(static_cast<int64_t>(i));
    a.keep(going);
  }
  if (std::has_single_bit(static_cast<unsigned>(iteration) + 1)) a.earlier = a.adv.clone();
}

void Run::count_progress(int64_t steps) const {
  if (!options_.progress) return;
  int64_t const total = int64_t{plan_.restarts} * plan_.steps;
  options_.progress({.done = steps, .total = total, .standing = books_ ? books_->standing() : -1});
}

AttackResult Run::for_training() {
  Active a{.rows = {}, .clean = batch_, .clean_logits = {}, .adv = {}, .gradient = {}, .earlier = {}};
  if (attack_.threat().target >= 0) check_goals(attack_.name(), batch_, attack_.threat().target, model_.classes());
  if (plan_.clean_logits) a.clean_logits = passes_.logits(batch_, clean_key());
  a.adv = attack_.start(batch_, key(Purpose::attack_start, 0, 0));
  for (int i = 0; i < plan_.steps; ++i) {
    a.gradient = pass(a, {.input_gradient = true}, i).input_gradient;
    step(a, i);
    count_progress(i + 1);
  }
  return finish({.adversarial = a.adv});
}

AttackResult Run::for_evaluation() {
  books_.emplace(attack_.name(), batch_, attack_.threat().target, model_.classes());
  bool const starts_clean = !plan_.random_start && plan_.steps > 0;
  Outputs const clean = clean_pass(starts_clean);
  books_->open(clean.logits, clean.loss, plan_.clean_logits ? 1 : plan_.passes, starts_clean ? plan_.passes : 0);
  for (restart_ = 0; restart_ < plan_.restarts && books_->standing() > 0; ++restart_) run_restart(restart_, clean);
  count_progress(int64_t{plan_.restarts} * plan_.steps);
  return finish(std::move(books_->result()));
}

void Run::run_restart(int restart, const Outputs& clean) {
  Active a{.rows = books_->open_rows(), .clean = {}, .clean_logits = {}, .adv = {}, .gradient = {}, .earlier = {}};
  a.clean = select(batch_, a.rows);
  if (plan_.clean_logits) a.clean_logits = gather_rows(clean.logits, a.rows);
  a.adv = attack_.start(a.clean, key(Purpose::attack_start, restart, 0));
  for (int i = 0; i < plan_.steps && !a.empty(); ++i) {
    if (i == 0 && !plan_.random_start) {
      a.gradient = gather_rows(clean.input_gradient, a.rows);
    } else {
      Outputs const out = pass(a, everything, i);
      a.gradient = out.input_gradient;
      books_->count(a.rows, 0, plan_.passes);
      a.keep(record(a, out));
      if (a.empty()) break;
    }
    step(a, i);
    leave_cycles(a, i);
    count_progress(int64_t{restart} * plan_.steps + i + 1);
  }
  if (!a.empty()) record(a, pass(a, judged, plan_.steps));
}

/// Enters the current iterates into the books; returns which of them are not fooled yet.
std::vector<int64_t> Run::record(const Active& a, const Outputs& out) {
  books_->count(a.rows, plan_.passes, 0);
  return books_->enter(a.rows, a.adv, out.logits, out.loss.to_host<float>());
}

AttackResult Run::finish(AttackResult result) {
  result.nan_gradients = info_.nan_count.to_host<int64_t>().front();
  check(!options_.strict || result.nan_gradients == 0, "attack ", attack_.name(), ": the gradient is NaN at ",
        result.nan_gradients, " pixels");
  return result;
}

}  // namespace

AttackResult IterativeAttack::run(Classifier& model, const Batch& batch, const AttackOptions& options) const {
  if (batch.size() == 0) return {.adversarial = batch.x};
  check(batch.y.defined() && batch.ids.defined(), "attack ", name(), ": a batch without labels or ids");
  Run run(*this, model, batch, options);
  return options.evaluation ? run.for_evaluation() : run.for_training();
}

Loss attack_loss(const Batch& b, int64_t target, int passes) {
  bool const direction_only = passes == 1;
  if (target < 0) return {.labels = b.y, .direction_only = direction_only};
  std::vector<int32_t> const labels(static_cast<size_t>(b.size()), static_cast<int32_t>(target));
  return {.labels = Tensor::from(labels, {b.size()}, b.y.device()), .targeted = true, .direction_only = direction_only};
}

}  // namespace mith
