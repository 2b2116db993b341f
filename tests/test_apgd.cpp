// APGD: its schedule of step sizes on made-up losses, and its attacks on models with closed forms.
#include <doctest/doctest.h>

#include <algorithm>

#include "attacks/apgd.h"
#include "attacks/steps.h"
#include "tests/attack_fixtures.h"

using namespace mith;
using namespace mith::fixtures;

namespace {

using Steps = std::vector<int>;

AttackResult attack(const std::string& spec, Classifier& model, const Batch& b, const AttackOptions& options = {}) {
  return make_attack(spec)->run(model, b, options);
}

/// The iterations, from 1, after which the step of a single image halves.
Steps halvings(int steps, double rho, const std::vector<float>& losses) {
  ApgdSchedule schedule(steps, rho, 0.5f, {losses[0]});
  Steps at;
  for (int i = 1; i <= steps; ++i)
    if (!schedule.enter({losses[size_t(i)]}).halved.empty()) at.push_back(i);
  return at;
}

struct NanFirstPixel final : HostModel {
  NanFirstPixel() : HostModel(image, random_weights(2, 3)) {}
  void spoil(std::vector<float>& g) const override {
    for (size_t i = 0; i < g.size(); i += pixels) g[i] = std::nanf("");
  }
};

/// Remembers where it was asked for a gradient.
struct Watched final : HostModel {
  Watched() : HostModel(image, random_weights(3, 4)) {}
  double activate(double v) const override { return 3 * std::sin(4 * v); }
  double slope(double v) const override { return 12 * std::cos(4 * v); }
  Outputs run(const Batch& b, const Cotangent& c, const Want& want, const DrawKey& key) override {
    if (want.input_gradient) asked.push_back(b.x.clone());
    return HostModel::run(b, c, want, key);
  }
  std::vector<Tensor> asked;
};

}  // namespace

TEST_CASE("APGD's checkpoints are the published ones") {
  CHECK(apgd_checkpoints(100) == Steps{22, 41, 57, 70, 80, 87, 93, 99});
  CHECK(apgd_checkpoints(50) == Steps{11, 21, 30, 38, 45});
  CHECK(apgd_checkpoints(40) == Steps{8, 15, 21, 26, 30, 33, 35, 37, 39});
  CHECK(apgd_checkpoints(20) == Steps{4, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20});
  CHECK(apgd_checkpoints(10) == Steps{2, 3, 4, 5, 6, 7, 8, 9, 10});
  CHECK(apgd_checkpoints(1) == Steps{1});
}

TEST_CASE("a step halves at checkpoints alone: where the loss oscillates, or its best stands still") {
  std::vector<float> rising, flat, sawtooth, late;
  for (int i = 0; i <= 100; ++i) {
    rising.push_back(float(i));
    flat.push_back(0);
    sawtooth.push_back(float(i % 2));
    late.push_back(i <= 22 ? float(i) : 22 + 0.001f * float(i) - 100 * float(i <= 41));
  }
  CHECK(halvings(100, 0.75, rising).empty());
  CHECK(halvings(100, 0.75, flat) == apgd_checkpoints(100));  // no step raises it
  CHECK(halvings(100, 0.75, sawtooth) == apgd_checkpoints(100));
  // A window of k steps halves at floor(rho k) rises and not at one more: 16 and 17 of 22.
  for (int rises : {16, 17}) {
    std::vector<float> losses{0};
    for (int i = 1; i <= 100; ++i) losses.push_back(i <= 22 && i > rises ? losses.back() - 1e-3f : float(i));
    Steps const at = halvings(100, 0.75, losses);
    CHECK((std::find(at.begin(), at.end(), 22) != at.end()) == (rises == 16));
  }
  // After 22 rises the loss falls to below its best and climbs on: no oscillation in the window up to 41, but the best
  // has stood still, and the step did not halve before.
  CHECK(halvings(100, 0.75, late).front() == 41);
}

TEST_CASE("a best that stands still halves a step only if it did not halve just before") {
  // Always more rises than rho asks for, never a new best: two steps up in three, slowly falling.
  std::vector<float> losses{10};
  for (int i = 1; i <= 100; ++i) losses.push_back(i == 1 ? 0.0f : float(i) * 0.01f);
  Steps const at = halvings(100, 0.75, losses), all = apgd_checkpoints(100);
  // The flag starts as "halved", so the first checkpoint passes, and then every other one.
  CHECK(at == Steps{all[1], all[3], all[5], all[7]});
}

