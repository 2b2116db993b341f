// AutoAttack: its lists of parts, the cascade, what it warns of, and votes on models that draw.
#include <doctest/doctest.h>

#include <algorithm>

#include "attacks/autoattack.h"
#include "attacks/steps.h"
#include "engine/ops/loss.h"
#include "tests/attack_fixtures.h"

using namespace mith;
using namespace mith::fixtures;

namespace {

using Specs = std::vector<std::string>;

AttackResult attack(const std::string& spec, Classifier& model, const Batch& b, const AttackOptions& options = {}) {
  return make_attack(spec)->run(model, b, options);
}

bool warns(const AttackResult& r, const std::string& of) {
  return std::any_of(r.warnings.begin(), r.warnings.end(),
                     [&](const std::string& w) { return w.find(of) != std::string::npos; });
}

/// A linear model whose logits carry noise, and which may or may not say so.
struct Noisy final : HostModel {
  explicit Noisy(double size, bool honest = true)
      : HostModel(image, random_weights(3, 3)), size(size), honest(honest) {}
  double size;
  bool honest;
  bool randomised() const override { return honest; }
  double noise(const DrawKey& key, int64_t id, size_t c) const override {
    return size * double(normal(key, static_cast<uint64_t>(id), c));
  }
};

/// Gradients of zero over logits that do depend on the image.
struct Masked final : HostModel {
  Masked() : HostModel(image, random_weights(3, 3)) {}
  void spoil(std::vector<float>& g) const override { std::fill(g.begin(), g.end(), 0.0f); }
};

struct SoftmaxOutput final : HostModel {
  SoftmaxOutput() : HostModel(image, random_weights(2, 3)) {}
  void spoil_logits(std::vector<float>& z, const DrawKey&) const override {
    for (size_t i = 0; i < z.size(); i += 2) {
      float const p = 1 / (1 + std::exp(z[i + 1] - z[i]));
      z[i] = p, z[i + 1] = 1 - p;
    }
  }
};

/// Stages never gain an image, and end at what the result says.
void check_stages(const AttackResult& r, const Specs& parts) {
  int64_t const right = std::accumulate(r.clean_correct.begin(), r.clean_correct.end(), int64_t{0});
  REQUIRE(r.stages.size() == parts.size());
  int64_t before = right;
  for (size_t i = 0; i < parts.size(); ++i) {
    CHECK(r.stages[i].attack == make_attack(parts[i])->spec());
    CHECK(r.stages[i].standing <= before);
    before = r.stages[i].standing;
  }
  CHECK(before == right - successes(r));
}

/// No image survives the ensemble that a part alone fools.
void check_no_part_does_better(const AttackResult& r, const Specs& parts, Classifier& model, const Batch& b) {
  for (const std::string& part : parts) {
    CAPTURE(part);
    AttackResult const alone = attack(part, model, b);
    for (size_t i = 0; i < r.success.size(); ++i) CHECK(r.success[i] >= alone.success[i]);
  }
}

}  // namespace

TEST_CASE("AutoAttack's parts follow the version, the norm and the number of classes") {
  AutoAttackOptions o{.norm = "l2", .eps = 0.5f};
  CHECK(autoattack_parts(o, 2) == Specs{"apgd-ce:norm=l2,eps=0.5", "apgd-dlr:norm=l2,eps=0.5", "fab:norm=l2,eps=0.5",
                                        "square:norm=l2,eps=0.5,rescale=false"});
  CHECK(autoattack_parts(o, 3) == Specs{"apgd-ce:norm=l2,eps=0.5", "apgd-t:norm=l2,eps=0.5,targets=2",
                                        "fab-t:norm=l2,eps=0.5,targets=2", "square:norm=l2,eps=0.5,rescale=false"});
  CHECK(autoattack_parts(o, 10)[1] == "apgd-t:norm=l2,eps=0.5,targets=9");
  CHECK(autoattack_parts(o, 1000)[1] == "apgd-t:norm=l2,eps=0.5,targets=9");
  o.norm = "linf";
  o.version = "plus";
  CHECK(autoattack_parts(o, 4) == Specs{"apgd-ce:norm=linf,eps=0.5,restarts=5", "apgd-dlr:norm=linf,eps=0.5,restarts=5",
                                        "fab:norm=linf,eps=0.5,restarts=5", "square:norm=linf,eps=0.5,rescale=false",
                                        "apgd-t:norm=linf,eps=0.5,targets=3", "fab-t:norm=linf,eps=0.5,targets=3"});
  CHECK(autoattack_parts(o, 2).size() == 4);  // with one target, targeted attacks are the others again
  o.version = "rand";
  CHECK(autoattack_parts(o, 3) == Specs{"apgd-ce:norm=linf,eps=0.5,eot=20", "apgd-dlr:norm=linf,eps=0.5,eot=20"});
  o = {.eps = 8 / 255.f, .steps = 5, .queries = 20};
  CHECK(autoattack_parts(o, 4)[0] == "apgd-ce:norm=linf,eps=8/255,steps=5");
  CHECK(autoattack_parts(o, 4)[3] == "square:norm=linf,eps=8/255,queries=20,rescale=false");
}

