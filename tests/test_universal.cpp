// Universal perturbations: one v for all images, in its ball, better than noise of its size, crafted in passes that can
// be interrupted.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "attacks/steps.h"
#include "tests/host_models.h"
#include "tests/provider_fixtures.h"
#include "tests/universal_fixtures.h"

using namespace mith;

namespace {

std::vector<float> host(const Tensor& t) { return t.to_host<float>(); }

float largest(const Tensor& v) {
  float most = 0;
  for (float p : host(v)) most = std::max(most, std::abs(p));
  return most;
}
double length(const Tensor& v) {
  double sum = 0;
  for (float p : host(v)) sum += double(p) * double(p);
  return std::sqrt(sum);
}

/// Two classes by one weight a pixel: w on even pixels, -w on odd ones.
struct Striped final : HostModel {
  Striped() : HostModel({4, 4, 1}, weights()) {}
  static std::vector<std::vector<double>> weights() {
    std::vector<std::vector<double>> w(2, std::vector<double>(16));
    for (size_t j = 0; j < 16; ++j) w[0][j] = j % 2 ? -1 : 1, w[1][j] = -w[0][j];
    return w;
  }
};

Batch grey_batch(int64_t n, float value, int32_t label) {
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < n; ++i) ids.push_back(i);
  return {Tensor::full({n, 4, 4, 1}, double(value)), Tensor::from(std::vector<int32_t>(size_t(n), label), {n}),
          Tensor::from(ids, {n})};
}

/// Images of Striped's classes: grey, with stripes as high as the margins; negative ones are of class 1.
Batch striped_batch(const std::vector<float>& margins) {
  std::vector<float> pixels;
  std::vector<int32_t> labels;
  std::vector<int64_t> ids;
  for (float margin : margins) {
    for (size_t j = 0; j < 16; ++j) pixels.push_back(0.5f + (j % 2 ? -margin : margin));
    labels.push_back(margin < 0);
    ids.push_back(std::ssize(ids));
  }
  int64_t const n = std::ssize(margins);
  return {Tensor::from(pixels, {n, 4, 4, 1}), Tensor::from(labels, {n}), Tensor::from(ids, {n})};
}

/// A batch of two classes to craft on.
struct OneBatch final : BatchSource {
  explicit OneBatch(Batch b) : b_(std::move(b)), labels_(b_.y.to_host<int32_t>()) {}
  int64_t size() const override { return b_.size(); }
  int64_t classes() const override { return 2; }
  Shape image_shape() const override { return {4, 4, 1}; }
  const std::vector<int32_t>& labels() const override { return labels_; }
  const std::vector<std::string>& class_names() const override { return names_; }
  Batch batch(const std::vector<int64_t>& p, bool, const DrawKey&) const override { return select(b_, p); }
  Batch b_;
  std::vector<int32_t> labels_;
  std::vector<std::string> names_;
};

/// Notes what it is shown: each image's id and the key of its pass, how many images a pass has, and how far they are
/// from grey.
struct Recording final : HostModel {
  Recording() : HostModel({4, 4, 1}, Striped::weights()) {}
  explicit Recording(std::vector<std::vector<double>> weights) : HostModel({4, 4, 1}, std::move(weights)) {}
  Outputs run(const Batch& b, const Cotangent& c, const Want& want, const DrawKey& key) override {
    largest_pass = std::max(largest_pass, b.size());
    for (int64_t id : b.ids.to_host<int64_t>()) seen.push_back({id, {key.seed, key.step}});
    for (float v : host(b.x)) furthest = std::max(furthest, std::abs(v - 0.5f));
    return HostModel::run(b, c, want, key);
  }
  std::vector<int64_t> ids() const {
    std::vector<int64_t> all;
    for (auto const& [id, key] : seen) all.push_back(id);
    return all;
  }
  std::vector<std::pair<int64_t, std::pair<uint64_t, uint32_t>>> seen;
  int64_t largest_pass = 0;
  float furthest = 0;
};

// None reaches its goal before its last pass.
const char* const perturbations[] = {"uap:eps=0.15,passes=6", "uap-deepfool:eps=0.15,passes=4,delta=0",
                                     "uap-deepfool:eps=0.15,passes=4,delta=0,inner=fgsm,inner_eps=0.02",
                                     "uap-deepfool:eps=0.8,norm=l2,passes=4,delta=0", "u-simba:eps=0.15,steps=120"};

}  // namespace

