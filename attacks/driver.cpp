#include "attacks/driver.h"

#include <algorithm>
#include "attacks/draws.h"
#include "attacks/passes.h"
#include "engine/ops/arithmetic.h"

namespace mith {
namespace {

/// Some images of the batch and how far the attack has come with them.
struct Active {
  std::vector<int64_t> rows;  ///< of the whole batch
  Batch clean;
  Tensor adv, gradient;

  bool empty() const { return rows.empty(); }
  void keep(const std::vector<int64_t>& kept) {
    if (kept.size() == rows.size()) return;
    std::vector<int64_t> left;
    left.reserve(kept.size());
    for (int64_t i : kept) left.push_back(rows[static_cast<size_t>(i)]);
    rows = std::move(left);
    clean = select(clean, kept);
    adv = gather_rows(adv, kept);
    if (gradient.defined()) gradient = gather_rows(gradient, kept);
  }
};

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
    if (!plan_.random_start || !options.evaluation) plan_.restarts = 1;
    info_.nan_count = Tensor::zeros({1}, DType::i64, batch.x.device());
  }

  AttackResult for_training();
  AttackResult for_evaluation();

 private:
  DrawKey key(Purpose purpose, int restart, int iteration) const;
  Outputs pass(const Batch& clean, const Tensor& images, bool gradient);
  void read_goals();
  void open_books(const Outputs& clean);
  std::vector<int64_t> open_rows() const;
  void run_restart(int restart, const Outputs& clean);
  std::vector<int64_t> record(const Active&, const Outputs&);
  void step(Active&, int iteration);
  int64_t standing() const;
  void count_progress(int64_t steps) const;
  AttackResult finish();

  const IterativeAttack& attack_;
  Classifier& model_;
  const Batch& batch_;
  const AttackOptions& options_;
  Plan plan_;
  Passes passes_;
  int restart_ = 0;
  StepInfo info_;
  DrawKey model_key_;
  bool targeted_ = false;
  std::vector<int32_t> goal_;  // class to reach or to leave
  AttackResult result_;
};

DrawKey Run::key(Purpose purpose, int restart, int iteration) const {
  return draw_key(attack_.name(), options_, purpose, restart, iteration);
}

/// Logits and loss, and the gradient if wanted.
Outputs Run::pass(const Batch& clean, const Tensor& images, bool gradient) {
  Batch const b{images, clean.y, clean.ids};
  return passes_.evaluate(b, attack_.loss(b), {.logits = true, .loss = true, .input_gradient = gradient}, model_key_);
}

void Run::step(Active& a, int iteration) {
  info_.iteration = iteration;
  info_.key = key(Purpose::noise, restart_, iteration);
  attack_.step(a.adv, a.clean, a.gradient, info_);
}

int64_t Run::standing() const {
  int64_t count = 0;
  for (size_t i = 0; i < result_.success.size(); ++i) count += result_.clean_correct[i] && !result_.success[i];
  return count;
}

void Run::count_progress(int64_t steps) const {
  if (!options_.progress) return;
  int64_t const total = int64_t{plan_.restarts} * plan_.steps;
  options_.progress({.done = steps, .total = total, .standing = options_.evaluation ? standing() : -1});
}

AttackResult Run::for_training() {
  if (attack_.loss(batch_).targeted) read_goals();
  Active a{.rows = {}, .clean = batch_, .adv = attack_.start(batch_, key(Purpose::attack_start, 0, 0)), .gradient = {}};
  for (int i = 0; i < plan_.steps; ++i) {
    model_key_ = key(Purpose::noise, 0, i);
    a.gradient = pass(a.clean, a.adv, true).input_gradient;
    step(a, i);
    count_progress(i + 1);
  }
  result_.adversarial = a.adv;
  return finish();
}

AttackResult Run::for_evaluation() {
  read_goals();
  model_key_ = key(Purpose::noise, 0, 0);
  // An attack that starts at the clean image begins with the very pass that the clean predictions need.
  Outputs const clean = pass(batch_, batch_.x, !plan_.random_start && plan_.steps > 0);
  open_books(clean);
  for (restart_ = 0; restart_ < plan_.restarts && !open_rows().empty(); ++restart_) run_restart(restart_, clean);
  count_progress(int64_t{plan_.restarts} * plan_.steps);
  return finish();
}

/// The classes to reach or to leave, on the host; out of range they would be read past the logits.
void Run::read_goals() {
  Loss const loss = attack_.loss(batch_);
  targeted_ = loss.targeted;
  goal_ = loss.labels.to_host<int32_t>();
  for (int32_t goal : goal_)
    require(goal >= 0 && goal < model_.classes(), "attack ", attack_.name(), ": ", targeted_ ? "target " : "label ",
            goal, " for a model of ", model_.classes(), " classes");
}

