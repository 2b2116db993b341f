// Attacks against models with closed forms, the properties of the driver, and a small trained net.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "attacks/bim.h"
#include "attacks/eotpgd.h"
#include "attacks/fgsm.h"
#include "attacks/noise.h"
#include "attacks/pgd.h"
#include "attacks/quantize.h"
#include "attacks/tpgd.h"
#include "engine/ops/arithmetic.h"
#include "tests/attack_fixtures.h"
#include "tests/golden_fixtures.h"
#include "tests/universal_fixtures.h"

using namespace mith;
using namespace mith::fixtures;

namespace {

/// Attacks whose loss is the cross-entropy of the labels.
const std::set<std::string> on_cross_entropy{"apgd-ce", "autoattack", "bim", "eotpgd", "ffgsm", "fgm",
                                             "fgsm",    "noise",      "pgd", "pgd-l2", "rfgsm"};

/// Largest gap between the empirical distribution and U(0, 1), times sqrt(n).
double kolmogorov(std::vector<double> u) {
  std::sort(u.begin(), u.end());
  double const n = double(u.size());
  double gap = 0;
  for (size_t i = 0; i < u.size(); ++i)
    gap = std::max({gap, std::abs(u[i] - double(i) / n), std::abs(double(i + 1) / n - u[i])});
  return gap * std::sqrt(n);
}

}  // namespace

TEST_CASE("on a linear model FGSM changes the margin by exactly eps |w0 - w1|_1") {
  Linear model;
  Batch const b = images_of(model, 16, 0.2f, 0.8f);  // nothing is clipped
  float const eps = 0.05f;
  auto const adv = run(Fgsm{.eps = eps}, model, b, training()).adversarial;
  auto const w = random_weights(2, 3);
  double l1 = 0;
  for (size_t j = 0; j < pixels; ++j) l1 += std::abs(w[0][j] - w[1][j]);
  auto const before = host(model.logits(b)), after = host(model.logits({adv, b.y, b.ids}));
  auto const y = b.y.to_host<int32_t>();
  for (size_t i = 0; i < 16; ++i) {
    double const sign = y[i] == 0 ? 1 : -1;
    double const change = sign * (double(after[2 * i]) - after[2 * i + 1] - before[2 * i] + before[2 * i + 1]);
    CHECK(std::abs(change + eps * l1) <= 1e-4);  // rounding of 36 pixels and of logits about 10
  }
}

TEST_CASE("the iterative attacks reduce to the simpler ones bit for bit") {
  Wavy model;
  Batch const b = images_of(model, 20);
  for (AttackOptions const& options : {AttackOptions{}, training()}) {
    auto const fgsm = run(Fgsm{.eps = 0.03f}, model, b, options);
    auto const once = run(Pgd{.eps = 0.03f, .alpha = 0.03f, .steps = 1, .random_start = false}, model, b, options);
    CHECK(host(fgsm.adversarial) == host(once.adversarial));
    auto const bim = run(Bim{.eps = 0.03f, .alpha = 0.01f, .steps = 6}, model, b, options);
    auto const pgd = run(Pgd{.eps = 0.03f, .alpha = 0.01f, .steps = 6, .random_start = false}, model, b, options);
    CHECK(host(bim.adversarial) == host(pgd.adversarial));
    CHECK(bim.success == pgd.success);
    CHECK(host(bim.adversarial) != host(fgsm.adversarial));
  }
}

TEST_CASE("Kurakin's rule gives the published step counts") {
  CHECK(Bim{.eps = 0.03f, .steps = 0}.resolved_steps() == 9);
  CHECK(Bim{.eps = 8 / 255.f, .steps = 0}.resolved_steps() == 10);
  CHECK(Bim{.eps = 16 / 255.f, .steps = 0}.resolved_steps() == 20);
  CHECK(Bim{.eps = 0, .steps = 0}.resolved_steps() == 1);
}