TEST_CASE("a universal perturbation is one for all images, in its ball, and fools more than noise of its size") {
  NetworkClassifier& model = trained_model();
  Batch const b = unseen_images();
  double const clean = share_wrong(model, b.x, b);
  REQUIRE(clean <= 0.05);
  AttackOptions every;
  every.evaluation = false;
  for (const char* spec : perturbations) {
    CAPTURE(spec);
    auto const attack = make_universal(spec);
    Threat const threat = attack->threat();
    CHECK(threat.access == "universal");
    auto const check_ball = [&](const Universal& u) {
      for (const Tensor& v : {u.values, u.current}) {
        if (!v.defined()) continue;
        if (threat.norm == "linf") CHECK(largest(v) <= float(threat.eps));
        if (threat.norm == "l2") CHECK(length(v) <= threat.eps * (1 + 1e-6));
      }
    };
    Universal const u = attack->craft(model, crafting_images(), {}, check_ball);
    CHECK(u.finished);
    check_ball(u);
    Tensor const adv = attack->attack(model, u, b, every).adversarial;
    auto const a = host(adv), x = host(b.x), v = host(u.values);
    int64_t wrong = 0;
    for (size_t i = 0; i < a.size(); ++i) wrong += a[i] != std::clamp(x[i] + v[i % v.size()], 0.f, 1.f);
    CHECK(wrong == 0);
    auto const noise = make_attack(threat.norm == "l2" ? "noise:eps=0.0625" : "noise:eps=0.1");  // 8 x 8 pixels
    double const under_noise = share_wrong(model, noise->run(model, b, every).adversarial, b);
    CHECK(share_wrong(model, adv, b) >= under_noise + 0.2);
  }
}

TEST_CASE("evaluation leaves images alone that were wrong to begin with, and keeps its books") {
  NetworkClassifier& model = trained_model();
  Batch b = unseen_images();
  b.y = argmax(model.logits(b));  // what the model sees
  auto labels = b.y.to_host<int32_t>();
  for (size_t i = 0; i < labels.size(); i += 4) labels[i] = 1 - labels[i];
  b.y = Tensor::from(labels, {b.size()});
  auto const attack = make_universal("uap:eps=0.1,passes=4");
  Universal const u = attack->craft(model, crafting_images(), {});
  AttackResult const r = attack->attack(model, u, b, {});
  auto const moved = linf_distance(r.adversarial, b.x);
  auto const after = argmax(model.logits({r.adversarial, b.y, b.ids})).to_host<int32_t>();
  int64_t successes = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    CHECK(r.clean_correct[i] == (i % 4 != 0));
    CHECK((moved[i] == 0) == (i % 4 == 0));
    CHECK(bool(r.success[i]) == (i % 4 != 0 && after[i] != labels[i]));
    CHECK(r.queries[i] == 2);
    successes += r.success[i];
  }
  CHECK(successes > 0);
}

TEST_CASE("uap: the loss over the passes does not fall, and each image is passed once a pass") {
  NetworkClassifier& model = trained_model();
  Universal const u = make_universal("uap:eps=0.1,passes=8")->craft(model, crafting_images(), {});
  REQUIRE(u.passes.size() == 8);
  for (size_t i = 2; i < 8; ++i) {  // means of two passes: a pass measures while v moves
    double const before = u.passes[i - 1].objective + u.passes[i - 2].objective,
                 after = u.passes[i].objective + u.passes[i - 1].objective;
    CHECK(after >= before - 0.02);
  }
  CHECK(u.passes.back().objective > u.passes.front().objective + 0.1);
  CHECK(u.passes.back().fooled > u.passes.front().fooled);
  CHECK(u.queries == 8 * 80);
  CHECK(u.gradients == 8 * 80);
  CHECK(u.steps == 8 * 3);
}

TEST_CASE("uap maximises the loss: on a linear model v is against the label's weights") {
  Striped model;
  Batch const b = grey_batch(6, 0.5f, 0);
  auto const attack = make_attack("uap:eps=0.03,passes=5");
  AttackOptions every;
  every.evaluation = false;
  auto const adv = host(attack->run(model, b, every).adversarial);
  for (size_t i = 0; i < adv.size(); ++i) CHECK(std::abs(adv[i] - (i % 2 ? 0.53f : 0.47f)) <= 1e-6);
  // Targeted at the class they have: the same sign the other way round.
  auto const targeted = host(make_attack("uap:eps=0.03,passes=5,target=1")->run(model, b, every).adversarial);
  CHECK(targeted == adv);  // of two classes, away from one is towards the other
}

