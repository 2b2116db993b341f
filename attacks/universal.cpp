#include "attacks/universal.h"

#include <algorithm>

#include "attacks/attack_books.h"
#include "attacks/draws.h"
#include "attacks/driver.h"
#include "attacks/steps.h"
#include "engine/ops/arithmetic.h"
#include "kernels/launch/table.h"

namespace mith {
namespace {

const Kernel<float*, const float*, const float*, int64_t, int64_t, int64_t> universal_apply{"universal_apply"};
const Kernel<float*, const float*, const float*, const float*, const float*, float, int, int64_t, int64_t, int64_t>
    universal_gradient{"universal_gradient"};
const Kernel<float*, const float*, int64_t, int64_t, int64_t> universal_mean_sign{"universal_mean_sign"};
const Kernel<float*, const float*, float, int64_t> universal_shift{"universal_shift"};
const Kernel<int64_t*, const float*, int64_t> count_nan_f32{"count_nan_f32"};

constexpr int of_crafting = 0, of_evaluation = 1;  // what keeps a random model's draws apart

/// A batch as a set to craft on.
class BatchAsSet final : public BatchSource {
 public:
  BatchAsSet(const Batch& batch, int64_t classes)
      : batch_(batch), classes_(classes), labels_(batch.y.to_host<int32_t>()) {}
  int64_t size() const override { return batch_.size(); }
  int64_t classes() const override { return classes_; }
  Shape image_shape() const override { return {batch_.x.dim(1), batch_.x.dim(2), batch_.x.dim(3)}; }
  const std::vector<int32_t>& labels() const override { return labels_; }
  const std::vector<std::string>& class_names() const override { return names_; }
  Batch batch(const std::vector<int64_t>& positions, bool, const DrawKey&) const override {
    return select(batch_, positions);
  }

 private:
  const Batch& batch_;
  int64_t classes_;
  std::vector<int32_t> labels_;
  std::vector<std::string> names_;
};

/// A set that tells how many images each batch taken from it has: crafting is watched, and stopped, wherever it goes
/// on.
class WatchedSet final : public BatchSource {
 public:
  WatchedSet(const BatchSource& set, std::function<void(int64_t)> taken) : set_(set), taken_(std::move(taken)) {}
  int64_t size() const override { return set_.size(); }
  int64_t classes() const override { return set_.classes(); }
  Shape image_shape() const override { return set_.image_shape(); }
  const std::vector<int32_t>& labels() const override { return set_.labels(); }
  const std::vector<std::string>& class_names() const override { return set_.class_names(); }
  Batch batch(const std::vector<int64_t>& positions, bool augment, const DrawKey& key) const override {
    taken_(std::ssize(positions));
    return set_.batch(positions, augment, key);
  }