TEST_CASE("a step length of 0 stands for 2.5 eps / steps") {
  float const eps = 0.1f, alpha = 2.5f * eps / 5;
  CHECK(Pgd{.eps = eps, .alpha = 0, .steps = 5}.resolved_alpha() == alpha);
  CHECK(PgdL2{.eps = eps, .alpha = 0, .steps = 5}.resolved_alpha() == alpha);
  CHECK(Bim{.eps = eps, .alpha = 0, .steps = 5}.resolved_alpha() == alpha);
  CHECK(EotPgd{.eps = eps, .alpha = 0, .steps = 5}.resolved_alpha() == alpha);
  CHECK(Tpgd{.eps = eps, .alpha = 0, .steps = 5}.resolved_alpha() == alpha);
  CHECK(Pgd{.alpha = 0.02f}.resolved_alpha() == 0.02f);
  Wavy model;
  Batch const b = images_of(model, 4, 0.3f, 0.7f);
  for (const char* name : {"pgd", "pgd-l2", "bim", "eotpgd", "tpgd"}) {
    CAPTURE(name);
    auto const with = [&](double length) {
      return host(make_attack(cat(name, ":eps=0.1,steps=5,alpha=", format_number(length)))
                      ->run(model, b, training())
                      .adversarial);
    };
    CHECK(with(0) == with(double(alpha)));
    CHECK(with(0) != with(0.01));
  }
}

TEST_CASE("steps that do not reach the border of the ball go as far as all of them together") {
  Linear model;
  Batch const b = images_of(model, 4, 0.3f, 0.7f);
  for (float d :
       linf_distance(run(Bim{.eps = 0.1f, .alpha = 0.01f, .steps = 7}, model, b, training()).adversarial, b.x))
    CHECK(std::abs(d - 0.07f) <= 1e-6);  // every gradient has one sign
}

TEST_CASE("another seed and another step of training give other draws") {
  Wavy model;
  Batch const b = images_of(model, 64);
  AttackOptions one, two;
  one.evaluation = two.evaluation = false;
  two.seed = 1;
  CHECK(host(run(Pgd{}, model, b, one).adversarial) != host(run(Pgd{}, model, b, two).adversarial));
  two = one;
  two.step = 1;
  CHECK(host(run(Pgd{}, model, b, one).adversarial) != host(run(Pgd{}, model, b, two).adversarial));
}

TEST_CASE("evaluation leaves images alone that were wrong to begin with; training attacks every image") {
  Linear model;
  Batch b = images_of(model, 12, 0.2f, 0.8f);
  auto labels = b.y.to_host<int32_t>();
  for (size_t i = 0; i < labels.size(); i += 3) labels[i] = 1 - labels[i];
  b.y = Tensor::from(labels, {12});
  auto const evaluated = run(Pgd{.eps = 0.2f, .alpha = 0.1f}, model, b), trained = run(Pgd{}, model, b, training());
  auto const moved = linf_distance(evaluated.adversarial, b.x),
             moved_in_training = linf_distance(trained.adversarial, b.x);
  for (size_t i = 0; i < labels.size(); ++i) {
    CHECK(evaluated.clean_correct[i] == (i % 3 != 0));
    if (i % 3 == 0) CHECK(moved[i] == 0);
    if (i % 3 == 0) CHECK_FALSE(evaluated.success[i]);
    if (i % 3 != 0) CHECK(moved[i] > 0);
    CHECK(moved_in_training[i] > 0);
  }
}

TEST_CASE("more steps and more restarts never lose a success, and the last iterate's loss is above the start's") {
  Wavy model;
  Batch const b = images_of(model, 48);
  auto const mean_loss = [&](const Tensor& x) {
    auto const loss = host(model.evaluate({x, b.y, b.ids}, attack_loss(b, -1), {.loss = true}).loss);
    return std::accumulate(loss.begin(), loss.end(), 0.0) / 48;
  };
  int64_t first = -1, last = -1;
  std::vector<uint8_t> before(48, 0);
  for (int steps = 1; steps <= 8; ++steps) {
    Pgd const attack{.eps = 0.012f, .alpha = 0.002f, .steps = steps, .random_start = false};
    auto const r = run(attack, model, b);
    for (size_t i = 0; i < 48; ++i) CHECK(r.success[i] >= before[i]);
    CHECK(mean_loss(run(attack, model, b, training()).adversarial) > mean_loss(b.x));
    before = r.success;
    last = successes(r);
    if (steps == 1) first = last;
  }
  CHECK(last > first);  // otherwise the loop above proves nothing
  before.assign(48, 0);
  for (int restarts = 1; restarts <= 6; ++restarts) {
    auto const r = run(Pgd{.eps = 0.01f, .alpha = 0.005f, .steps = 2, .restarts = restarts}, model, b);
    for (size_t i = 0; i < 48; ++i) CHECK(r.success[i] >= before[i]);
    before = r.success;
    if (restarts == 1) first = successes(r);
    last = successes(r);
  }
  CHECK(last > first);
}