TEST_CASE("uap: the clamp's gradient is its own or passed through") {
  Striped model;
  Batch const black = grey_batch(4, 0, 0);  // even pixels want to go down, and cannot
  auto const crafted = [&](const char* spec) {
    OneBatch const set(black);
    return host(make_universal(spec)->craft(model, set, {}).values);
  };
  auto const exact = crafted("uap:eps=0.05,passes=1"), passed = crafted("uap:eps=0.05,passes=8,clamp_grad=pass"),
             held = crafted("uap:eps=0.5,passes=60");
  for (size_t i = 0; i < 16; ++i) {
    CHECK(std::abs(exact[i] - (i % 2 ? 0.01f : -0.01f)) <= 1e-6);   // black itself is not beyond the clamp
    CHECK(std::abs(passed[i] - (i % 2 ? 0.05f : -0.05f)) <= 1e-6);  // goes on where nothing shows
    if (i % 2 == 0) CHECK(held[i] >= -0.2f);                        // Adam's moments run out; no gradient follows
  }
  // Every image's loss has reached the cap: nothing moves.
  for (float v : crafted("uap:passes=2,loss_cap=1e-6")) CHECK(v == 0);
}

TEST_CASE("uap-deepfool stops at its rate") {
  NetworkClassifier& model = trained_model();
  for (const char* spec :
       {"uap-deepfool:eps=0.15,delta=0.6,passes=20", "uap-deepfool:eps=0.15,delta=0.6,passes=20,batch=8"}) {
    CAPTURE(spec);
    Universal const u = make_universal(spec)->craft(model, crafting_images(), {});
    CHECK(u.passes.back().fooled >= 0.4);
    CHECK(u.passes.size() < 20);
    for (size_t i = 0; i + 1 < u.passes.size(); ++i) CHECK(u.passes[i].fooled < 0.4);
    CHECK(u.gradients > 0);
  }
  CHECK_THROWS_WITH_AS(make_attack("uap-deepfool:norm=l2"), doctest::Contains("needs an eps"), UsageError);
  CHECK_THROWS_AS(make_attack("uap-deepfool:target=1"), UsageError);
  CHECK_THROWS_AS(make_attack("uap-deepfool:eps=3"), UsageError);
}

TEST_CASE("uap-deepfool: of two classes of nearly one size, where every update undoes the last, the best v is kept") {
  Striped model;
  std::vector<float> margins;
  for (int i = 0; i < 60; ++i) margins.push_back((i % 15 < 8 ? 1.f : -1.f) * (0.01f + 0.0006f * float(i)));
  OneBatch const set(striped_batch(margins));
  for (const char* spec : {"uap-deepfool:eps=0.1,delta=0", "uap-deepfool:eps=0.4,norm=l2,delta=0"}) {
    CAPTURE(spec);
    Universal const u = make_universal(spec)->craft(model, set, {});
    REQUIRE(u.passes.size() == 10);
    for (size_t i = 1; i < 10; ++i) CHECK(u.passes[i].fooled >= u.passes[i - 1].fooled);
    CHECK(u.passes.back().fooled >= 0.4);  // of 8 in 15, more than one v cannot have
    CHECK(u.passes.back().fooled == share_wrong(model, add_universal(set.b_.x, u.values), set.b_));
  }
}

TEST_CASE("uap-deepfool: an image moves v if DeepFool needs fewer steps than it has; of one image it is all there is") {
  struct Cubic final : HostModel {  // a linearisation always falls short
    Cubic() : HostModel({4, 4, 1}, Striped::weights()) {}
    double activate(double v) const override { return v + v * v * v; }
    double slope(double v) const override { return 1 + 3 * v * v; }
  } model;
  Batch const b = striped_batch({0.0625f});
  int needed = 1;
  while (!make_attack(cat("deepfool:steps=", needed))->run(model, b, {}).success[0] && needed < 10) ++needed;
  REQUIRE(needed >= 2);
  REQUIRE(needed < 10);
  auto const crafted = [&](int steps) {
    return make_universal(cat("uap-deepfool:eps=0.5,passes=1,steps=", steps))->craft(model, OneBatch(b), {});
  };
  Universal const short_of = crafted(needed), enough = crafted(needed + 1);
  CHECK(short_of.steps == 0);
  CHECK(largest(short_of.values) == 0);
  CHECK(short_of.passes.back().fooled == 0);
  CHECK(enough.steps == 1);
  CHECK(enough.passes.back().fooled == 1);
  CHECK_THROWS_AS(make_attack("uap-deepfool:steps=1"), UsageError);
}

