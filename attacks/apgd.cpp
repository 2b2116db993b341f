#include "attacks/apgd.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>

#include "attacks/attack_books.h"
#include "attacks/draws.h"
#include "attacks/passes.h"
#include "attacks/steps.h"
#include "engine/ops/arithmetic.h"
#include "kernels/launch/table.h"

namespace mith {
namespace {

using Move = Kernel<float*, float*, const float*, const float*, const float*, float, float, int64_t*, int64_t, int64_t>;
const Move linf_move{"apgd_linf_step"}, l2_move{"apgd_l2_step"};
const Kernel<float*, const float*, const int64_t*, DrawKey, float, int64_t, int64_t> linf_start{"linf_sphere_start"};

template <class T>
std::vector<T> picked(const std::vector<T>& v, const std::vector<int64_t>& positions) {
  std::vector<T> left;
  left.reserve(positions.size());
  for (int64_t i : positions) left.push_back(v[static_cast<size_t>(i)]);
  return left;
}

void copy_rows(Tensor& target, const Tensor& source, const std::vector<int64_t>& rows) {
  if (!rows.empty()) scatter_rows(target, gather_rows(source, rows), rows);
}

}  // namespace

void ApgdOptions::fields(Fields& f) {
  f.text("norm", norm, "norm of the ball", {"linf", "l2"});
  f.number("eps", eps, "radius of the ball, in pixel units", 0, 1e4);
  f.integer("steps", steps, "steps", 1, 1000000);
  f.integer("restarts", restarts, "random starts; the best of them counts", 1, 255);
  f.integer("eot", eot, "passes whose average each step follows, for models that draw", 1, 100000);
  f.number("rho", rho, "share of steps that must raise the loss, or the step size halves", 0, 1);
}

void ApgdTargetOptions::fields(Fields& f) {
  ApgdOptions::fields(f);
  f.integer("targets", targets, "classes to be mistaken for, the clean image's likeliest first", 1, 1 << 30);
}

Tensor apgd_start(const Batch& b, const std::string& norm, float eps, const DrawKey& key) {
  if (norm == "l2") return draw_in_l2_ball(b, eps, L2Start::sphere, key);
  Tensor adv = Tensor::empty_like(b.x);
  linf_start(adv.stream(), adv.data<float>(), b.x.data<float>(), b.ids.data<int64_t>(), key, eps, b.size(),
             b.size() ? adv.numel() / b.size() : 0);
  return adv;
}

std::vector<int> apgd_checkpoints(int steps) {
  std::vector<int> checkpoints;
  int const shorter = std::max(3 * steps / 100, 1), shortest = std::max(6 * steps / 100, 1);
  int window = std::max(22 * steps / 100, 1);
  for (int at = window; at <= steps; at += window) {
    checkpoints.push_back(at);
    window = std::max(window - shorter, shortest);
  }
  return checkpoints;
}

ApgdSchedule::ApgdSchedule(int steps, double rho, float eps, const std::vector<float>& losses)
    : checkpoints_(apgd_checkpoints(steps)),
      rho_(rho),
      step_(losses.size(), 2 * eps),
      last_(losses),
      best_(losses),
      best_then_(losses),
      rises_(losses.size(), 0),
      halved_then_(losses.size(), 1) {}

ApgdSchedule::Move ApgdSchedule::enter(const std::vector<float>& losses) {
  Move move;
  ++iteration_;
  bool const check = std::find(checkpoints_.begin(), checkpoints_.end(), iteration_) != checkpoints_.end();
  for (size_t i = 0; i < losses.size(); ++i) {
    rises_[i] += losses[i] > last_[i];
    last_[i] = losses[i];
    if (losses[i] > best_[i]) {
      best_[i] = losses[i];
      move.improved.push_back(static_cast<int64_t>(i));
    }
    if (!check) continue;
    bool const oscillates = rises_[i] <= rho_ * (iteration_ - checked_);
    bool const stands_still = !halved_then_[i] && best_[i] <= best_then_[i];
    halved_then_[i] = oscillates || stands_still;
    if (halved_then_[i]) {
      step_[i] /= 2;
      move.halved.push_back(static_cast<int64_t>(i));
    }
    rises_[i] = 0;
    best_then_[i] = best_[i];
  }
  if (check) checked_ = iteration_;
  return move;
}

void ApgdSchedule::keep(const std::vector<int64_t>& kept) {
  for (auto* v : {&step_, &last_, &best_, &best_then_}) *v = picked(*v, kept);
  rises_ = picked(rises_, kept);
  halved_then_ = picked(halved_then_, kept);
}

namespace {

enum class Objective : uint8_t { cross_entropy, dlr, targeted_dlr };

/// The options of every variant, as the loop needs them.
struct Plan {
  std::string name;
  Objective objective;
  ApgdOptions options;
  int targets = 1;
};

/// Some images of the batch and how far the attack has come with them.
struct Active {
  std::vector<int64_t> rows;  ///< of the whole batch
  Batch clean;
  Tensor others;  ///< i32 [n]: the classes aimed at, if any
  Tensor adv, gradient, old, best, best_gradient;

