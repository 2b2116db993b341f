#include "attacks/autoattack.h"

#include <algorithm>
#include <cmath>

#include "attacks/apgd.h"
#include "attacks/attack_books.h"
#include "attacks/draws.h"
#include "attacks/passes.h"
#include "attacks/steps.h"
#include "engine/ops/arithmetic.h"

namespace mith {
namespace {

constexpr int checking_passes = 5, votes = 10;
constexpr int64_t progress_of_part = 1000;  // whatever its steps
// What keeps the draws of passes apart.
constexpr int of_checks = 0, vote_on_clean = 1, final_pass = 2, vote_on_parts = 3;

}  // namespace

void AutoAttackOptions::fields(Fields& f) {
  f.text("version", version, "which attacks", {"standard", "plus", "rand"});
  f.text("norm", norm, "norm of the ball", {"linf", "l2"});
  f.number("eps", eps, "radius of the ball, in pixel units", 0, 1e4);
  f.integer("steps", steps, "steps of the gradient attacks", 1, 1000000);
  f.integer("queries", queries, "queries of square", 1, 1 << 30);
}

std::vector<std::string> autoattack_parts(const AutoAttackOptions& o, int64_t classes) {
  auto const part = [&](const char* name, const std::string& more = "") {
    std::string const steps = o.steps == 100 ? "" : cat(",steps=", o.steps);
    return cat(name, ":norm=", o.norm, ",eps=", format_number(o.eps), steps, more);
  };
  // As the reference has it: the schedule of window sizes is that of 10000 queries, whatever their number.
  std::string const square = cat("square:norm=", o.norm, ",eps=", format_number(o.eps),
                                 o.queries == 5000 ? "" : cat(",queries=", o.queries), ",rescale=false");
  std::string const targets = cat(",targets=", std::min<int64_t>(9, classes - 1));
  std::vector<std::string> parts;
  if (o.version == "rand") return {part("apgd-ce", ",eot=20"), part("apgd-dlr", ",eot=20")};
  if (o.version == "plus") {
    parts = {part("apgd-ce", ",restarts=5"), part("apgd-dlr", ",restarts=5"), part("fab", ",restarts=5"), square};
    if (classes > 2) parts.insert(parts.end(), {part("apgd-t", targets), part("fab-t", targets)});
    return parts;
  }
  if (classes == 2) return {part("apgd-ce"), part("apgd-dlr"), part("fab"), square};
  return {part("apgd-ce"), part("apgd-t", targets), part("fab-t", targets), square};
}

std::vector<uint8_t> wrong_by_majority(Classifier& model, const Batch& b, const AttackOptions& options, int round) {
  Passes const passes(model, options.batch);
  auto const labels = b.y.to_host<int32_t>();
  std::vector<int> wrong(labels.size(), 0);
  for (int vote = 0; vote < votes; ++vote) {
    Tensor const logits = passes.logits(b, model_key("autoattack", options, 0, round, vote));
    auto const predictions = argmax(logits).to_host<int32_t>();
    for (size_t i = 0; i < labels.size(); ++i) wrong[i] += predictions[i] != labels[i];
  }
  std::vector<uint8_t> majority;
  majority.reserve(wrong.size());
  for (int count : wrong) majority.push_back(2 * count > votes);
  return majority;
}

namespace {

/// What makes a model's result doubtful (the checks of Croce & Hein's evaluation).
class Doubts {
 public:
  Doubts(Classifier& model, const Batch& batch, const AttackOptions& options, const AutoAttackOptions& o)
      : model_(model), batch_(batch), options_(options), o_(o), passes_(model, options.batch) {}