TEST_CASE("the driver's books: every success and every loss is found again by evaluating the image anew") {
  Wavy model;
  Batch const b = images_of(model, 40);
  int64_t found = 0;
  for (const char* name : {"fgsm", "fgm", "bim", "pgd", "pgd-l2", "noise"}) {
    CAPTURE(name);
    auto const attack = make_attack(name);
    AttackResult const r = attack->run(model, b, {});
    Outputs const anew =
        model.evaluate({r.adversarial, b.y, b.ids}, attack_loss(b, -1), {.logits = true, .loss = true});
    auto const predicted = argmax(anew.logits).to_host<int32_t>(), y = b.y.to_host<int32_t>();
    for (size_t i = 0; i < 40; ++i) CHECK(bool(r.success[i]) == (predicted[i] != y[i]));
    if (on_cross_entropy.count(name)) CHECK(r.loss == anew.loss.to_host<float>());
    found += successes(r);
  }
  CHECK(found > 0);
}

TEST_CASE("a pixel whose gradient is NaN stays in place, is counted, and fails a strict run") {
  NanGradient model;
  Batch const b = images_of(model, 5, 0.3f, 0.7f);
  auto const r = run(Bim{.eps = 0.05f, .alpha = 0.02f, .steps = 3}, model, b, training());
  CHECK(r.nan_gradients == 5 * 3);
  auto const adv = host(r.adversarial), x = host(b.x);
  for (size_t i = 0; i < 5; ++i) {
    CHECK(adv[i * pixels] == x[i * pixels]);
    CHECK(adv[i * pixels + 1] != x[i * pixels + 1]);
  }
  AttackOptions strict = training();
  strict.strict = true;
  CHECK_THROWS_AS(run(Bim{}, model, b, strict), Error);
  CHECK(run(PgdL2{}, model, b, training()).nan_gradients > 0);
}

TEST_CASE("a network that is certain is attacked all the same") {
  Linear model(2, 1e4);
  Batch const b = images_of(model, 16);
  Outputs const plain = model.evaluate(b, Loss{.labels = b.y}, {.input_gradient = true});
  bool vanished = true;
  for (float g : host(plain.input_gradient)) vanished = vanished && g == 0;
  CHECK(vanished);  // the plain gradient has underflowed: what follows is not free
  auto const r = run(Pgd{.eps = 0.3f, .alpha = 0.05f, .steps = 20}, model, b);
  CHECK(successes(r) == 16);
}

TEST_CASE("a targeted attack reaches its class and leaves images of that class alone") {
  Linear model(3);
  Batch const b = images_of(model, 24);
  auto const y = b.y.to_host<int32_t>();
  auto const r = run(Pgd{.eps = 0.4f, .alpha = 0.05f, .steps = 20, .target = 2}, model, b);
  auto const predicted = argmax(model.logits({r.adversarial, b.y, b.ids})).to_host<int32_t>();
  auto const moved = linf_distance(r.adversarial, b.x);
  CHECK(successes(r) > 0);
  for (size_t i = 0; i < 24; ++i) {
    CHECK(bool(r.success[i]) == (y[i] != 2 && predicted[i] == 2));
    if (y[i] == 2) CHECK(moved[i] == 0);
  }
  CHECK_THROWS_AS(run(Fgsm{.target = 3}, model, b), UsageError);
}

TEST_CASE("on a linear model the L2 attacks move by eps w / |w|, and are finite without a gradient") {
  Linear model;
  Batch const b = images_of(model, 6, 0.4f, 0.6f);
  auto const w = random_weights(2, 3);
  double length = 0;
  for (size_t j = 0; j < pixels; ++j) length += (w[0][j] - w[1][j]) * (w[0][j] - w[1][j]);
  length = std::sqrt(length);
  double const eps = 0.3;
  auto const y = b.y.to_host<int32_t>();
  auto const x = host(b.x);
  for (const Tensor& adv : {run(Fgm{.eps = 0.3f}, model, b, training()).adversarial,
                            run(PgdL2{.eps = 0.3f, .alpha = 0.3f, .steps = 40}, model, b, training()).adversarial}) {
    auto const a = host(adv);
    double worst = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      double const sign = y[i / pixels] == 0 ? -1 : 1;
      double const wanted = sign * eps * (w[0][i % pixels] - w[1][i % pixels]) / length;
      worst = std::max(worst, std::abs(double(a[i]) - double(x[i]) - wanted));
    }
    // PGD comes from a random start: 40 projected steps of the radius leave less than this of it.
    CHECK(worst <= 1e-3);
  }

  Constant flat;
  Batch const c = images_of(flat, 6, 0.4f, 0.6f);
  // Without a gradient pgd-l2 draws a direction, and fgm, which draws nothing, stays.
  for (float d : l2_distance(run(Fgm{.eps = 0.3f}, flat, c, training()).adversarial, c.x)) CHECK(d == 0);
  for (float d : l2_distance(run(PgdL2{.eps = 0.3f, .random_start = false}, flat, c, training()).adversarial, c.x)) {
    CHECK(d > 0);
    CHECK(d <= 0.3f + 1e-5f);
  }
}