  void keep(const std::vector<int64_t>& kept) {
    if (kept.size() == rows.size()) return;
    rows = picked(rows, kept);
    clean = select(clean, kept);
    for (Tensor* t : {&others, &adv, &gradient, &old, &best, &best_gradient})
      if (t->defined()) *t = gather_rows(*t, kept);
  }
};

class Run {
 public:
  Run(const Plan& plan, Classifier& model, const Batch& batch, const AttackOptions& options)
      : plan_(plan),
        o_(plan.options),
        model_(model),
        batch_(batch),
        options_(options),
        passes_(model, options.batch),
        nan_count_(Tensor::zeros({1}, DType::i64, batch.x.device())) {}

  AttackResult for_training();
  AttackResult for_evaluation();

 private:
  Loss loss(const Tensor& labels, const Tensor& others) const;
  Outputs pass(const Active&, bool gradient, int target, int restart, int iteration) const;
  Tensor clean_logits() const;
  Tensor rivals(const Tensor& logits, int rank) const;
  Active start(std::vector<int64_t> rows, const Tensor& clean_logits, int target, int restart) const;
  void move(Active&, const std::vector<float>& step_sizes, bool first);
  void ascend(Active&, int target, int restart);
  void count_progress(int64_t steps) const;
  AttackResult finish(AttackResult) const;

  const Plan& plan_;
  const ApgdOptions& o_;
  Classifier& model_;
  const Batch& batch_;
  const AttackOptions& options_;
  Passes passes_;
  Tensor nan_count_;
  std::optional<AttackBooks> books_;  // in evaluation
  int64_t done_ = 0, total_ = 0;      // steps
};

Loss Run::loss(const Tensor& labels, const Tensor& others) const {
  if (plan_.objective == Objective::cross_entropy) return {.labels = labels, .direction_only = o_.eot == 1};
  return {.kind = Loss::dlr, .labels = labels, .others = others};
}

/// Averages over the passes that models with draws need.
Outputs Run::pass(const Active& a, bool gradient, int target, int restart, int iteration) const {
  Batch const b{a.adv, a.clean.y, a.clean.ids};
  return passes_.average(
      b, loss(b.y, a.others), {.logits = true, .loss = true, .input_gradient = gradient}, o_.eot,
      [&](int pass) { return model_key(plan_.name, options_, restart, target * (o_.steps + 1) + iteration, pass); });
}

Tensor Run::clean_logits() const {
  return passes_
      .average(batch_, Loss{}, {.logits = true}, o_.eot,
               [&](int pass) { return model_key(plan_.name, options_, 0, -1, pass); })
      .logits;
}

/// The class of each image that comes as number `rank` (from 0) after its label by these logits; of equal ones the
/// lowest first.
Tensor Run::rivals(const Tensor& logits, int rank) const {
  auto const z = logits.to_host<float>();
  auto const labels = batch_.y.to_host<int32_t>();
  size_t const k = static_cast<size_t>(model_.classes());
  std::vector<int32_t> chosen;
  for (size_t i = 0; i < labels.size(); ++i) {
    std::vector<int32_t> order(k);
    std::iota(order.begin(), order.end(), 0);
    std::erase(order, labels[i]);
    const float* const of_image = z.data() + i * k;
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return of_image[a] > of_image[b]; });
    chosen.push_back(order[static_cast<size_t>(rank)]);
  }
  return Tensor::from(chosen, {batch_.size()}, batch_.y.device());
}

Active Run::start(std::vector<int64_t> rows, const Tensor& clean_logits, int target, int restart) const {
  Active a;
  a.clean = select(batch_, rows);
  a.rows = std::move(rows);
  if (plan_.objective == Objective::targeted_dlr) a.others = gather_rows(rivals(clean_logits, target), a.rows);
  a.adv = apgd_start(a.clean, o_.norm, o_.eps, draw_key(plan_.name, options_, Purpose::attack_start, restart, target));
  return a;
}