TEST_CASE("every part of every list can be made") {
  for (const char* version : {"standard", "plus", "rand"})
    for (const char* norm : {"linf", "l2"})
      for (int64_t classes : {2, 3, 10})
        for (const std::string& part : autoattack_parts({.version = version, .norm = norm, .steps = 7}, classes)) {
          CAPTURE(part);
          CHECK_NOTHROW(make_attack(part));
        }
}

TEST_CASE("the cascade never gains an image, and no part alone does better") {
  for (const char* norm : {"linf", "l2"}) {
    AutoAttackOptions const o{.version = "standard",
                              .norm = norm,
                              .eps = norm == std::string("l2") ? 0.05f : 0.01f,
                              .steps = 10,
                              .queries = 50};
    std::string const spec = cat("autoattack:norm=", norm, ",eps=", o.eps, ",steps=10,queries=50");
    Wavy three;
    Linear two(2);
    for (HostModel* model : {static_cast<HostModel*>(&three), static_cast<HostModel*>(&two)}) {
      Batch const b = images_of(*model, 32);
      AttackResult const r = attack(spec, *model, b);
      Specs const parts = autoattack_parts(o, model->classes());
      check_stages(r, parts);
      check_no_part_does_better(r, parts, *model, b);
    }
  }
}

TEST_CASE("the rand version, without draws, is a cascade of two APGDs") {
  Wavy model;
  Batch b = images_of(model, 24);
  auto labels = b.y.to_host<int32_t>();
  for (size_t i = 0; i < 24; i += 4) labels[i] = (labels[i] + 1) % 3;
  b.y = Tensor::from(labels, {24});
  AutoAttackOptions const o{.version = "rand", .eps = 0.01f, .steps = 5};
  AttackResult const r = attack("autoattack:version=rand,eps=0.01,steps=5", model, b);
  Specs const parts = autoattack_parts(o, 3);
  check_stages(r, parts);
  check_no_part_does_better(r, parts, model, b);
  CHECK(successes(r) > 0);
  auto const moved = linf_distance(r.adversarial, b.x);
  auto const predicted = argmax(model.logits({r.adversarial, b.y, b.ids})).to_host<int32_t>();
  for (size_t i = 0; i < 24; ++i) {
    CHECK(bool(r.clean_correct[i]) == (i % 4 != 0));
    CHECK(bool(r.success[i]) == (r.clean_correct[i] && predicted[i] != labels[i]));
    CHECK(moved[i] <= 0.01f + 1e-6f);
    if (!r.success[i]) CHECK(moved[i] == 0);
  }
}

TEST_CASE("AutoAttack spends the passes that it says, and its progress goes forward") {
  Wavy model;
  Batch const b = images_of(model, 10);
  Usage const before = model.usage();
  int64_t done = -1, total = 0;
  bool forward = true;
  AttackOptions options;
  options.progress = [&](const AttackProgress& p) {
    forward = forward && p.done >= done && p.done <= p.total;
    done = p.done, total = p.total;
  };
  AttackResult const r = attack("autoattack:version=rand,eps=0.005,steps=4", model, b, options);
  CHECK(forward);
  CHECK(done == total);
  int64_t queries = 0, gradients = 0;
  for (int64_t q : r.queries) queries += q;
  for (int64_t g : r.gradients) gradients += g;
  CHECK(model.usage().forwards - before.forwards == queries);
  CHECK(model.usage().gradients - before.gradients == gradients);
}

TEST_CASE("a random model is fooled where the majority of passes is wrong, not where one is") {
  Linear still(3);
  Batch const b = images_of(still, 80);
  Noisy model(0.6);
  // A vote agrees with the model without its noise wherever that has a margin.
  auto const margins = host(margin_loss(still.logits(b), b.y));
  auto const wrong = wrong_by_majority(model, b, {}, 0);
  int64_t single = 0, clear = 0;
  auto const one_pass = argmax(model.logits(b, {.seed = 1})).to_host<int32_t>(), y = b.y.to_host<int32_t>();
  for (size_t i = 0; i < 80; ++i) {
    if (margins[i] < -1) CHECK_FALSE(wrong[i]);
    clear += margins[i] < -1;
    single += one_pass[i] != y[i];
  }
  REQUIRE(clear > 20);
  REQUIRE(single > 0);  // luck alone would have counted these

  // With no room to move, APGD's thousands of noisy passes fool no image that has a clear margin.
  AttackResult const idle = attack("autoattack:version=rand,eps=0.000001,steps=3", model, b);
  for (size_t i = 0; i < 80; ++i)
    if (margins[i] < -1) CHECK_FALSE(idle.success[i]);
  CHECK_FALSE(warns(idle, "draws"));
  // With room it fools them, and what it fools stays fooled without the noise, but for images at the border.
  AttackResult const r = attack("autoattack:version=rand,eps=0.2,steps=4", model, b);
  CHECK(successes(r) > successes(idle) + 20);
  auto const after = host(margin_loss(still.logits({r.adversarial, b.y, b.ids}), b.y));
  for (size_t i = 0; i < 80; ++i)
    if (r.success[i]) CHECK(after[i] > -1);
}