  std::vector<std::string> before() {
    std::vector<Tensor> logits;
    logits.reserve(checking_passes);
    for (int pass = 0; pass < checking_passes; ++pass)
      logits.push_back(passes_.logits(batch_, model_key("autoattack", options_, 0, of_checks, pass)));
    warn_if(draws(logits) && o_.version != "rand",
            "the model draws: its passes differ, and a single one is no verdict; use version=rand");
    warn_if(look_like_probabilities(logits[0]),
            "the logits look like probabilities: attacks need the values before the softmax");
    warn_of_classes();
    warn_of_gradients();
    return std::move(warnings_);
  }

 private:
  void warn_if(bool doubtful, const std::string& text) {
    if (doubtful) warnings_.push_back(text);
  }

  /// Passes get different numbers of images right, or logits, each image's scaled to length 1, lie more than 1e-4
  /// apart.
  bool draws(const std::vector<Tensor>& logits) const {
    auto const labels = batch_.y.to_host<int32_t>();
    auto const right = [&](const Tensor& z) {
      auto const predictions = argmax(z).to_host<int32_t>();
      int64_t count = 0;
      for (size_t i = 0; i < labels.size(); ++i) count += predictions[i] == labels[i];
      return count;
    };
    auto const first = logits[0].to_host<float>();
    for (const Tensor& z : logits)
      if (right(z) != right(logits[0]) || !(distance(first, z.to_host<float>()) <= 1e-4)) return true;
    return false;
  }

  double distance(const std::vector<float>& a, const std::vector<float>& b) const {
    size_t const k = static_cast<size_t>(model_.classes());
    double most = 0;
    for (size_t row = 0; row < a.size(); row += k) {
      double aa = 0, bb = 0, apart = 0;
      for (size_t j = row; j < row + k; ++j) {
        aa += double(a[j]) * double(a[j]);
        bb += double(b[j]) * double(b[j]);
      }
      for (size_t j = row; j < row + k; ++j) {
        double const d =
            double(a[j]) / std::max(std::sqrt(aa), 1e-300) - double(b[j]) / std::max(std::sqrt(bb), 1e-300);
        apart += d * d;
      }
      if (!(std::sqrt(apart) <= most)) most = std::sqrt(apart);
    }
    return most;
  }

  void warn_of_classes() {
    int64_t const k = model_.classes();
    warn_if(k == 2, "two classes: DLR is the plain margin, and every attack has one target");
    if (o_.version == "rand") return;  // aims at no class
    warn_if(k == 3,
            "three classes: the targeted DLR divides by z_(1) - z_(3), as the plain one, and is flat where the "
            "target comes last");
    warn_if(k > 2 && k <= 9, cat(k, " classes: ", k - 1, " targets instead of 9"));
  }

  /// The gradient of DLR at APGD's start, where that does not fool the model yet: of a label that has fallen to the
  /// third place DLR is constant, and nothing is hidden.
  void warn_of_gradients() {
    warn_if(model_.gradient_path() != "exact", "gradients are not the model's own (" + model_.gradient_path() + ")");
    Tensor const start =
        apgd_start(batch_, o_.norm, o_.eps, draw_key("autoattack", options_, Purpose::attack_start, 0, 0));
    Outputs const out = passes_.evaluate({start, batch_.y, batch_.ids}, Loss{.kind = Loss::dlr, .labels = batch_.y},
                                         {.logits = true, .input_gradient = true},
                                         model_key("autoattack", options_, 0, of_checks, checking_passes));
    auto const lengths = linf_distance(out.input_gradient, Tensor::zeros_like(out.input_gradient));
    auto const predictions = argmax(out.logits).to_host<int32_t>(), labels = batch_.y.to_host<int32_t>();
    bool flat = false;
    for (size_t i = 0; i < labels.size(); ++i) flat = flat || (lengths[i] == 0 && predictions[i] == labels[i]);
    warn_if(flat, "DLR has no gradient at some images: gradient attacks will fail there, which is not robustness");
  }