TEST_CASE("crafting counts every pass of every image") {
  std::vector<float> const margins{0.02f, 0.03f, -0.05f, 0.04f, -0.01f};
  for (const char* spec : {"uap:passes=2", "uap-deepfool:delta=0,passes=3", "u-simba:steps=10",
                           "uap-deepfool:delta=0,passes=3,inner=fgsm,inner_eps=0.01"}) {
    CAPTURE(spec);
    Striped model;
    Universal const u = make_universal(spec)->craft(model, OneBatch(striped_batch(margins)), {});
    CHECK(u.queries == model.usage().forwards);
    CHECK(u.gradients == model.usage().gradients);
  }
}

TEST_CASE("uap-deepfool passes an image for all its rival classes at once, as far as the run allows") {
  std::vector<std::vector<double>> weights(4, std::vector<double>(16, 0));
  weights[0] = Striped::weights()[0];
  for (size_t k = 1; k < 4; ++k) weights[k][k] = 1;
  for (int64_t batch : {0, 2}) {
    CAPTURE(batch);
    Recording model(weights);
    AttackOptions options;
    options.batch = batch;
    Universal const u =
        make_universal("uap-deepfool:eps=1,passes=1")->craft(model, OneBatch(striped_batch({0.1f})), options);
    CHECK(u.steps == 1);
    CHECK(model.largest_pass == (batch ? batch : 3));
  }
}

TEST_CASE("v is in its ball after every update") {
  Striped model;
  OneBatch const set(striped_batch({0.1f, 0.11f, 0.12f, 0.13f}));
  // All images move v together, so that a pass is one update; none is ever fooled, and v is pressed against its ball.
  for (const char* spec : {"uap:eps=0.02,rate=0.05,passes=5", "uap-deepfool:eps=0.02,passes=5,batch=4",
                           "uap-deepfool:eps=0.04,norm=l2,passes=5,batch=4",
                           "uap-deepfool:eps=0.02,passes=5,batch=4,inner=fgsm,inner_eps=0.05"}) {
    CAPTURE(spec);
    auto const attack = make_universal(spec);
    bool const l2 = attack->threat().norm == "l2";
    double const eps = attack->threat().eps;
    int64_t updates = 0;
    attack->craft(model, set, {}, [&](const Universal& u) {
      CHECK(u.steps == ++updates);
      Tensor const& v = u.current.defined() ? u.current : u.values;
      double const size = l2 ? length(v) : double(largest(v));
      CHECK(size <= (l2 ? eps * (1 + 1e-6) : eps));
      CHECK(size >= eps * (1 - 1e-6));
    });
    CHECK(updates == 5);
  }
  // Of u-simba every v that is tried is seen by the model.
  Recording watched;
  make_universal("u-simba:eps=0.02,step=0.5,steps=30")->craft(watched, OneBatch(grey_batch(3, 0.5f, 0)), {});
  CHECK(watched.furthest <= 0.02f + 6e-8f);  // the rounding of 0.5 + v
  CHECK(watched.furthest >= 0.0199f);
}

TEST_CASE("the order of a pass is drawn: by the seed, and anew for every pass") {
  auto const order = [](const char* spec, uint64_t seed) {
    Recording model;
    AttackOptions options;
    options.seed = seed;
    make_universal(spec)->craft(model, OneBatch(grey_batch(12, 0.5f, 0)), options);
    return model.ids();
  };
  for (const char* spec : {"uap:passes=2,batch=4", "patch:size=2,passes=2,batch=4"}) {
    CAPTURE(spec);
    auto const one = order(spec, 1), other = order(spec, 2);
    REQUIRE(one.size() == 24);
    CHECK(one == order(spec, 1));
    CHECK(one != other);
    std::vector<int64_t> first(one.begin(), one.begin() + 12), second(one.begin() + 12, one.end());
    CHECK(first != second);
    for (auto* pass : {&first, &second}) {
      std::ranges::sort(*pass);
      for (int64_t i = 0; i < 12; ++i) CHECK((*pass)[size_t(i)] == i);
    }
  }
}

