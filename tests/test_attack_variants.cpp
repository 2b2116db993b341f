// R-FGSM, FFGSM, EOT-PGD and TPGD: what they reduce to, and what sets them apart.
#include <doctest/doctest.h>

#include <algorithm>

#include "attacks/draws.h"
#include "attacks/eotpgd.h"
#include "attacks/fgsm.h"
#include "attacks/passes.h"
#include "attacks/pgd.h"
#include "attacks/rfgsm.h"
#include "attacks/tpgd.h"
#include "tests/attack_fixtures.h"

using namespace mith;
using namespace mith::fixtures;

namespace {

/// A linear model with noise on its logits, larger than most of its margins.
struct Noisy final : HostModel {
  explicit Noisy(double size = 2) : HostModel(image, random_weights(3, 3)), size(size) {}
  double size;
  bool randomised() const override { return true; }
  double noise(const DrawKey& key, int64_t id, size_t c) const override {
    return size * double(normal(key, static_cast<uint64_t>(id), c));
  }
};

/// KL(p(x) || p(adv)) of each image.
std::vector<float> divergence(Classifier& model, const Batch& b, const Tensor& adv) {
  return host(kl_divergence(softmax(model.logits(b)), model.logits({adv, b.y, b.ids})));
}

double mean(const std::vector<float>& v) { return std::accumulate(v.begin(), v.end(), 0.0) / double(v.size()); }

}  // namespace

TEST_CASE("R-FGSM without its random step is FGSM, bit for bit") {
  Wavy model;
  Batch const b = images_of(model, 20);
  for (AttackOptions const& options : {AttackOptions{}, training()}) {
    auto const r = run(Rfgsm{.eps = 0.03f, .alpha = 0, .steps = 1, .second_step = 0.03f}, model, b, options);
    CHECK(host(r.adversarial) == host(run(Fgsm{.eps = 0.03f}, model, b, options).adversarial));
  }
}

TEST_CASE("R-FGSM in the paper's form is one sign step behind a random one") {
  Linear model;
  Batch const b = images_of(model, 16, 0.2f, 0.8f);  // nothing is clipped
  Rfgsm const paper{.eps = 0.04f, .alpha = 0.02f, .steps = 1, .second_step = 0.02f};
  auto const adv = host(run(paper, model, b, training()).adversarial), x = host(b.x);
  int64_t still = 0, moved = 0;
  for (size_t i = 0; i < adv.size(); ++i) {
    // The random and the gradient's sign agree or cancel.
    double const d = std::abs(double(adv[i]) - double(x[i]));
    CHECK((std::abs(d - 0.04) <= 1e-6 || d <= 1e-6));
    still += d <= 1e-6;
    moved += d > 1e-6;
  }
  CHECK(std::abs(double(still - moved)) <= 5 * std::sqrt(double(adv.size())));
  CHECK(Rfgsm{.alpha = 0.01f}.resolved_step() == 0.01f);
}

TEST_CASE("FFGSM from the image itself is FGSM, and from a random point one sign step in the ball") {
  Wavy model;
  Batch const b = images_of(model, 20);
  auto const fgsm = run(Fgsm{.eps = 0.03f}, model, b, training());
  for (float alpha : {0.03f, 0.0f, 0.07f}) {
    auto const r = run(Ffgsm{.eps = 0.03f, .alpha = alpha, .random_start = false}, model, b, training());
    CHECK(host(r.adversarial) == host(fgsm.adversarial));
  }
  Tensor adv = uniform_in_linf_ball(b, 0.03f, draw_key("ffgsm", training(), Purpose::attack_start, 0, 0));
  Tensor const gradient =
      model.evaluate({adv, b.y, b.ids}, attack_loss(b, -1), {.input_gradient = true}).input_gradient;
  Tensor nan_count = Tensor::zeros({1}, DType::i64);
  sign_step_project(adv, b.x, gradient, 0.02f, 0.03f, nan_count);
  CHECK(host(run(Ffgsm{.eps = 0.03f, .alpha = 0.02f}, model, b, training()).adversarial) == host(adv));
  CHECK(host(adv) != host(fgsm.adversarial));
}

TEST_CASE("FFGSM's step is 1.25 eps long unless told otherwise") {
  CHECK(Ffgsm{}.resolved_alpha() == 1.25f * (8 / 255.f));
  CHECK(Ffgsm{.eps = 0.2f}.resolved_alpha() == 1.25f * 0.2f);
  CHECK(Ffgsm{.alpha = 0.01f}.resolved_alpha() == 0.01f);
  Wavy model;
  Batch const b = images_of(model, 8);
  auto const with = [&](const char* spec) { return host(make_attack(spec)->run(model, b, training()).adversarial); };
  CHECK(with("ffgsm:eps=0.2") == with("ffgsm:eps=0.2,alpha=0.25"));
  CHECK(with("ffgsm:eps=0.2") != with("ffgsm:eps=0.2,alpha=10/255"));
}