void Run::move(Active& a, const std::vector<float>& step_sizes, bool first) {
  int64_t const n = a.adv.dim(0);
  Tensor const step = Tensor::from(step_sizes, {n}, a.adv.device());
  (o_.norm == "l2" ? l2_move : linf_move)(
      a.adv.stream(), a.adv.data<float>(), a.old.data<float>(), a.clean.x.data<float>(), a.gradient.data<float>(),
      step.data<float>(), first ? 1.0f : 0.75f, o_.eps, nan_count_.data<int64_t>(), n, a.adv.numel() / n);
}

/// Algorithm 1 from a's start. Leaves every image's best iterate in a.best, but for those that were fooled on the way,
/// which the books have.
void Run::ascend(Active& a, int target, int restart) {
  std::optional<ApgdSchedule> schedule;
  for (int i = 0; i <= o_.steps; ++i) {  // the iterate number i; the last is only evaluated
    if (i > 0) {
      move(a, schedule->step_sizes(), i == 1);
      ++done_;
    }
    bool const last = i == o_.steps;
    Outputs const out = pass(a, !last, target, restart, i);
    a.gradient = out.input_gradient;
    auto losses = out.loss.to_host<float>();
    if (books_) {
      books_->count(a.rows, o_.eot, last ? 0 : o_.eot);
      std::vector<int64_t> const kept = books_->enter(a.rows, a.adv, out.logits, losses);
      if (!model_.randomised()) {  // of a random model one wrong pass is no verdict: every image takes all steps
        a.keep(kept);
        losses = picked(losses, kept);
        if (schedule) schedule->keep(kept);
      }
    }
    count_progress(done_);
    if (a.rows.empty()) return;
    if (i == 0) {
      schedule.emplace(o_.steps, o_.rho, o_.eps, losses);
      a.old = a.adv.clone();
      a.best = a.adv.clone();
      a.best_gradient = a.gradient.clone();
      continue;
    }
    ApgdSchedule::Move const to = schedule->enter(losses);
    copy_rows(a.best, a.adv, to.improved);
    if (last) return;
    copy_rows(a.best_gradient, a.gradient, to.improved);
    copy_rows(a.adv, a.best, to.halved);
    copy_rows(a.gradient, a.best_gradient, to.halved);
  }
}

void Run::count_progress(int64_t steps) const {
  if (options_.progress)
    options_.progress({.done = steps, .total = total_, .standing = books_ ? books_->standing() : -1});
}

/// One start, towards the likeliest rival where there are targets.
AttackResult Run::for_training() {
  total_ = o_.steps;
  std::vector<int64_t> rows(static_cast<size_t>(batch_.size()));
  std::iota(rows.begin(), rows.end(), int64_t{0});
  Active a = start(rows, plan_.objective == Objective::targeted_dlr ? clean_logits() : Tensor(), 0, 0);
  ascend(a, 0, 0);
  return finish({.adversarial = a.best});
}

AttackResult Run::for_evaluation() {
  books_.emplace(plan_.name, batch_, -1, model_.classes());
  Tensor const clean = clean_logits();
  bool const targeted = plan_.objective == Objective::targeted_dlr;
  books_->open(clean, loss_of(clean, loss(batch_.y, targeted ? rivals(clean, 0) : Tensor())), o_.eot, 0);
  int const targets = targeted ? static_cast<int>(std::min<int64_t>(plan_.targets, model_.classes() - 1)) : 1;
  total_ = int64_t{targets} * o_.restarts * o_.steps;
  for (int target = 0; target < targets; ++target)
    for (int restart = 0; restart < o_.restarts; ++restart) {
      std::vector<int64_t> rows = books_->open_rows();
      if (rows.empty()) break;
      Active a = start(std::move(rows), clean, target, restart);
      ascend(a, target, restart);
    }
  count_progress(total_);
  return finish(std::move(books_->result()));
}

AttackResult Run::finish(AttackResult result) const {
  result.nan_gradients = nan_count_.to_host<int64_t>().front();
  check(!options_.strict || result.nan_gradients == 0, "attack ", plan_.name, ": the gradient is NaN at ",
        result.nan_gradients, " pixels");
  return result;
}

