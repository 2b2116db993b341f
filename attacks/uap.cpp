#include "attacks/uap.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "attacks/deepfool.h"
#include "attacks/draws.h"
#include "attacks/driver.h"
#include "attacks/steps.h"
#include "engine/ops/arithmetic.h"

namespace mith {

constexpr float infinity = std::numeric_limits<float>::infinity();

void Uap::Config::fields(Fields& f) {
  f.number("eps", eps, "largest change of a pixel", 0, 1);
  f.number("rate", rate, "Adam's learning rate", 0, 1);
  f.integer("passes", passes, "passes over the crafting set", 0, 1000000);
  f.integer("batch", batch, "images of one step", 1, 65536);
  f.text("clamp_grad", clamp_grad, "gradient of the clamp to [0, 1]: its own, or passed straight through",
         {"exact", "pass"});
  f.number("loss_cap", loss_cap, "images whose loss has reached it do not count; 0: all count", 0, 1e6);
  f.integer("target", target, "class to be mistaken for; -1: any other", -1, 1 << 30);
}

Tensor Uap::gradient(const Tensor& v, const Batch& b, const Outputs& out, const DrawKey&) const {
  return mean_gradient(b.x, v, out.input_gradient, out.loss, c_.loss_cap > 0 ? c_.loss_cap : infinity,
                       c_.clamp_grad == "exact");
}

void UapDeepFool::Config::fields(Fields& f) {
  f.number("eps", eps, "radius of the ball of v, in pixel units; norm=l2 has no default", 0, 1e4);
  f.text("norm", norm, "of v", {"linf", "l2"});
  f.number("delta", delta, "finished when 1 - delta of the images are fooled", 0, 1);
  f.integer("passes", passes, "passes over the crafting set, at most", 0, 1000000);
  f.integer("batch", batch, "images that move v together, by the mean sign of their updates; 1: one after another", 1,
            65536);
  f.text("inner", inner, "what moves one image: across its nearest boundary, or by one gradient step",
         {"deepfool", "fgsm"});
  f.integer("steps", steps, "steps of inner=deepfool; an image that needs the last of them does not count", 2, 1000000);
  f.number("overshoot", overshoot, "of inner=deepfool", 0, 10);
  f.number("inner_eps", inner_eps, "step length of inner=fgsm, in the norm of v", 0, 1e4);
  f.integer("target", target, "class to be mistaken for (inner=fgsm); -1: any other", -1, 1 << 30);
}

namespace {

// What keeps a random model's draws apart, beside those of UniversalAttack.
constexpr int of_updates = 2, of_judges = 3, of_passes = 4;

std::string inner_spec(const UapDeepFool::Config& c) {
  // In L2 whatever the ball of v, as the paper has it; the last step is not made, because what needs it does not count.
  if (c.inner == "deepfool")
    return cat("deepfool:norm=l2,steps=", c.steps - 1, ",overshoot=", format_number(double(c.overshoot)));
  return cat(c.norm == "l2" ? "fgm" : "fgsm", ":eps=", format_number(double(c.inner_eps)), ",target=", c.target);
}

/// What several images move v by: the mean of the signs of their updates, at the updates' mean size. The mean of the
/// updates themselves would stop short of every boundary that some images push away from. One image moves v by its own.
/// What the box cut off an image is no part of its update.
Tensor joint_update(const Tensor& from, const Tensor& to) {
  Tensor update = to.clone();
  add_in_place(update, from, -1);
  if (update.dim(0) == 1) return update.view({update.dim(1), update.dim(2), update.dim(3)});
  double size = 0;
  for (float length : l2_distance(to, from)) size += double(length) / double(to.dim(0));
  int64_t const pixels = to.numel() / to.dim(0);
  return scale(mean_sign(update), size / std::sqrt(double(pixels)));
}

/// Clean predictions at these positions of the set.
std::vector<int32_t> clean_at(const Crafting& c, const std::vector<int64_t>& positions) {
  std::vector<int32_t> classes;
  classes.reserve(positions.size());
  for (int64_t p : positions) classes.push_back(c.clean[static_cast<size_t>(p)]);
  return classes;
}

}  // namespace

UapDeepFool::UapDeepFool(Config config) : c_(std::move(config)) {
  require(c_.target < 0 || c_.inner == "fgsm", "attack uap-deepfool: DeepFool has no target; use inner=fgsm");
  require(c_.norm == "l2" || c_.eps <= 1, "attack uap-deepfool: eps=", c_.eps, " with norm=linf lies outside [0, 1]");
  inner_ = make_attack(inner_spec(c_));
}

/// Moves v for the images at these positions that it does not fool yet.
void UapDeepFool::update(const Crafting& c, Universal& u, const std::vector<int64_t>& positions, int call) const {
  int64_t const batch = std::min(c_.batch, std::ssize(c.positions));
  Passes const passes(c.model, at_once(c.options, batch));
  Batch const b = c.set.batch(positions, false, {});
  Batch moved{add_universal(b.x, u.current), b.y, b.ids};
  Tensor const predicted = argmax(passes.logits(moved, model_key(name(), c.options, of_updates, call)));
  u.queries += b.size();
  auto const now = predicted.to_host<int32_t>(), clean = clean_at(c, positions);
  std::vector<int64_t> rows;
  for (size_t i = 0; i < now.size(); ++i)
    if (c_.target < 0 ? now[i] == clean[i] : now[i] != c_.target) rows.push_back(static_cast<int64_t>(i));
  if (rows.empty()) return;

  moved.y = predicted;  // what is to be left is what the model sees now
  moved = select(moved, rows);
  bool const deepfool = c_.inner == "deepfool";
  AttackOptions options;
  options.seed = c.options.seed;
  options.step = call;
  options.evaluation = deepfool;
  // DeepFool passes an image once for each class that it might become.
  int64_t const rivals = deepfool ? std::min<int64_t>(DeepFool{}.candidates, c.model.classes()) - 1 : 1;
  options.batch = at_once(c.options, batch * rivals);
  AttackResult const r = inner_->run(c.model, moved, options);
  for (int64_t q : r.queries) u.queries += q;
  for (int64_t g : r.gradients) u.gradients += g;
  if (!deepfool) {  // it keeps no books
    u.queries += moved.size();
    u.gradients += moved.size();
  }
  u.nan_gradients += r.nan_gradients;
  // DeepFool that ran out of steps found no boundary: what it did is no direction towards one.
  std::vector<int64_t> arrived;
  for (size_t i = 0; i < rows.size(); ++i)
    if (!deepfool || r.success[i]) arrived.push_back(static_cast<int64_t>(i));
  if (arrived.empty()) return;
  Tensor const to = gather_rows(r.adversarial, arrived), from = gather_rows(moved.x, arrived);
  shift_universal(u.current, joint_update(from, to), c_.norm == "linf" ? c_.eps : infinity);
  if (c_.norm == "l2") u.current = project_universal(u.current, c_.norm, c_.eps);
  ++u.steps;
}

UapDeepFool::Found UapDeepFool::measure(const Crafting& c, Universal& u, const Tensor& v,
                                        const std::vector<int64_t>& positions, const DrawKey& key) const {
  constexpr int64_t images_a_pass = 64;
  int64_t const n = std::ssize(positions), at_a_time = at_once(c.options, std::min(images_a_pass, n));
  Passes const passes(c.model, at_a_time);
  Found found;
  for (int64_t first = 0; first < n; first += at_a_time) {
    auto const begin = positions.begin() + first;
    std::vector<int64_t> const some(begin, begin + std::min(at_a_time, n - first));
    Batch const b = c.set.batch(some, false, {});
    Batch const moved{add_universal(b.x, v), b.y, b.ids};
    Outputs const out = passes.evaluate(moved, attack_loss(moved, c_.target), {.logits = true, .loss = true}, key);
    found.fooled += count_fooled(out.logits, clean_at(c, some), c_.target);
    for (float l : out.loss.to_host<float>()) found.objective += double(l);
  }
  u.queries += n;
  return found;
}

/// Keeps the current v if none before fooled more of the judges.
void UapDeepFool::judge(const Crafting& c, Universal& u, const std::vector<int64_t>& judges, int call) const {
  int64_t const fooled = measure(c, u, u.current, judges, model_key(name(), c.options, of_judges, call)).fooled;
  if (fooled < u.fooled) return;
  u.fooled = fooled;
  u.values = u.current.clone();
}

void UapDeepFool::pass(const Crafting& c, Universal& u) const {
  constexpr int64_t judgements = 10, least_judges = 64;
  int64_t const n = std::ssize(c.positions), number = std::ssize(u.passes);
  // The same images all along, so few that judging ten times costs little beside the pass.
  auto judges = pass_order(c, "uap-deepfool judges", 0);
  judges.resize(static_cast<size_t>(std::min(n, std::max(n / judgements, least_judges))));
  if (number == 0 && c_.target >= 0) {
    auto const clean = clean_at(c, judges);
    u.fooled = std::count(clean.begin(), clean.end(), static_cast<int32_t>(c_.target));
  }
  if (!u.current.defined()) u.current = u.values.clone();

  auto const order = pass_order(c, name(), u.passes.size());
  int64_t judged = u.steps;
  for (int64_t first = 0; first < n; first += c_.batch) {
    int64_t const end = std::min(first + c_.batch, n);
    int const call = static_cast<int>(number * n + first);
    update(c, u, {order.begin() + first, order.begin() + end}, call);
    bool const due = end == n || end * judgements / n > first * judgements / n;
    if (!due || u.steps == judged) continue;
    judge(c, u, judges, call);
    judged = u.steps;
  }
  Found const found =
      measure(c, u, u.values, c.positions, model_key(name(), c.options, of_passes, static_cast<int>(number)));
  u.passes.push_back({.objective = found.objective / double(n), .fooled = double(found.fooled) / double(n)});
  u.finished = u.passes.back().fooled >= 1 - double(c_.delta);
}

namespace {

const AttackRegistry::Add uap(
    {
        .name = "uap",
        .summary = "one perturbation for all images, by Adam on a crafting set",
        .paper =
            "Moosavi-Dezfooli et al., CVPR 2017, by Adam on the mean loss; the cap after Shafahi et al., AAAI 2020",
        .rule = "v = 0; for each batch B of each pass:\n"
                "  v <- clamp(v + Adam(grad_v mean_B min(CE(f(clamp(x + v, 0, 1)), y), cap)), -eps, eps)\n"
                "x_adv = clamp(x + v, 0, 1)",
        .facts = {{"norm", "linf"},
                  {"access", "universal"},
                  {"targeted", "yes"},
                  {"draws", "order of the set"},
                  {"cost", "1 gradient per crafting image and pass"}},
    },
    default_fields<Uap::Config>(), [](const Spec& spec) -> std::unique_ptr<Attack> {
      return std::make_unique<Uap>(configure<Uap::Config>(spec, "attack uap"));
    });

const AttackRegistry::Add uap_deepfool(
    {
        .name = "uap-deepfool",
        .summary = "one perturbation for all images, pushed across the boundary of one image after another",
        .paper = "Moosavi-Dezfooli et al., Universal adversarial perturbations, CVPR 2017, algorithm 1; inner=fgsm: "
                 "Hirano, Minagi & Takemoto, BMC Medical Imaging 2021",
        .rule = "v = 0; until 1 - delta of the images are fooled, for x in a drawn order:\n"
                "  if f(x + v) = f(x): r = DeepFool(x + v);  if it needed fewer than `steps`: v <- P(v + r)\n"
                "  every tenth of a pass: v* <- v if no v before fooled more of a drawn part of the set\n"
                "P: |v| <= eps in the norm;  x_adv = clamp(x + v*, 0, 1)",
        .facts = {{"norm", "linf, l2"},
                  {"access", "universal"},
                  {"targeted", "with inner=fgsm"},
                  {"draws", "order of the set"},
                  {"cost", "at most steps x (classes - 1) gradients per image not yet fooled, in each pass"}},
    },
    default_fields<UapDeepFool::Config>(), [](const Spec& spec) -> std::unique_ptr<Attack> {
      return std::make_unique<UapDeepFool>(configure<UapDeepFool::Config>(spec, "attack uap-deepfool"));
    });

}  // namespace
}  // namespace mith