TEST_CASE("a gradient of zero moves nothing in L-infinity") {
  Constant model;
  Batch const b = images_of(model, 3);
  CHECK(host(run(Bim{}, model, b, training()).adversarial) == host(b.x));
}

TEST_CASE("random starts are uniform in their ball") {
  Constant model;
  Batch const b = images_of(model, 300, 0.5f, 0.5f);
  DrawKey const key{.seed = 2, .purpose = Purpose::attack_start};
  std::vector<double> u;
  for (float v : host(uniform_in_linf_ball(b, 0.25f, key))) u.push_back((double(v) - 0.25) / 0.5);
  CHECK(kolmogorov(u) <= 1.95);  // a true uniform exceeds this once in a thousand; the draws are fixed
  u.clear();
  for (float d : l2_distance(draw_in_l2_ball(b, 0.4f, L2Start::uniform, key), b.x))
    u.push_back(std::pow(double(d) / 0.4, double(pixels)));
  CHECK(kolmogorov(u) <= 1.95);
  u.clear();
  for (float d : l2_distance(draw_in_l2_ball(b, 0.4f, L2Start::torchattacks, key), b.x)) u.push_back(double(d) / 0.4);
  CHECK(kolmogorov(u) <= 1.95);
}

TEST_CASE("noise moves every pixel by eps, up as often as down") {
  Constant model;
  Batch const b = images_of(model, 100, 0.5f, 0.5f);
  int64_t up = 0;
  for (float v : host(run(Noise{.eps = 0.1f}, model, b, training()).adversarial)) {
    CHECK(std::abs(std::abs(v - 0.5f) - 0.1f) <= 1e-6);
    up += v > 0.5f;
  }
  CHECK(std::abs(double(up) - 1800) <= 5 * 30);  // five deviations of 3600 fair coins
}

TEST_CASE("an attack spends the passes it says and reports its progress") {
  Linear model;
  Batch const b = images_of(model, 8, 0.4f, 0.6f);
  auto used = [&, before = Usage{}]() mutable {
    Usage const now = model.usage(), spent{now.forwards - before.forwards, now.gradients - before.gradients};
    before = now;
    return std::pair(spent.forwards, spent.gradients);
  };
  used();
  int64_t done = 0, total = 0;
  AttackOptions options;
  options.progress = [&](const AttackProgress& p) { done = p.done, total = p.total; };
  auto const weak = run(Fgsm{.eps = 1e-6f}, model, b, options);  // too weak to fool: nobody leaves early
  CHECK(used() == std::pair<int64_t, int64_t>(16, 8));           // the clean pass is the gradient's
  CHECK(weak.queries == std::vector<int64_t>(8, 2));
  CHECK(weak.gradients == std::vector<int64_t>(8, 1));
  CHECK(done == 1);
  CHECK(total == 1);
  run(PgdL2{.eps = 1e-6f, .steps = 5, .restarts = 2}, model, b, options);
  CHECK(used() == std::pair<int64_t, int64_t>(8 * (1 + 2 * 6), 8 * 2 * 5));
  CHECK(done == 10);
  CHECK(total == 10);
  run(Pgd{.eps = 1e-6f, .steps = 5, .restarts = 2}, model, b, options);
  CHECK(used() ==
        std::pair<int64_t, int64_t>(8 * (1 + 2 * 2), 8 * 2 * 2));  // the first step ends in a corner, as do all
  CHECK(done == 10);
  run(Pgd{.steps = 5, .restarts = 2}, model, b, training());  // one start, no books
  CHECK(used() == std::pair<int64_t, int64_t>(8 * 5, 8 * 5));
}