 private:
  const BatchSource& set_;
  std::function<void(int64_t)> taken_;
};

/// A copy whose tensors are its own.
Universal own(Universal u) {
  for (Tensor* t : {&u.values, &u.current, &u.adam.exp_avg, &u.adam.exp_avg_sq})
    if (t->defined()) *t = t->clone();
  return u;
}

std::vector<int32_t> clean_predictions(const Crafting& c, const DrawKey& key) {
  constexpr int64_t images_a_pass = 64;
  int64_t const n = std::ssize(c.positions), at_a_time = at_once(c.options, std::min(images_a_pass, n));
  Passes const passes(c.model, at_a_time);
  std::vector<int32_t> all(c.set.labels().size(), -1);
  for (int64_t first = 0; first < n; first += at_a_time) {
    auto const begin = c.positions.begin() + first;
    std::vector<int64_t> const some(begin, begin + std::min(at_a_time, n - first));
    auto const part = argmax(passes.logits(c.set.batch(some, false, {}), key)).to_host<int32_t>();
    for (size_t i = 0; i < some.size(); ++i) all[static_cast<size_t>(some[i])] = part[i];
  }
  return all;
}

}  // namespace

int64_t at_once(const AttackOptions& options, int64_t wanted) {
  return options.batch > 0 ? std::min(options.batch, wanted) : wanted;
}

std::vector<int64_t> pass_order(const Crafting& c, const std::string& attack, size_t pass) {
  auto order = shuffled(static_cast<int64_t>(c.positions.size()),
                        draw_key(attack, c.options, Purpose::shuffle, 0, static_cast<int>(pass)));
  for (int64_t& p : order) p = c.positions[static_cast<size_t>(p)];
  return order;
}

int64_t count_fooled(const Tensor& logits, const std::vector<int32_t>& classes, int64_t target) {
  auto const predicted = argmax(logits).to_host<int32_t>();
  int64_t count = 0;
  for (size_t i = 0; i < predicted.size(); ++i)
    count += target < 0 ? predicted[i] != classes[i] : predicted[i] == target;
  return count;
}

Tensor add_universal(const Tensor& x, const Tensor& v) {
  check(x.shape().with(0, 0) == Shape{0, v.dim(0), v.dim(1), v.dim(2)}, "a perturbation ", v.shape(), " for images ",
        x.shape());
  Tensor out = Tensor::empty_like(x);
  universal_apply(x.stream(), out.data<float>(), x.data<float>(), v.data<float>(), x.dim(0), v.dim(0),
                  v.dim(1) * v.dim(2));
  return out;
}

Tensor mean_gradient(const Tensor& x, const Tensor& v, const Tensor& gradient, const Tensor& loss, float cap,
                     bool exact) {
  Tensor mean = Tensor::empty_like(v);
  universal_gradient(v.stream(), mean.data<float>(), x.data<float>(), v.data<float>(), gradient.data<float>(),
                     loss.data<float>(), cap, exact, x.dim(0), v.dim(0), v.dim(1) * v.dim(2));
  return mean;
}

Tensor mean_sign(const Tensor& delta) {
  Tensor mean = Tensor::empty({delta.dim(1), delta.dim(2), delta.dim(3)}, DType::f32, delta.device());
  universal_mean_sign(delta.stream(), mean.data<float>(), delta.data<float>(), delta.dim(0), delta.dim(1),
                      delta.dim(2) * delta.dim(3));
  return mean;
}

void shift_universal(Tensor& v, const Tensor& delta, float limit) {
  universal_shift(v.stream(), v.data<float>(), delta.data<float>(), limit, v.numel());
}

Tensor project_universal(const Tensor& v, const std::string& norm, float eps) {
  Tensor const zero = Tensor::zeros_like(v);
  if (norm == "linf") {
    Tensor limited = v.clone();
    shift_universal(limited, zero, eps);
    return limited;
  }
  Shape const one{1, v.dim(0), v.dim(1), v.dim(2)};
  float const length = l2_distance(v.view(one), zero.view(one)).front();
  return length > eps ? scale(v, double(eps) / double(length)) : v;
}

Universal UniversalAttack::craft(Classifier& model, const BatchSource& set, const AttackOptions& options,
                                 const AfterPass& after_pass, Universal from) const {
  int64_t const target = threat().target, total = passes();
  check_goals(name(), {{}, Tensor::from(set.labels(), {set.size()}), {}}, target, model.classes());
  Universal u = from.values.defined() ? std::move(from) : begin(set.image_shape(), options);
  u.finished = u.finished || total == 0;
  std::vector<int64_t> positions;
  for (size_t i = 0; i < set.labels().size(); ++i)
    if (set.labels()[i] != target) positions.push_back(static_cast<int64_t>(i));
  require(!positions.empty(), "attack ", name(), ": no images to craft on",
          target < 0 ? "" : " but those of the target class");

  int64_t const n = std::ssize(positions);
  int64_t taken = 0;  // in this pass, which may take an image more than once
  auto const tell = [&] {
    if (options.progress)
      options.progress({.done = std::ssize(u.passes) * n + std::clamp(taken, int64_t{0}, n), .total = total * n});
  };
  WatchedSet const watched(set, [&](int64_t images) {
    taken += images;
    tell();
  });
  Crafting crafting{.model = model, .set = watched, .options = options, .positions = std::move(positions), .clean = {}};
  if (!u.finished && needs_clean_predictions()) {
    taken = -n;  // before the first pass
    crafting.clean = clean_predictions(crafting, model_key(name(), options, of_crafting, -1));
    if (u.passes.empty()) u.queries += n;
  }
  while (!u.finished) {
    u = own(std::move(u));
    taken = 0;
    pass(crafting, u);
    taken = 0;
    u.finished = u.finished || std::ssize(u.passes) >= total;
    if (after_pass) after_pass(u);
    tell();
  }
  check(!options.strict || u.nan_gradients == 0, "attack ", name(), ": the gradient is NaN at ", u.nan_gradients,
        " pixels");
  return u;
}

AttackResult UniversalAttack::attack(Classifier& model, const Universal& u, const Batch& batch,
                                     const AttackOptions& options) const {
  if (batch.size() == 0) return {.adversarial = batch.x};
  check(batch.y.defined() && batch.ids.defined(), "attack ", name(), ": a batch without labels or ids");
  AttackResult result;
  result.adversarial = apply(u, batch, options);
  if (!options.evaluation) return result;

  int64_t const target = threat().target;
  auto const labels = batch.y.to_host<int32_t>();
  check_goals(name(), batch, target, model.classes());
  Passes const passes(model, options.batch);
  auto const key = [&](int pass) { return model_key(name(), options, of_evaluation, 0, pass); };
  auto const before = argmax(passes.logits(batch, key(0))).to_host<int32_t>();
  // Images that are wrong to begin with, or of the target class, stay as they are.
  std::vector<int64_t> untouched;
  for (size_t i = 0; i < labels.size(); ++i) {
    result.clean_correct.push_back(before[i] == labels[i]);
    if (before[i] != labels[i] || labels[i] == target) untouched.push_back(static_cast<int64_t>(i));
  }
  if (!untouched.empty()) scatter_rows(result.adversarial, gather_rows(batch.x, untouched), untouched);
  Batch const attacked{result.adversarial, batch.y, batch.ids};
  Outputs const out = passes.evaluate(attacked, attack_loss(attacked, target), {.logits = true, .loss = true}, key(1));
  auto const after = argmax(out.logits).to_host<int32_t>();
  for (size_t i = 0; i < labels.size(); ++i) {
    bool const open = result.clean_correct[i] && labels[i] != target;
    result.success.push_back(open && (target < 0 ? after[i] != labels[i] : after[i] == target));
  }
  result.loss = out.loss.to_host<float>();
  result.queries.assign(labels.size(), 2);
  result.gradients.assign(labels.size(), 0);
  return result;
}

AttackResult UniversalAttack::run(Classifier& model, const Batch& batch, const AttackOptions& options) const {
  if (batch.size() == 0) return {.adversarial = batch.x};
  check(batch.y.defined() && batch.ids.defined(), "attack ", name(), ": a batch without labels or ids");
  Universal const u = craft(model, BatchAsSet(batch, model.classes()), options);
  AttackResult result = attack(model, u, batch, options);
  for (int64_t& q : result.queries) q += u.queries / batch.size();
  for (int64_t& g : result.gradients) g += u.gradients / batch.size();
  result.nan_gradients = u.nan_gradients;
  return result;
}

std::unique_ptr<UniversalAttack> make_universal(const std::string& spec) {
  auto attack = make_attack(spec);
  require(dynamic_cast<UniversalAttack*>(attack.get()), "attack ", spec,
          " is made for each image, not crafted on a set");
  return std::unique_ptr<UniversalAttack>(static_cast<UniversalAttack*>(attack.release()));
}

Tensor AdamUniversal::apply(const Universal& u, const Batch& batch, const AttackOptions& options) const {
  return compose(u.values, batch, draw_key(name(), options, Purpose::attack_start, 0, 0));
}

Universal AdamUniversal::begin(const Shape& image, const AttackOptions& options) const {
  Universal u;
  u.values = start(image, options);
  u.adam.rate = double(plan().rate);
  return u;
}

void AdamUniversal::pass(const Crafting& c, Universal& u) const {
  Plan const p = plan();
  int64_t const n = static_cast<int64_t>(c.positions.size()), batch = std::min(p.batch, n);
  Passes const passes(c.model, at_once(c.options, batch));
  auto const order = pass_order(c, name(), u.passes.size());
  Tensor bad = Tensor::zeros({1}, DType::i64, u.values.device());
  double objective = 0;
  int64_t fooled = 0;
  for (int64_t first = 0; first < n; first += batch) {
    int64_t const count = std::min(batch, n - first);
    Batch const clean = c.set.batch({order.begin() + first, order.begin() + first + count}, false, {});
    int const step = static_cast<int>(u.steps);
    DrawKey const pose = draw_key(name(), c.options, Purpose::noise, 0, step);
    Batch const composed{compose(u.values, clean, pose), clean.y, clean.ids};
    // Not only the direction: how much an image weighs in the mean is the loss's own.
    Loss loss = attack_loss(composed, p.target);
    loss.direction_only = false;
    Outputs const out = passes.evaluate(composed, loss, {.logits = true, .loss = true, .input_gradient = true},
                                        model_key(name(), c.options, of_crafting, step));
    count_nan_f32(bad.stream(), bad.data<int64_t>(), out.input_gradient.data<float>(), out.input_gradient.numel());
    u.adam.ascend(u.values, gradient(u.values, clean, out, pose), p.low, p.high, bad);
    u.values = after_step(u.values);
    ++u.steps;

    for (float l : out.loss.to_host<float>()) objective += double(l);
    fooled += count_fooled(out.logits, clean.y.to_host<int32_t>(), p.target);
  }
  u.queries += n;
  u.gradients += n;
  u.nan_gradients += bad.to_host<int64_t>().front();
  u.passes.push_back({.objective = objective / double(n), .fooled = double(fooled) / double(n)});
}

}  // namespace mith