TEST_CASE("a schedule keeps each image's own best and step, also when others leave") {
  ApgdSchedule schedule(10, 0.75, 0.5f, {1, 1, 1});
  CHECK(schedule.step_sizes() == std::vector<float>{1, 1, 1});
  auto move = schedule.enter({2, 0, 1});
  CHECK(move.improved == std::vector<int64_t>{0});
  CHECK(move.halved.empty());
  move = schedule.enter({3, 5, 0});  // the first checkpoint
  CHECK(move.improved == std::vector<int64_t>{0, 1});
  CHECK(move.halved == std::vector<int64_t>{1, 2});
  CHECK(schedule.best() == std::vector<float>{3, 5, 1});
  schedule.keep({1, 2});
  CHECK(schedule.step_sizes() == std::vector<float>{0.5f, 0.5f});
  CHECK(schedule.best() == std::vector<float>{5, 1});
  move = schedule.enter({6, std::nanf("")});  // a NaN is no improvement
  CHECK(move.improved == std::vector<int64_t>{0});
  CHECK(schedule.best() == std::vector<float>{6, 1});
}

TEST_CASE("on a linear model APGD reaches the optimum of its ball") {
  Linear model;
  Batch const b = images_of(model, 8, 0.3f, 0.7f);  // nothing is clipped
  auto const w = random_weights(2, 3);
  auto const y = b.y.to_host<int32_t>();
  auto const x = host(b.x);
  double length = 0;
  for (size_t j = 0; j < pixels; ++j) length += std::pow(w[0][j] - w[1][j], 2);
  length = std::sqrt(length);
  for (const char* name : {"apgd-ce", "apgd-dlr", "apgd-t"}) {
    CAPTURE(name);
    auto const linf = host(attack(cat(name, ":eps=0.1"), model, b, training()).adversarial);
    auto const l2 = host(attack(cat(name, ":norm=l2,eps=0.2"), model, b, training()).adversarial);
    double worst_linf = 0, worst_l2 = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      double const up = (y[i / pixels] == 0 ? -1 : 1) * (w[0][i % pixels] - w[1][i % pixels]);
      worst_linf = std::max(worst_linf, std::abs(double(linf[i]) - x[i] - (up > 0 ? 0.1 : -0.1)));
      worst_l2 = std::max(worst_l2, std::abs(double(l2[i]) - x[i] - 0.2 * up / length));
    }
    CHECK(worst_linf <= 1e-6);
    CHECK(worst_l2 <= 1e-4);  // the last steps are not much shorter
  }
}

TEST_CASE("APGD's starts lie at the distance eps, different for every restart, target and attack") {
  Constant model;
  Batch const b = images_of(model, 50, 0.4f, 0.6f);
  DrawKey const key{.seed = 3, .purpose = Purpose::attack_start};
  for (float d : linf_distance(apgd_start(b, "linf", 0.2f, key), b.x)) CHECK(std::abs(d - 0.2f) <= 1e-6);
  for (float d : l2_distance(apgd_start(b, "l2", 0.2f, key), b.x)) CHECK(std::abs(d - 0.2f) <= 1e-6);

  Watched watched;
  Batch const one = images_of(watched, 1, 0.4f, 0.6f);
  attack("apgd-ce:eps=0.001,steps=1,restarts=3", watched, one);
  attack("apgd-t:eps=0.001,steps=1,targets=2", watched, one);
  REQUIRE(watched.asked.size() == 5);
  for (size_t i = 0; i < 5; ++i)
    for (size_t j = 0; j < i; ++j) CHECK(host(watched.asked[i]) != host(watched.asked[j]));
}