TEST_CASE("of a random model APGD leaves no image out: one wrong pass is no verdict") {
  Linear still(3);
  Batch const b = images_of(still, 40, 0.45f, 0.55f);
  Noisy model(0.6);
  Usage const before = model.usage();
  AttackResult const r = attack("apgd-ce:eps=0.05,steps=6", model, b);
  int64_t const right = std::count(r.clean_correct.begin(), r.clean_correct.end(), 1);
  REQUIRE(successes(r) > 0);
  // The start and six steps of every image that was right; the last iterate needs no gradient.
  CHECK(model.usage().gradients - before.gradients == 6 * right);
}

TEST_CASE("votes are keyed by image, and differ between rounds") {
  Linear still(3);
  Batch const b = images_of(still, 60, 0.3f, 0.7f);
  Noisy model(3);
  auto const whole = wrong_by_majority(model, b, {}, 0);
  AttackOptions padded;
  padded.batch = 7;
  CHECK(wrong_by_majority(model, b, padded, 0) == whole);
  auto const part = wrong_by_majority(model, slice(b, 20, 10), {}, 0);
  CHECK(part == std::vector<uint8_t>(whole.begin() + 20, whole.begin() + 30));
  CHECK(wrong_by_majority(model, b, {}, 1) != whole);
}

TEST_CASE("AutoAttack says what makes its result doubtful") {
  std::string const rand = "autoattack:version=rand,eps=0.01,steps=2";
  std::string const standard = "autoattack:eps=0.01,steps=2,queries=5";
  Linear two(2), three(3), twelve(12);
  CHECK(warns(attack(rand, two, images_of(two, 4)), "two classes"));
  CHECK(warns(attack(standard, three, images_of(three, 4)), "three classes"));
  CHECK(warns(attack(standard, three, images_of(three, 4)), "2 targets instead of 9"));
  CHECK(attack(rand, three, images_of(three, 4)).warnings.empty());  // it aims at no class
  CHECK(attack(standard, twelve, images_of(twelve, 4)).warnings.empty());
  Masked masked;
  CHECK(warns(attack(rand, masked, images_of(masked, 4)), "no gradient at some images"));
  SoftmaxOutput softmaxed;
  CHECK(warns(attack(rand, softmaxed, images_of(softmaxed, 4)), "probabilities"));
}

TEST_CASE(
    "AutoAttack's standard version warns of a model that draws, and its stages show what gradients hid from Square") {
  Linear still(3);
  Batch const b = images_of(still, 16, 0.4f, 0.6f);
  Noisy secret(0.5, false);
  CHECK(warns(attack("autoattack:eps=0.01,steps=2,queries=5", secret, b), "draws"));
  CHECK_FALSE(warns(attack("autoattack:eps=0.01,steps=2,queries=5", still, b), "draws"));
  Masked masked;
  AttackResult const r = attack("autoattack:eps=0.3,steps=2,queries=200", masked, b);
  REQUIRE(r.stages.size() == 4);
  CHECK(r.stages[3].standing < r.stages[2].standing);
}

TEST_CASE("outside an evaluation AutoAttack is its first part; bad specs and models are refused") {
  Wavy model;
  Batch const b = images_of(model, 6);
  CHECK(host(attack("autoattack:eps=0.02,steps=5", model, b, training()).adversarial) ==
        host(attack("apgd-ce:eps=0.02,steps=5", model, b, training()).adversarial));
  CHECK_THROWS_AS(make_attack("autoattack:version=fast"), UsageError);
  CHECK_THROWS_AS(make_attack("autoattack:eps=2"), UsageError);
  CHECK_NOTHROW(make_attack("autoattack:norm=l2,eps=2"));
  Linear one(1);
  CHECK_THROWS_AS(attack("autoattack", one, images_of(one, 2)), UsageError);
  CHECK(attack("autoattack", model, slice(b, 0, 0)).adversarial.dim(0) == 0);
}