TEST_CASE("a random model draws anew in every pass of crafting and of evaluation") {
  Batch const b = striped_batch({0.02f, 0.03f, -0.05f, 0.04f});
  auto const check_keys = [](const Recording& model, size_t passes) {
    std::map<int64_t, std::set<std::pair<uint64_t, uint32_t>>> keys;
    for (auto const& [id, key] : model.seen) CHECK(keys[id].insert(key).second);
    CHECK(keys[0].size() >= passes);
  };
  Universal u;
  for (const char* spec : {"uap:passes=3,batch=2", "uap-deepfool:passes=2,delta=0,inner=fgsm,inner_eps=0.001"}) {
    CAPTURE(spec);
    Recording crafting, evaluated;
    u = make_universal(spec)->craft(crafting, OneBatch(b), {});
    check_keys(crafting, 3);
    make_universal(spec)->attack(evaluated, u, b, {});
    check_keys(evaluated, 2);
  }
}

TEST_CASE("targeted perturbations drive images to their class") {
  NetworkClassifier& model = trained_model();
  Batch const b = unseen_images();
  auto const y = b.y.to_host<int32_t>();
  for (const char* spec : {"uap:eps=0.15,target=1", "uap-deepfool:eps=0.15,inner=fgsm,inner_eps=0.02,target=1",
                           "u-simba:eps=0.15,steps=150,target=1"}) {
    CAPTURE(spec);
    auto const attack = make_universal(spec);
    Universal const u = attack->craft(model, crafting_images(), {});
    AttackResult const r = attack->attack(model, u, b, {});
    auto const moved = linf_distance(r.adversarial, b.x);
    double reached = 0;
    for (size_t i = 0; i < y.size(); ++i) {
      if (y[i] == 1) CHECK(moved[i] == 0);
      if (y[i] == 1) CHECK_FALSE(r.success[i]);
      reached += r.success[i];
    }
    CHECK(reached >= 0.5 * 32);
    CHECK(u.passes.back().fooled > 0.5);
  }
  CHECK_THROWS_AS(make_universal("uap:target=2")->craft(model, crafting_images(), {}), UsageError);
}

TEST_CASE("u-simba: the sum of probabilities never rises, for two queries an image and direction") {
  NetworkClassifier& model = trained_model();
  for (const char* spec : {"u-simba:eps=0.1,steps=100", "u-simba:eps=0.6,norm=l2,steps=100",
                           "u-simba:eps=0.1,steps=100,basis=pixel", "u-simba:eps=0.1,steps=100,freq_dim=2,stride=1"}) {
    CAPTURE(spec);
    Universal const u = make_universal(spec)->craft(model, crafting_images(), {});
    for (size_t i = 1; i < u.passes.size(); ++i) CHECK(u.passes[i].objective >= u.passes[i - 1].objective);
    CHECK(u.passes.back().objective > -0.95);  // minus the mean of p_y, which began near 1
    CHECK(u.queries == 80 * (1 + 2 * u.steps));
    CHECK(u.gradients == 0);
    CHECK((u.steps == 100 || u.passes.back().fooled >= 0.99));
  }
  CHECK_THROWS_AS(make_attack("u-simba:norm=l2"), UsageError);
}

TEST_CASE("interrupted crafting continues to the same bytes") {
  for (const char* spec : perturbations) check_resumes(trained_model(), crafting_images(), spec);
}

TEST_CASE("crafting can be stopped inside a pass, to go on from the last") {
  for (const char* spec : perturbations) check_stops(trained_model(), crafting_images(), spec);
}

TEST_CASE("crafting does not depend on how many images are passed at once") {
  provider_tests::Forced const native("all", "native");
  for (const char* spec : {"uap:eps=0.1,passes=2", "u-simba:steps=20", "uap-deepfool:eps=0.1,passes=1"})
    check_batch_free(trained_model(), crafting_images(), spec);
}

TEST_CASE("NaN gradients do not count, and fail a strict run") {
  struct NanGradient final : HostModel {
    NanGradient() : HostModel({4, 4, 1}, Striped::weights()) {}
    void spoil(std::vector<float>& g) const override {
      for (size_t i = 0; i < g.size(); i += 16) g[i] = std::nanf("");
    }
  } model;
  Batch const b = grey_batch(5, 0.5f, 0);
  AttackOptions options;
  options.evaluation = false;
  auto const r = make_attack("uap:eps=0.05,passes=3")->run(model, b, options);
  CHECK(r.nan_gradients == 5 * 3);
  auto const adv = host(r.adversarial);
  CHECK(adv[0] == 0.5f);
  CHECK(adv[1] != 0.5f);
  options.strict = true;
  CHECK_THROWS_AS(make_attack("uap")->run(model, b, options), Error);
}

TEST_CASE("an attack that is not universal is not crafted") {
  CHECK_THROWS_WITH_AS(make_universal("pgd"), doctest::Contains("pgd"), UsageError);
}