void Run::open_books(const Outputs& clean) {
  size_t const n = static_cast<size_t>(batch_.size());
  auto const labels = batch_.y.to_host<int32_t>(), predictions = argmax(clean.logits).to_host<int32_t>();
  for (size_t i = 0; i < n; ++i) result_.clean_correct.push_back(predictions[i] == labels[i]);
  // An image of the target class cannot be turned into it.
  if (targeted_)
    for (size_t i = 0; i < n; ++i)
      if (goal_[i] == labels[i]) goal_[i] = -1;
  result_.adversarial = batch_.x.clone();
  result_.loss = clean.loss.to_host<float>();
  result_.success.assign(n, 0);
  result_.queries.assign(n, 1);
  result_.gradients.assign(n, !plan_.random_start && plan_.steps > 0 ? 1 : 0);
}

/// Images that were right and still are.
std::vector<int64_t> Run::open_rows() const {
  std::vector<int64_t> rows;
  for (size_t i = 0; i < goal_.size(); ++i)
    if (result_.clean_correct[i] && !result_.success[i] && goal_[i] >= 0) rows.push_back(static_cast<int64_t>(i));
  return rows;
}

void Run::run_restart(int restart, const Outputs& clean) {
  std::vector<int64_t> const rows = open_rows();
  Batch const open = select(batch_, rows);
  Active a{
      .rows = rows, .clean = open, .adv = attack_.start(open, key(Purpose::attack_start, restart, 0)), .gradient = {}};
  for (int i = 0; i < plan_.steps && !a.empty(); ++i) {
    if (i == 0 && !plan_.random_start) {
      a.gradient = gather_rows(clean.input_gradient, rows);
    } else {
      model_key_ = key(Purpose::noise, restart, i);
      Outputs const out = pass(a.clean, a.adv, true);
      a.gradient = out.input_gradient;
      for (int64_t row : a.rows) ++result_.gradients[static_cast<size_t>(row)];
      a.keep(record(a, out));
      if (a.empty()) break;
    }
    step(a, i);
    count_progress(int64_t{restart} * plan_.steps + i + 1);
  }
  model_key_ = key(Purpose::noise, restart, plan_.steps);
  if (!a.empty()) record(a, pass(a.clean, a.adv, false));
}

/// Enters the current iterates into the books; returns which of them are not fooled yet.
std::vector<int64_t> Run::record(const Active& a, const Outputs& out) {
  auto const predictions = argmax(out.logits).to_host<int32_t>();
  auto const loss = out.loss.to_host<float>();
  std::vector<int64_t> better, better_rows, kept;
  for (size_t i = 0; i < a.rows.size(); ++i) {
    size_t const row = static_cast<size_t>(a.rows[i]);
    bool const fooled = (predictions[i] == goal_[row]) == targeted_;
    ++result_.queries[row];
    if (fooled || loss[i] > result_.loss[row]) {
      better.push_back(static_cast<int64_t>(i));
      better_rows.push_back(a.rows[i]);
      result_.loss[row] = loss[i];
      result_.success[row] = fooled;
    }
    if (!fooled) kept.push_back(static_cast<int64_t>(i));
  }
  if (!better.empty()) scatter_rows(result_.adversarial, gather_rows(a.adv, better), better_rows);
  return kept;
}

AttackResult Run::finish() {
  result_.nan_gradients = info_.nan_count.to_host<int64_t>().front();
  check(!options_.strict || result_.nan_gradients == 0, "attack ", attack_.name(), ": the gradient is NaN at ",
        result_.nan_gradients, " pixels");
  return std::move(result_);
}

}  // namespace

AttackResult IterativeAttack::run(Classifier& model, const Batch& batch, const AttackOptions& options) const {
  if (batch.size() == 0) return {.adversarial = batch.x};
  check(batch.y.defined() && batch.ids.defined(), "attack ", name(), ": a batch without labels or ids");
  Run run(*this, model, batch, options);
  return options.evaluation ? run.for_evaluation() : run.for_training();
}

Loss attack_loss(const Batch& b, int64_t target) {
  if (target < 0) return {.labels = b.y, .direction_only = true};
  std::vector<int32_t> const labels(static_cast<size_t>(b.size()), static_cast<int32_t>(target));
  return {.labels = Tensor::from(labels, {b.size()}, b.y.device()), .targeted = true, .direction_only = true};
}

}  // namespace mith