  Classifier& model_;
  const Batch& batch_;
  const AttackOptions& options_;
  const AutoAttackOptions& o_;
  Passes passes_;
  std::vector<std::string> warnings_;
};

class AutoAttack final : public Attack {
 public:
  explicit AutoAttack(AutoAttackOptions o) : o_(std::move(o)) {
    require(o_.norm != "linf" || o_.eps <= 1, "attack autoattack: eps=", o_.eps, " in linf; pixels lie in [0, 1]");
  }
  Threat threat() const override { return {.norm = o_.norm, .eps = o_.eps}; }
  std::string spec() const override { return spec_text(o_, "autoattack"); }

  AttackResult run(Classifier& model, const Batch& batch, const AttackOptions& options) const override {
    if (batch.size() == 0) return {.adversarial = batch.x};
    check(batch.y.defined() && batch.ids.defined(), "attack autoattack: a batch without labels or ids");
    check_goals("autoattack", batch, -1, model.classes());
    require(model.classes() >= 2, "attack autoattack: a model of one class cannot be fooled");
    std::vector<std::string> const parts = autoattack_parts(o_, model.classes());
    // Outside an evaluation nothing says which images are left for the others.
    return options.evaluation ? evaluate(parts, model, batch, options)
                              : make_attack(parts[0])->run(model, batch, options);
  }