TEST_CASE("EOT-PGD of one pass is PGD bit for bit; more passes of a model without draws change little") {
  Wavy model;
  Batch const b = images_of(model, 20);
  auto const pgd = run(Pgd{.eps = 0.03f, .alpha = 0.01f, .steps = 6, .random_start = false}, model, b);
  EotPgd eot{.eps = 0.03f, .alpha = 0.01f, .steps = 6, .eot = 1, .random_start = false};
  auto const once = run(eot, model, b);
  CHECK(host(once.adversarial) == host(pgd.adversarial));
  CHECK(once.success == pgd.success);
  CHECK(once.gradients == pgd.gradients);
  for (int passes : {2, 3, 5}) {
    eot.eot = passes;
    auto const often = run(eot, model, b);
    // Signs can differ only where a sum of gradients rounds to the other side of 0.
    for (float d : linf_distance(often.adversarial, pgd.adversarial)) CHECK(d <= 1e-6);
    for (size_t i = 0; i < 20; ++i) CHECK(often.gradients[i] == passes * pgd.gradients[i]);
  }
}

TEST_CASE("averages over passes draw anew for each, and converge") {
  Noisy model;
  Linear still(3);
  Batch const b = images_of(still, 40);
  auto const logits = [&](int passes) {
    return host(
        Passes(model, 0)
            .average(b, Loss{}, {.logits = true}, passes, [&](int pass) { return model_key("test", {}, 0, 0, pass); })
            .logits);
  };
  auto const exact = host(still.logits(b));
  auto const deviation = [&](const std::vector<float>& z) {
    double square = 0;
    for (size_t i = 0; i < z.size(); ++i) square += std::pow(double(z[i]) - double(exact[i]), 2);
    return std::sqrt(square / double(z.size()));
  };
  // 120 logits: the estimate of a deviation is within a third of it by five standard errors.
  CHECK(std::abs(deviation(logits(1)) / 2 - 1) <= 0.33);
  CHECK(std::abs(deviation(logits(64)) / 0.25 - 1) <= 0.33);
}

TEST_CASE("model keys differ in what models leave of them") {
  std::vector<uint64_t> seeds;
  for (int restart : {0, 1})
    for (int iteration : {-1, 0, 1, 2})
      for (int pass : {0, 1, 2}) seeds.push_back(model_key("pgd", {}, restart, iteration, pass).seed);
  seeds.push_back(model_key("bim", {}, 0, 0, 0).seed);
  std::sort(seeds.begin(), seeds.end());
  CHECK(std::adjacent_find(seeds.begin(), seeds.end()) == seeds.end());
  CHECK(model_key("pgd", {}, 1, 2, 3).seed == model_key("pgd", {}, 1, 2, 3).seed);
}

TEST_CASE("no two names, restarts and iterations share a stream, nor a model's draws with an attack's") {
  std::vector<uint64_t> seeds;
  for (const std::string& name : AttackRegistry::names())
    for (int restart : {0, 1, 256})
      for (int iteration : {-1, 0, 1, 81, 65535, 65536}) {
        seeds.push_back(draw_key(name, {}, Purpose::noise, restart, iteration).seed);
        seeds.push_back(model_key(name, {}, restart, iteration).seed);
      }
  std::sort(seeds.begin(), seeds.end());
  CHECK(std::adjacent_find(seeds.begin(), seeds.end()) == seeds.end());
  DrawKey const start = draw_key("pgd", {}, Purpose::attack_start, 0, 0),
                noise = draw_key("pgd", {}, Purpose::noise, 0, 0);
  CHECK(random_bits(start, 0, 0) != random_bits(noise, 0, 0));
}

TEST_CASE("a random model draws anew in every pass of an iterative attack, the clean one too") {
  for (const char* spec : {"pgd:eps=0.001,steps=3,restarts=2", "bim:eps=0.001,steps=3", "noise:eps=0.001,restarts=3",
                           "eotpgd:eps=0.001,steps=3,eot=3", "tpgd:eps=0.001,steps=3"})
    for (AttackOptions const& options : {AttackOptions{}, training()}) {
      CAPTURE(spec);
      CAPTURE(options.evaluation);
      Drawing model;
      Batch const b = images_of(model, 20);
      model.drawn.clear();
      make_attack(spec)->run(model, b, options);
      CHECK((model.drawn.size() >= 3 || std::string(spec).starts_with("noise")));
      CHECK(model.drew_anew_in_every_pass());
    }
}

TEST_CASE("against a random model the average over passes sees the gradient through the noise") {
  Noisy model(6);
  Linear still(3);
  Batch const b = images_of(still, 60, 0.3f, 0.7f);
  auto const margin = [&](int eot) {
    EotPgd const attack{.eps = 0.02f, .alpha = 0.005f, .steps = 8, .eot = eot};
    Tensor const adv = run(attack, model, b, training()).adversarial;
    return mean(host(margin_loss(still.logits({adv, b.y, b.ids}), b.y)));
  };
  double const before = mean(host(margin_loss(still.logits(b), b.y)));
  double const alone = margin(1), average = margin(16);
  CHECK(average > before);
  CHECK(average >= alone);
}