namespace {

/// PGD whose images stay where they have been before.
struct Stubborn : Pgd {
  Plan plan() const {
    Plan p = Pgd::plan();
    p.memoryless = false;
    return p;
  }
};

}  // namespace

TEST_CASE("images that come back to an earlier iterate leave, which changes nothing but the cost") {
  golden::Forced const native("native");  // oneDNN's roundings depend on how many images pass together
  Batch const b = unseen_images();
  for (float const alpha : {0.02f, 0.007f}) {
    CAPTURE(alpha);
    AttackResult const early = run(Pgd{.eps = 0.02f, .alpha = alpha, .steps = 60, .restarts = 2}, trained_model(), b);
    AttackResult const late =
        run(Stubborn{{.eps = 0.02f, .alpha = alpha, .steps = 60, .restarts = 2}}, trained_model(), b);
    CHECK(early.success == late.success);
    CHECK(std::ranges::count(late.success, 0) > 8);
    CHECK(host(early.adversarial) == host(late.adversarial));
    CHECK(early.loss == late.loss);
    auto const sum = [](const std::vector<int64_t>& counts) {
      return std::accumulate(counts.begin(), counts.end(), int64_t{0});
    };
    CHECK(4 * sum(early.gradients) < 3 * sum(late.gradients));
    MESSAGE(sum(early.gradients), " of ", sum(late.gradients));
  }
}

namespace {

/// Of passes with a gradient says that all is right, as a careless MixedNetwork could.
struct Flattering final : Classifier {
  explicit Flattering(Classifier& m) : model(m) {}
  int64_t classes() const override { return model.classes(); }
  Shape image_shape() const override { return model.image_shape(); }
  bool consistent() const override { return false; }
  std::string name() const override { return "flattering"; }
  Outputs run(const Batch& b, const Cotangent& c, const Want& want, const DrawKey& key) override {
    Outputs out = model.evaluate(b, c, want, key);
    if (!want.input_gradient || !want.logits) return out;
    auto const labels = b.y.to_host<int32_t>();
    std::vector<float> logits(labels.size() * size_t(classes()));
    for (size_t i = 0; i < labels.size(); ++i) logits[i * size_t(classes()) + size_t(labels[i])] = 1;
    out.logits = Tensor::from(logits, out.logits.shape());
    return out;
  }
  Classifier& model;
};

}  // namespace

TEST_CASE("of a model that is not consistent, passes without a gradient decide") {
  Linear linear;  // its images are in a corner after a step or two, and stay there
  Flattering model(linear);
  Batch b = images_of(linear, 32);
  auto labels = b.y.to_host<int32_t>();
  for (size_t i = 0; i < 5; ++i) labels[i] = 1 - labels[i];
  b.y = Tensor::from(labels, {b.size()});
  for (bool const random_start : {false, true}) {
    CAPTURE(random_start);
    Pgd const pgd{.eps = 0.1f, .alpha = 0.1f, .steps = 9, .random_start = random_start};
    AttackResult const found = run(pgd, model, b), expected = run(pgd, linear, b);
    CHECK(found.clean_correct == expected.clean_correct);
    CHECK(std::ranges::count(found.clean_correct, 0) >= 5);
    CHECK(found.success == expected.success);
    CHECK(successes(found) > 5);
  }
}

TEST_CASE("a batch without images is given back, and one without labels is refused") {
  Linear model;
  Batch const b = images_of(model, 2);
  AttackResult const r = run(Pgd{}, model, slice(b, 0, 0));
  CHECK(r.adversarial.dim(0) == 0);
  CHECK(r.success.empty());
  CHECK_THROWS_AS(run(Pgd{}, model, {b.x, Tensor(), b.ids}), Error);
  CHECK_THROWS_AS(model.evaluate({b.x.view({2, pixels, 1, 1}), b.y, b.ids}, Loss{}, {.logits = true}), Error);
  CHECK_THROWS_AS(model.evaluate(b, Loss{}, {.loss = true}), Error);
}

TEST_CASE("specs make attacks, and wrong ones say what is wrong") {
  CHECK(make_attack("pgd:eps=4/255,steps=3")->spec() ==
        "pgd:eps=4/255,alpha=2/255,steps=3,restarts=1,random_start=true,target=-1");
  CHECK(make_attack("fgm:eps=0.5")->threat().norm == "l2");
  CHECK(std::abs(make_attack("bim:eps=0.03")->threat().eps - 0.03) <= 1e-8);
  CHECK_THROWS_WITH_AS(make_attack("pdg"), doctest::Contains("did you mean 'pgd'?"), UsageError);
  CHECK_THROWS_AS(make_attack("pgd:eps=2"), UsageError);
  CHECK_THROWS_AS(make_attack("pgd:stpes=2"), UsageError);
}