TEST_CASE("the returned iterate is the best of those seen, and every iterate lies in the ball") {
  Watched model;
  Batch const b = images_of(model, 12);
  for (const char* norm : {"linf", "l2"}) {
    float const eps = norm == std::string("l2") ? 0.05f : 0.01f;
    for (const char* name : {"apgd-ce", "apgd-dlr", "apgd-t"}) {
      CAPTURE(cat(name, " ", norm));
      model.asked.clear();
      Tensor const adv = attack(cat(name, ":norm=", norm, ",eps=", eps, ",steps=30"), model, b, training()).adversarial;
      auto const distance = [&](const Tensor& a) {
        return norm == std::string("l2") ? l2_distance(a, b.x) : linf_distance(a, b.x);
      };
      for (const Tensor& iterate : model.asked)
        for (float d : distance(iterate)) CHECK(d <= eps + 1e-6);
      if (name == std::string("apgd-t")) continue;
      Loss const loss{.kind = name == std::string("apgd-ce") ? Loss::cross_entropy : Loss::dlr, .labels = b.y};
      auto const of = [&](const Tensor& x) { return host(model.evaluate({x, b.y, b.ids}, loss, {.loss = true}).loss); };
      auto const best = of(adv);
      for (const Tensor& iterate : model.asked) {
        auto const seen = of(iterate);
        for (size_t i = 0; i < 12; ++i) CHECK(best[i] >= seen[i]);
      }
    }
  }
}

TEST_CASE("APGD follows algorithm 1, written out for one image") {
  int const steps = 30;
  float const eps = 0.02f;
  Watched model;
  for (int64_t which : {0, 3, 5}) {
    Batch const b = slice(images_of(model, 6, 0.2f, 0.8f), which, 1);
    model.asked.clear();
    attack(cat("apgd-ce:eps=", eps, ",steps=", steps), model, b, training());
    REQUIRE(model.asked.size() == size_t(steps));
    std::vector<std::vector<float>> iterates;
    for (const Tensor& x : model.asked) iterates.push_back(host(x));

    auto const clean = host(b.x);
    auto const limit = [&](float v, size_t j) {
      return std::clamp(std::clamp(v, clean[j] - eps, clean[j] + eps), 0.0f, 1.0f);
    };
    struct Point {
      std::vector<float> x, g;
      float loss;
    };
    auto const at = [&](const std::vector<float>& x) {
      Outputs const out = model.evaluate({Tensor::from(x, b.x.shape()), b.y, b.ids}, Loss{.labels = b.y},
                                         {.loss = true, .input_gradient = true});
      return Point{x, host(out.input_gradient), host(out.loss)[0]};
    };
    Point now = at(iterates[0]), best = now;
    std::vector<float> old = now.x, losses{now.loss};
    float step = 2 * eps, best_at_check = best.loss;
    bool halved = true;
    Steps const checks = apgd_checkpoints(steps);
    for (int i = 1, window = 0; i < steps; ++i) {
      float const a = i == 1 ? 1.0f : 0.75f;
      std::vector<float> next;
      for (size_t j = 0; j < pixels; ++j) {
        float const z = now.x[j], u = limit(z + step * float((now.g[j] > 0) - (now.g[j] < 0)), j);
        next.push_back(limit(z + a * (u - z) + (1 - a) * (z - old[j]), j));
      }
      old = now.x;
      now = at(next);
      double worst = 0;
      for (size_t j = 0; j < pixels; ++j)
        worst = std::max(worst, std::abs(double(now.x[j]) - double(iterates[size_t(i)][j])));
      if (now.loss > best.loss) best = now;
      losses.push_back(now.loss);
      ++window;
      if (std::find(checks.begin(), checks.end(), i) != checks.end()) {
        int rises = 0;
        for (size_t j = losses.size() - size_t(window); j < losses.size(); ++j) rises += losses[j] > losses[j - 1];
        halved = rises <= 0.75 * window || (!halved && best_at_check >= best.loss);
        best_at_check = best.loss;
        window = 0;
        if (halved) {
          step /= 2;
          now = best;
        }
      }
      CHECK(worst <= 1e-6);
    }
    CHECK(step < 2 * eps);  // otherwise the schedule was not met
  }
}

TEST_CASE("more restarts, targets and steps never lose an image") {
  Wavy model;
  Batch const b = images_of(model, 48);
  std::vector<uint8_t> before(48, 0);
  int64_t first = -1, last = -1;
  for (int restarts : {1, 2, 4}) {
    auto const r = attack(cat("apgd-dlr:eps=0.006,steps=5,restarts=", restarts), model, b);
    for (size_t i = 0; i < 48; ++i) CHECK(r.success[i] >= before[i]);
    before = r.success;
    last = successes(r);
    if (restarts == 1) first = last;
  }
  CHECK(last >= first);
  auto const one = attack("apgd-t:eps=0.006,steps=10,targets=1", model, b),
             both = attack("apgd-t:eps=0.006,steps=10,targets=2", model, b);
  for (size_t i = 0; i < 48; ++i) CHECK(both.success[i] >= one.success[i]);
  CHECK(successes(both) > 0);
}