class Apgd final : public Attack {
 public:
  Apgd(Plan plan, std::string spec) : plan_(std::move(plan)), spec_(std::move(spec)) {
    require(plan_.options.norm != "linf" || plan_.options.eps <= 1, "attack ", plan_.name, ": eps=", plan_.options.eps,
            " in linf; pixels lie in [0, 1]");
  }
  Threat threat() const override { return {.norm = plan_.options.norm, .eps = plan_.options.eps}; }
  std::string spec() const override { return spec_; }
  AttackResult run(Classifier& model, const Batch& batch, const AttackOptions& options) const override {
    if (batch.size() == 0) return {.adversarial = batch.x};
    check(batch.y.defined() && batch.ids.defined(), "attack ", plan_.name, ": a batch without labels or ids");
    require(model.classes() >= 2, "attack ", plan_.name, ": a model of one class cannot be fooled");
    Run run(plan_, model, batch, options);
    return options.evaluation ? run.for_evaluation() : run.for_training();
  }

 private:
  Plan plan_;
  std::string spec_;
};

std::unique_ptr<Attack> make(const std::string& name, Objective objective, const Spec& spec) {
  auto const o = configure<ApgdOptions>(spec, "attack " + name);
  return std::make_unique<Apgd>(Plan{name, objective, o}, spec_text(o, name));
}

const std::string rule =
    "x_0 = clamp(x + eps t / |t|, 0, 1),  t uniform (L2: normal);  s = 2 eps\n"
    "u = P(x_t + s d),  d = sign(g) (L2: g / |g|_2),  g = grad_x L(f(x_t), y),  P: the ball, then [0, 1]\n"
    "x_{t+1} = P(x_t + a (u - x_t) + (1 - a)(x_t - x_{t-1})),  a = 1, then 0.75\n"
    "at checkpoints (22, 41, 57, 70, 80, 87, 93, 99 of 100): where L rose in <= rho of the steps, or neither its\n"
    "best nor s changed since the last one, s = s / 2 and on from the best x\n";
const std::string paper =
    "Croce & Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks, "
    "ICML 2020, algorithm 1";

using Facts = std::vector<std::pair<std::string, std::string>>;
Facts facts(const char* targeted, const char* cost) {
  return {{"group", "AutoAttack"}, {"norm", "linf, l2"}, {"access", "white"},
          {"targeted", targeted},  {"draws", "start"},   {"cost", cost}};
}

const AttackRegistry::Add apgd_ce({.name = "apgd-ce",
                                   .summary = "PGD with momentum and step sizes that follow the loss, on cross-entropy",
                                   .paper = paper,
                                   .rule = rule + "L = CE",
                                   .facts = facts("no", "steps x eot x restarts gradients")},
                                  default_fields<ApgdOptions>(),
                                  [](const Spec& s) { return make("apgd-ce", Objective::cross_entropy, s); });

const AttackRegistry::Add apgd_dlr(
    {.name = "apgd-dlr",
     .summary = "PGD with momentum and step sizes that follow the loss, on the difference of logits ratio",
     .paper = paper + " and eq. (6)",
     .rule = rule + "L = (max_{i != y} z_i - z_y) / (z_(1) - z_(3) + 1e-12);  of two classes the numerator alone",
     .facts = facts("no", "steps x eot x restarts gradients")},
    default_fields<ApgdOptions>(), [](const Spec& s) { return make("apgd-dlr", Objective::dlr, s); });

const AttackRegistry::Add apgd_t(
    {.name = "apgd-t",
     .summary = "PGD with momentum and step sizes that follow the loss, towards each of the likeliest wrong classes",
     .paper = paper + " and eq. (7)",
     .rule = rule +
             "L = (z_c - z_y) / (z_(1) - (z_(3) + z_(4)) / 2 + 1e-12),  c each of the classes next to y by f(x);\n"
             "of three classes divided by z_(1) - z_(3) + 1e-12, of two the numerator alone",
     .facts = facts("towards classes of its own", "steps x targets x eot x restarts gradients")},
    default_fields<ApgdTargetOptions>(), [](const Spec& s) -> std::unique_ptr<Attack> {
      auto const o = configure<ApgdTargetOptions>(s, "attack apgd-t");
      return std::make_unique<Apgd>(Plan{"apgd-t", Objective::targeted_dlr, o, o.targets}, spec_text(o, "apgd-t"));
    });

}  // namespace
}  // namespace mith