namespace {

struct Probabilities final : HostModel {
  Probabilities() : HostModel(image, random_weights(2, 3)) {}
  void spoil_logits(std::vector<float>& z, const DrawKey&) const override {
    for (size_t i = 0; i < z.size(); i += 2) {
      float const p = 1 / (1 + std::exp(z[i + 1] - z[i]));
      z[i] = p, z[i + 1] = 1 - p;
    }
  }
};
struct Fickle final : HostModel {
  Fickle() : HostModel(image, random_weights(2, 3)) {}
  void spoil_logits(std::vector<float>& z, const DrawKey& key) const override {
    for (size_t i = 0; i < z.size(); ++i) z[i] += uniform(key, 0, i);
  }
};
struct NanLogits final : HostModel {
  NanLogits() : HostModel(image, random_weights(2, 3)) {}
  void spoil_logits(std::vector<float>& z, const DrawKey&) const override { z[0] = std::nanf(""); }
};

}  // namespace

TEST_CASE("the sanity gate passes an honest model and stops what would make an attack meaningless") {
  Linear honest;
  Batch const b = images_of(honest, 8);
  CHECK(sanity_gate(honest, b, {}).empty());
  Tensor const bytes = scale(b.x, 255);
  CHECK_THROWS_AS(sanity_gate(honest, {bytes, b.y, b.ids}, {}), UsageError);
  Probabilities probabilities;
  CHECK_THROWS_WITH_AS(sanity_gate(probabilities, b, {}), doctest::Contains("softmax"), Error);
  Fickle fickle;
  CHECK_THROWS_WITH_AS(sanity_gate(fickle, b, {}), doctest::Contains("two passes"), Error);
  NanLogits nan;
  CHECK_THROWS_WITH_AS(sanity_gate(nan, b, {}), doctest::Contains("NaN"), Error);
  Constant flat;
  CHECK(sanity_gate(flat, b, {}).size() == 1);
}

TEST_CASE("saving as 8 bit keeps the perturbation inside the ball") {
  // Clean pixels on the 8-bit grid: 100, 0, 255, 100.
  std::vector<float> const clean{100 / 255.f, 0, 1, 100 / 255.f};
  auto const levels = [&](const std::vector<float>& adv, float eps, const char* norm) {
    Shape const shape{1, 2, 2, 1};
    return quantize_in_ball(Tensor::from(adv, shape), Tensor::from(clean, shape), eps, norm).to_host<uint8_t>();
  };
  // eps = 0.03 is 7.65 levels: the border rounds to 8 but only 7 lies inside.
  CHECK(levels({clean[0] + 0.03f, 0.03f, 1 - 0.03f, clean[3] - 0.03f}, 0.03f, "linf") ==
        std::vector<uint8_t>{107, 7, 248, 93});
  // Half a level exists on no grid: the image stays as it was.
  CHECK(levels({clean[0] + 0.002f, 0.0018f, 1 - 0.002f, clean[3]}, 0.00195f, "linf") ==
        std::vector<uint8_t>{100, 0, 255, 100});
  // eps = 8/255 is a whole number of levels, whatever float makes of it.
  CHECK(levels({clean[0] + 8 / 255.f, 8 / 255.f, 1 - 8 / 255.f, clean[3] - 8 / 255.f}, 8 / 255.f, "linf") ==
        std::vector<uint8_t>{108, 8, 247, 92});
  // L2: towards the clean pixel.
  CHECK(levels({(100 + 2.9f) / 255, 1.9f / 255, (255 - 0.9f) / 255, (100 - 2.9f) / 255}, 1, "l2") ==
        std::vector<uint8_t>{102, 1, 255, 98});
  // A clean pixel between two levels and a ball that holds none: the level nearest to the clean pixel.
  Shape const one{1, 1, 1, 1};
  Tensor const between = Tensor::from(std::vector<float>{10.4f / 255}, one);
  CHECK(quantize_in_ball(between, between, 0.001f, "linf").to_host<uint8_t>() == std::vector<uint8_t>{10});
}