TEST_CASE("APGD counts what it spends, and stops at success") {
  Linear model(3);
  Batch const b = images_of(model, 8, 0.4f, 0.6f);
  auto const weak = attack("apgd-t:eps=0.000001,steps=10,restarts=2,eot=3", model, b);  // fools nobody
  REQUIRE(successes(weak) == 0);
  // Two targets and two restarts of 11 iterates, ten of which have a gradient, and the clean pass; by three.
  CHECK(weak.queries == std::vector<int64_t>(8, 3 * (1 + 2 * 2 * 11)));
  CHECK(weak.gradients == std::vector<int64_t>(8, 3 * 2 * 2 * 10));
  auto const strong = attack("apgd-ce:eps=1", model, b);
  REQUIRE(successes(strong) == 8);
  for (int64_t gradients : strong.gradients) CHECK(gradients <= 3);
  Usage const before = model.usage();
  auto const r = attack("apgd-dlr:eps=0.01,steps=20", model, b);
  int64_t queries = 0, gradients = 0;
  for (int64_t q : r.queries) queries += q;
  for (int64_t g : r.gradients) gradients += g;
  CHECK(model.usage().forwards - before.forwards == queries);
  CHECK(model.usage().gradients - before.gradients == gradients);
}

TEST_CASE("DLR attacks a network that is certain, and one whose logits are scaled, alike") {
  Linear plain(4), scaled(4, 4096);  // by a power of two: the same bits
  Batch const b = images_of(plain, 16);
  for (const char* spec : {"apgd-dlr:eps=0.1,steps=20", "apgd-t:eps=0.1,steps=20"})
    CHECK(host(attack(spec, plain, b).adversarial) == host(attack(spec, scaled, b).adversarial));
  CHECK(successes(attack("apgd-ce:eps=0.5,steps=20", scaled, b)) == 16);
}

TEST_CASE("two and three classes are attacked, a model of one is refused, and so is a bad spec") {
  for (int classes : {2, 3}) {
    Linear model(classes);
    Batch const b = images_of(model, 12);
    CHECK(successes(attack("apgd-ce:eps=0.5,steps=20", model, b)) == 12);
    CHECK(successes(attack("apgd-dlr:eps=0.5,steps=20", model, b)) == 12);
    // Of three classes the targeted ratio is -1 wherever the target comes last: a start there does not move, so that
    // an image may be left whose starts all lie so.
    CHECK(successes(attack("apgd-t:eps=0.5,steps=20", model, b)) >= (classes == 2 ? 12 : 10));
    CHECK(successes(attack("apgd-t:eps=0.5,steps=20,restarts=5", model, b)) == 12);
  }
  Linear one(1);
  CHECK_THROWS_AS(attack("apgd-ce", one, images_of(one, 2)), UsageError);
  CHECK_THROWS_AS(make_attack("apgd-ce:eps=2"), UsageError);
  CHECK_THROWS_AS(make_attack("apgd-ce:norm=l0"), UsageError);
  CHECK_THROWS_AS(make_attack("apgd-dlr:targets=3"), UsageError);
  CHECK(make_attack("apgd-t:norm=l2,eps=0.5")->spec() ==
        "apgd-t:norm=l2,eps=0.5,steps=100,restarts=1,eot=1,rho=0.75,targets=9");
  CHECK(make_attack("apgd-ce:norm=l2,eps=2")->threat().norm == "l2");
}

TEST_CASE("without a gradient APGD stays finite; NaN gradients are counted and fail a strict run") {
  Constant flat;
  Batch const b = images_of(flat, 3);
  for (const char* spec : {"apgd-ce:steps=5", "apgd-dlr:steps=5", "apgd-t:norm=l2,eps=0.3,steps=5"})
    for (float v : host(attack(spec, flat, b, training()).adversarial)) CHECK((v >= 0 && v <= 1));
  NanFirstPixel nan;
  Batch const c = images_of(nan, 4, 0.3f, 0.7f);
  AttackOptions strict = training();
  strict.strict = true;
  for (const char* spec : {"apgd-ce:steps=5", "apgd-ce:norm=l2,eps=0.3,steps=5"}) {
    CHECK(attack(spec, nan, c, training()).nan_gradients == 4 * 5);
    CHECK_THROWS_AS(attack(spec, nan, c, strict), Error);
  }
}