 private:
  AttackResult evaluate(const std::vector<std::string>& parts, Classifier&, const Batch&, const AttackOptions&) const;
  void run_part(const std::string& part, int number, size_t parts, Classifier&, const Batch&, const AttackOptions&,
                AttackResult&) const;
  std::vector<uint8_t> broken(const AttackResult& of_part, int number, Classifier&, const Batch& open,
                              const AttackOptions&) const;
  AutoAttackOptions o_;
};

std::vector<int64_t> standing_rows(const AttackResult& r) {
  std::vector<int64_t> rows;
  for (size_t i = 0; i < r.success.size(); ++i)
    if (r.clean_correct[i] && !r.success[i]) rows.push_back(static_cast<int64_t>(i));
  return rows;
}

AttackResult AutoAttack::evaluate(const std::vector<std::string>& parts, Classifier& model, const Batch& batch,
                                  const AttackOptions& options) const {
  Passes const passes(model, options.batch);
  size_t const n = static_cast<size_t>(batch.size());
  AttackResult r;
  r.warnings = Doubts(model, batch, options, o_).before();
  r.adversarial = batch.x.clone();
  r.success.assign(n, 0);
  r.queries.assign(n, checking_passes + 1);
  r.gradients.assign(n, 1);
  if (model.randomised()) {
    for (uint8_t wrong : wrong_by_majority(model, batch, options, vote_on_clean)) r.clean_correct.push_back(!wrong);
  } else {
    auto const predictions = argmax(passes.logits(batch)).to_host<int32_t>(), labels = batch.y.to_host<int32_t>();
    for (size_t i = 0; i < n; ++i) r.clean_correct.push_back(predictions[i] == labels[i]);
  }
  for (int64_t& queries : r.queries) queries += model.randomised() ? votes : 1;

  for (size_t i = 0; i < parts.size(); ++i)
    run_part(parts[i], static_cast<int>(i), parts.size(), model, batch, options, r);
  if (options.progress) {
    int64_t const total = progress_of_part * static_cast<int64_t>(parts.size());
    options.progress({.done = total, .total = total, .standing = static_cast<int64_t>(standing_rows(r).size())});
  }
  Loss const loss{.labels = batch.y};
  r.loss = passes
               .evaluate({r.adversarial, batch.y, batch.ids}, loss, {.loss = true},
                         model_key("autoattack", options, 0, final_pass))
               .loss.to_host<float>();
  for (int64_t& queries : r.queries) ++queries;
  return r;
}

/// One attack on what is left, entered into the result.
void AutoAttack::run_part(const std::string& part, int number, size_t parts, Classifier& model, const Batch& batch,
                          const AttackOptions& options, AttackResult& r) const {
  auto const attack = make_attack(part);
  std::vector<int64_t> const rows = standing_rows(r);
  if (!rows.empty()) {
    AttackOptions inner = options;
    if (options.progress)
      inner.progress = [&](const AttackProgress& p) {
        options.progress({.done = progress_of_part * number + (p.total > 0 ? progress_of_part * p.done / p.total : 0),
                          .total = progress_of_part * static_cast<int64_t>(parts),
                          .standing = p.standing});
      };
    Batch const open = select(batch, rows);
    AttackResult const of_part = attack->run(model, open, inner);
    std::vector<uint8_t> const fooled = broken(of_part, number, model, open, options);
    std::vector<int64_t> positions, taken;
    for (size_t i = 0; i < rows.size(); ++i) {
      size_t const row = static_cast<size_t>(rows[i]);
      r.queries[row] += of_part.queries[i] + (model.randomised() ? votes : 0);
      r.gradients[row] += of_part.gradients.empty() ? 0 : of_part.gradients[i];
      if (!fooled[i]) continue;
      r.success[row] = 1;
      positions.push_back(static_cast<int64_t>(i));
      taken.push_back(rows[i]);
    }
    if (!taken.empty()) scatter_rows(r.adversarial, gather_rows(of_part.adversarial, positions), taken);
    r.nan_gradients += of_part.nan_gradients;
    r.warnings.insert(r.warnings.end(), of_part.warnings.begin(), of_part.warnings.end());
  }
  r.stages.push_back({attack->spec(), static_cast<int64_t>(standing_rows(r).size())});
}

/// Which images a part has broken: successes inside the ball, which a random model must confirm by majority.
std::vector<uint8_t> AutoAttack::broken(const AttackResult& of_part, int number, Classifier& model, const Batch& open,
                                        const AttackOptions& options) const {
  // Every candidate of a random model has a say: what one pass of the part took for right may be wrong on average.
  std::vector<uint8_t> fooled = model.randomised() ? wrong_by_majority(model, {of_part.adversarial, open.y, open.ids},
                                                                       options, vote_on_parts + number)
                                                   : of_part.success;
  auto const distance =
      o_.norm == "l2" ? l2_distance(of_part.adversarial, open.x) : linf_distance(of_part.adversarial, open.x);
  double const slack = o_.norm == "l2" ? 1e-5 : 1e-6;  // the rounding of pixels
  for (size_t i = 0; i < fooled.size(); ++i) fooled[i] = fooled[i] && distance[i] <= o_.eps + slack;
  return fooled;
}

const AttackRegistry::Add autoattack(
    {.name = "autoattack",
     .summary = "an ensemble without parameters: APGD, FAB and Square in turn, each on the images still standing",
     .paper = "Croce & Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free "
              "attacks, ICML 2020",
     .rule = "standing = images that the model has right\n"
             "for each part: run it on the standing images; what it fools is stored and stands no more\n"
             "standard: apgd-ce, apgd-t, fab-t, square;  two classes: apgd-ce, apgd-dlr, fab, square\n"
             "plus: apgd-ce and apgd-dlr with 5 restarts, fab with 5 restarts, square, apgd-t, fab-t\n"
             "rand: apgd-ce and apgd-dlr over averages of 20 passes\n"
             "a random model is fooled where it is wrong in most of 10 fresh passes",
     .facts = {{"group", "AutoAttack"},
               {"norm", "linf, l2"},
               {"access", "white"},
               {"targeted", "no"},
               {"draws", "start, windows"},
               {"cost", "100 + 100 x targets + 100 x targets gradients, 5000 queries, on survivors only"}}},
    default_fields<AutoAttackOptions>(), [](const Spec& s) -> std::unique_ptr<Attack> {
      return std::make_unique<AutoAttack>(configure<AutoAttackOptions>(s, "attack autoattack"));
    });

}  // namespace
}  // namespace mith