TEST_CASE("TPGD raises the divergence, needs no labels, and is stuck without its jitter") {
  Wavy model;
  Batch const b = images_of(model, 24, 0.2f, 0.8f);
  Tpgd const attack{.eps = 0.03f, .alpha = 0.01f, .steps = 6};
  DrawKey const key = draw_key("tpgd", training(), Purpose::attack_start, 0, 0);
  auto const start = divergence(model, b, attack.start(b, key));
  auto const adv = run(attack, model, b, training()).adversarial;
  auto const end = divergence(model, b, adv);
  for (size_t i = 0; i < 24; ++i) {
    CHECK(start[i] >= 0);
    CHECK(end[i] >= start[i]);
  }
  CHECK(mean(end) > 10 * mean(start));

  Batch other = b;
  auto labels = b.y.to_host<int32_t>();
  for (int32_t& label : labels) label = (label + 1) % 3;
  other.y = Tensor::from(labels, {24});
  CHECK(host(run(attack, model, other, training()).adversarial) == host(adv));

  Tpgd stuck = attack;
  stuck.jitter = 0;
  CHECK(host(run(stuck, model, b, training()).adversarial) == host(b.x));
}

TEST_CASE("a loss that needs the clean logits is refused without a random start") {
  struct Unmoved : Tpgd {
    Plan plan() const { return {.clean_logits = true}; }
  };
  Linear model;
  CHECK_THROWS_AS(run(Unmoved{}, model, images_of(model, 2)), Error);
}

TEST_CASE("TPGD's books hold divergences and fooled images") {
  Wavy model;
  Batch const b = images_of(model, 24);
  auto const r = run(Tpgd{.eps = 0.05f, .alpha = 0.02f, .steps = 8}, model, b);
  auto const of_result = divergence(model, b, r.adversarial);
  auto const predicted = argmax(model.logits({r.adversarial, b.y, b.ids})).to_host<int32_t>(),
             y = b.y.to_host<int32_t>();
  for (size_t i = 0; i < 24; ++i) {
    CHECK(bool(r.success[i]) == (predicted[i] != y[i]));
    CHECK(std::abs(r.loss[i] - of_result[i]) <= 1e-6f * (1 + of_result[i]));
  }
  CHECK(successes(r) > 0);
}

TEST_CASE("a classifier refuses losses whose tensors do not fit") {
  Linear model(3);
  Batch const b = images_of(model, 4);
  Want const want{.loss = true};
  CHECK_THROWS_AS(model.evaluate(b, Loss{.kind = Loss::kl, .labels = b.y}, want), Error);
  CHECK_THROWS_AS(model.evaluate(b, Loss{.kind = Loss::kl, .labels = {}, .probabilities = Tensor::zeros({4, 2})}, want),
                  Error);
  CHECK_THROWS_AS(
      model.evaluate(b, Loss{.kind = Loss::margin, .labels = b.y, .others = Tensor::zeros({3}, DType::i32)}, want),
      Error);
  CHECK_THROWS_AS(model.evaluate(b, Loss{.kind = Loss::dlr, .labels = {}}, want), Error);
}

TEST_CASE("losses of a classifier: each kind, towards a class by its negative, and any weights on the logits") {
  Linear model(4);
  Batch const b = images_of(model, 6);
  Tensor const z = model.logits(b), others = Tensor::from(std::vector<int32_t>{0, 1, 2, 3, 0, 1}, {6});
  Tensor const p = Tensor::full({6, 4}, 0.25);
  auto const value = [&](Loss loss) { return host(model.evaluate(b, loss, {.loss = true}).loss); };
  CHECK(value({.kind = Loss::margin, .labels = b.y}) == host(margin_loss(z, b.y)));
  CHECK(value({.kind = Loss::dlr, .labels = b.y, .others = others}) ==
        host(margin_loss(z, b.y, {.others = others, .by_rank = true})));
  CHECK(value({.kind = Loss::kl, .labels = {}, .probabilities = p}) == host(kl_divergence(p, z)));
  CHECK(value({.kind = Loss::dlr, .labels = b.y, .targeted = true}) ==
        host(scale(margin_loss(z, b.y, {.by_rank = true}), -1)));
  // The weighted sum's gradient is the same sum of the weights' rows.
  Tensor const weights =
      Tensor::from(std::vector<float>{1, 0, 0, 0, 0, -2, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1, 1, 1, 0, 0, 0, 3}, {6, 4});
  auto const g = host(model.evaluate(b, OnLogits{weights}, {.input_gradient = true}).input_gradient);
  auto const v = host(weights);
  auto const rows = random_weights(4, 3);
  for (size_t i = 0; i < g.size(); ++i) {
    double expected = 0;
    for (size_t c = 0; c < 4; ++c) expected += double(v[i / pixels * 4 + c]) * rows[c][i % pixels];
    CHECK(std::abs(g[i] - expected) <= 1e-6);
  }
}
