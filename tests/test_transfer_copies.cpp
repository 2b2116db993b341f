// SI-, SI-NI-FGSM, Admix, USMM, SIA and STM-R: their limits, their gradients by finite differences, their partners and
// draws.
#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

#include "attacks/draws.h"
#include "attacks/mifgsm.h"
#include "attacks/partners.h"
#include "attacks/sia.h"
#include "attacks/sifgsm.h"
#include "attacks/steps.h"
#include "attacks/stm.h"
#include "attacks/usmm.h"
#include "tests/attack_fixtures.h"

using namespace mith;
using namespace mith::fixtures;

namespace {

const std::vector<std::string> names{"sifgsm", "sinifgsm", "admix", "usmm", "sia", "sia:sia_ops=10", "stm"};

/// Logits that go up and down along every direction; keeps the images, losses and gradients of passes for gradients.
struct Watched final : HostModel {
  Watched() : HostModel(image, random_weights(3, 4)) {}
  double activate(double v) const override { return 3 * std::sin(2 * v); }
  double slope(double v) const override { return 6 * std::cos(2 * v); }
  Outputs run(const Batch& b, const Cotangent& cotangent, const Want& want, const DrawKey& key) override {
    if (!want.input_gradient) return HostModel::run(b, cotangent, want, key);
    Outputs const out = HostModel::run(b, cotangent, {.logits = true, .loss = true, .input_gradient = true}, key);
    auto const append = [](std::vector<float>& to, const Tensor& t) {
      auto const values = t.to_host<float>();
      to.insert(to.end(), values.begin(), values.end());
    };
    append(seen, b.x);
    append(losses, out.loss);
    append(gradients, out.input_gradient);
    return out;
  }
  void forget() { seen.clear(), losses.clear(), gradients.clear(); }
  std::vector<float> seen, losses, gradients;
};

/// Clean images for partners that are none of images_of, as the model sees them.
Batch pool_of(Classifier& model, int64_t n, float low = 0, float high = 1) {
  Batch b = images_of(model, n);
  std::vector<float> x;
  for (uint64_t i = 0; i < static_cast<uint64_t>(n * pixels); ++i)
    x.push_back(low + (high - low) * uniform({.seed = 5, .purpose = Purpose::phantom}, 0, i));
  b.x = Tensor::from(x, b.x.shape());
  b.y = argmax(model.logits(b));
  return b;
}

template <class C>
AttackResult attack(C config, Classifier& model, const Batch& b, const AttackOptions& options = training()) {
  return Momentum<C>(std::move(config)).run(model, b, options);
}

constexpr MomentumFrame six_steps{.eps = 0.05f, .alpha = 0.01f, .steps = 6};

/// One call of an attack's estimate, at these images.
template <class C>
std::vector<float> estimate(const C& config, Classifier& model, const Batch& clean, const Tensor& adv,
                            const AttackOptions& options = {}) {
  GradientSource source(C::name, model, clean, clean, options, -1);
  Tensor const momentum = Tensor::zeros_like(adv);
  Tensor memory;
  MomentumStep step{.clean = clean, .adv = adv, .momentum = momentum, .memory = memory, .eps = 0.05f};
  step.key = draw_key(C::name, options, Purpose::noise, 0, 0);
  return host(config.estimate(source, step));
}

/// The estimate times a direction, against central differences of the mean cross-entropy of all copies of each image.
template <class C>
void check_differences(const C& config) {
  Watched model;
  Batch const b = images_of(model, 4, 0.3f, 0.7f);
  std::vector<float> const x = host(b.x);
  std::vector<float> const g = estimate(config, model, b, b.x);
  size_t const copies = model.losses.size() / 4;
  double const h = 2e-3;
  std::vector<double> direction, change(4, 0), slope(4, 0);
  for (size_t i = 0; i < x.size(); ++i)
    direction.push_back(double(uniform({.seed = 21}, 0, i)) > 0.5 ? 1.0 / 6 : -1.0 / 6);
  for (int sign : {1, -1}) {
    std::vector<float> moved = x;
    for (size_t i = 0; i < x.size(); ++i) moved[i] += static_cast<float>(sign * h * direction[i]);
    model.forget();
    estimate(config, model, b, Tensor::from(moved, b.x.shape()));
    REQUIRE(model.losses.size() == 4 * copies);
    // Copies of one image come together, in as many passes as the frame likes: the labels say whose they are.
    for (size_t i = 0; i < model.losses.size(); ++i) {
      size_t const first = i / 16 * 16, at_once = std::min<size_t>(16, model.losses.size() - first) / 4;
      change[(i - first) / at_once] += sign * double(model.losses[i]) / double(copies) / (2 * h);
    }
  }
  for (size_t i = 0; i < x.size(); ++i) slope[i / pixels] += double(g[i]) * direction[i];
  for (size_t i = 0; i < 4; ++i) {
    CHECK(std::abs(slope[i]) > 1e-3);
    CHECK(std::abs(change[i] - slope[i]) <= 3e-3 * (1 + std::abs(slope[i])));
  }
}

}  // namespace

TEST_CASE("with one plain copy, or equal ones, every attack on copies is MI-FGSM") {
  Watched model;
  Batch const b = images_of(model, 20);
  for (AttackOptions const& options : {AttackOptions{}, training()}) {
    auto const mi = host(attack(Mifgsm{.frame = six_steps}, model, b, options).adversarial);
    CHECK(mi != host(b.x));
    CHECK(host(attack(Sifgsm{.frame = six_steps, .copies = 1}, model, b, options).adversarial) == mi);
    Admix const admix{.frame = six_steps, .eta = 0, .scales = 1};
    CHECK(host(attack(admix, model, b, options).adversarial) == mi);
    for (const char* gradient : {"copy", "chain"}) {
      Usmm const usmm{.frame = six_steps, .low = 1, .high = 1, .scales = 1, .mixes = 1, .r = 0, .usmm_grad = gradient};
      CHECK(host(attack(usmm, model, b, options).adversarial) == mi);
    }
    Sia const sia{.frame = six_steps, .only = "identity"};
    CHECK(host(attack(sia, model, b, options).adversarial) == mi);
    for (const char* style : {"mixed", "randconv", "adain_pixel"}) {
      Stm const stm{.frame = six_steps, .gamma = 1, .beta = 0, .style = style};
      CHECK(host(attack(stm, model, b, options).adversarial) == mi);
    }
    // ... and with its usual copies it is not.
    CHECK(host(attack(Sifgsm{.frame = six_steps}, model, b, options).adversarial) != mi);
    CHECK(host(attack(Usmm{.frame = six_steps}, model, b, options).adversarial) != mi);
    CHECK(host(attack(Sia{.frame = six_steps}, model, b, options).adversarial) != mi);
    CHECK(host(attack(Stm{.frame = six_steps}, model, b, options).adversarial) != mi);
  }
}

TEST_CASE("Admix without admixture is SI-FGSM, SI-NI without momentum is SI") {
  Watched model;
  Batch const b = images_of(model, 20);
  auto const si = host(attack(Sifgsm{.frame = six_steps}, model, b).adversarial);
  CHECK(host(attack(Admix{.frame = six_steps, .eta = 0}, model, b).adversarial) == si);
  CHECK(host(attack(Admix{.frame = six_steps}, model, b).adversarial) != si);
  MomentumFrame still = six_steps;
  still.mu = 0;
  CHECK(host(attack(Sinifgsm{.frame = still}, model, b).adversarial) ==
        host(attack(Sifgsm{.frame = still}, model, b).adversarial));
  CHECK(host(attack(Sinifgsm{.frame = six_steps}, model, b).adversarial) != si);
}

TEST_CASE("on a linear model of two classes scaled copies lead where one gradient leads") {
  Linear model;
  Batch const b = images_of(model, 12);
  auto const mi = host(attack(Mifgsm{.frame = six_steps}, model, b).adversarial);
  CHECK(host(attack(Sifgsm{.frame = six_steps}, model, b).adversarial) == mi);
  CHECK(host(attack(Sinifgsm{.frame = six_steps}, model, b).adversarial) == mi);
  CHECK(host(attack(Admix{.frame = six_steps}, model, b).adversarial) == mi);
  CHECK(host(attack(Usmm{.frame = six_steps}, model, b).adversarial) == mi);
}

TEST_CASE("estimates are the gradients of the copies' mean loss: scales of 1/2, 1/4, ... carry their factor") {
  check_differences(Sifgsm{});
  check_differences(Sifgsm{.copies = 2});
  check_differences(Admix{});
  check_differences(Usmm{.usmm_grad = "chain"});
  check_differences(Sia{});
  check_differences(Sia{.sia_ops = "10"});
  check_differences(Sia{.copies = 3, .blocks = 1, .sia_ops = "10"});
}

TEST_CASE("USMM: copies lie in [0, 1], and by default their gradients are averaged as they are") {
  Watched model;
  Batch const b = images_of(model, 4);
  AttackOptions options;  // bright partners of a class of their own: masks well above 1
  options.partners = pool_of(model, 12, 0.8f, 1);
  options.partners.y = Tensor::from(std::vector<int32_t>(12, 3), {12});
  model.forget();
  auto const g = estimate(Usmm{.low = 0.5f, .high = 1}, model, b, b.x, options);
  REQUIRE(model.seen.size() == size_t(4 * 15 * pixels));
  int64_t at_the_edge = 0;
  for (float v : model.seen) {
    if (!(v >= 0 && v <= 1)) FAIL("a copy leaves [0, 1]");
    at_the_edge += v == 1;
  }
  CHECK(at_the_edge > 0);
  // Four images times four copies a pass, and a last one of three copies.
  std::vector<double> mean(g.size(), 0);
  for (size_t i = 0; i < model.gradients.size(); ++i) {
    size_t const row = i / pixels, first = row / 16 * 16, at_once = std::min<size_t>(16, 60 - first) / 4;
    mean[(row - first) / at_once * pixels + i % pixels] += double(model.gradients[i]) / 15;
  }
  for (size_t i = 0; i < g.size(); ++i) CHECK(std::abs(g[i] - mean[i]) <= 1e-5);
  CHECK(estimate(Usmm{.low = 0.5f, .high = 1, .usmm_grad = "chain"}, model, b, b.x, options) != g);
}

TEST_CASE("STM-R: as many styles a step as copies; styles keep the image's statistics, noise its reach") {
  Watched model;
  Batch const b = images_of(model, 3, 0.2f, 0.8f);
  model.forget();
  attack(Stm{.frame = six_steps}, model, b);
  CHECK(model.losses.size() == 3 * 20 * 6);
  model.forget();
  estimate(Stm{.gamma = 0, .beta = 0, .style = "randconv"}, model, b, b.x);
  std::vector<float> const x = host(b.x);
  auto const moments = [](const float* v) {
    double mean = 0, square = 0;
    for (size_t i = 0; i < pixels; ++i) mean += double(v[i]) / pixels;
    for (size_t i = 0; i < pixels; ++i) square += std::pow(double(v[i]) - mean, 2) / pixels;
    return std::pair(mean, std::sqrt(square));
  };
  int64_t unlike = 0;
  for (size_t row = 0; row < 60; ++row) {
    size_t const own = row % 12 / 4;  // three images, four copies a pass
    auto const [mean, deviation] = moments(&model.seen[row * pixels]);
    auto const [own_mean, own_deviation] = moments(&x[own * pixels]);
    CHECK(std::abs(mean - own_mean) <= 1e-5);
    CHECK(std::abs(deviation - own_deviation) <= 1e-5);
    unlike += std::abs(model.seen[row * pixels] - x[own * pixels]) > 0.01f;
  }
  CHECK(unlike > 30);
  model.forget();
  estimate(Stm{.gamma = 1}, model, b, b.x);  // noise alone: beta eps = 0.1
  float most = 0;
  for (size_t i = 0; i < model.seen.size(); ++i)
    most = std::max(most, std::abs(model.seen[i] - x[i / pixels % 12 / 4 * pixels + i % pixels]));
  CHECK(most <= 0.1f + 1e-6f);
  CHECK(most > 0.09f);
}

TEST_CASE("partners are of another class, all of them in turn, keyed by image") {
  Linear model(3);
  Batch const pool = pool_of(model, 40);
  Batch const clean = images_of(model, 9);
  DrawKey const key{.seed = 2, .purpose = Purpose::split};
  int64_t const draws = 400;
  auto const rows = draw_partner_rows(clean, pool, key, draws, PartnerClass::other);
  auto const y = clean.y.to_host<int32_t>(), pool_y = pool.y.to_host<int32_t>();
  for (size_t i = 0; i < 9; ++i) {
    std::vector<int64_t> counts(40, 0);
    for (size_t draw = 0; draw < size_t(draws); ++draw) ++counts[size_t(rows[i * size_t(draws) + draw])];
    double const others = double(std::count_if(pool_y.begin(), pool_y.end(), [&](int32_t p) { return p != y[i]; }));
    REQUIRE(others > 0);
    for (size_t p = 0; p < 40; ++p) {
      double const expected = pool_y[p] == y[i] ? 0 : double(draws) / others;
      CHECK(std::abs(double(counts[p]) - expected) <= 6 * std::sqrt(expected));
    }
  }
  auto const one = draw_partner_rows(slice(clean, 4, 1), pool, key, draws, PartnerClass::other);
  CHECK(one == std::vector<int64_t>(rows.begin() + 4 * draws, rows.begin() + 5 * draws));
  auto const any = draw_partner_rows(slice(clean, 0, 1), slice(clean, 0, 1), key, 3, PartnerClass::any);
  CHECK(any == std::vector<int64_t>{0, 0, 0});
  CHECK(draw_partner_rows(slice(clean, 0, 1), slice(clean, 0, 1), key, 2, PartnerClass::other) ==
        std::vector<int64_t>{-1, -1});
}

TEST_CASE("an image without a partner of another class stays unmixed, and the result says so") {
  Linear model;
  Batch const b = images_of(model, 16);
  Batch const alone = slice(b, 2, 1);
  auto const admix = attack(Admix{.frame = six_steps}, model, alone);
  CHECK(host(admix.adversarial) == host(attack(Sifgsm{.frame = six_steps}, model, alone).adversarial));
  REQUIRE(admix.warnings.size() == 1);
  CHECK(admix.warnings[0] == "1 image has no partner of another class and stayed unmixed");
  auto const usmm = attack(Usmm{.frame = six_steps}, model, alone);
  CHECK(usmm.warnings == admix.warnings);
  CHECK(host(usmm.adversarial) != host(alone.x));
  AttackOptions with = training();
  with.partners = b;
  CHECK(attack(Admix{.frame = six_steps}, model, alone, with).warnings.empty());
  with.partners = {b.x.view({16, 4, 9, 1}), b.y, b.ids};
  CHECK_THROWS_AS(attack(Admix{.frame = six_steps}, model, alone, with), Error);
}

TEST_CASE("the same seed gives the same bytes for every batch size and order") {
  Watched model;
  int64_t const n = 15;
  Batch const b = images_of(model, n);
  std::vector<int64_t> backwards(n);
  std::iota(backwards.rbegin(), backwards.rend(), int64_t{0});
  for (const std::string& name : names) {
    CAPTURE(name);
    auto const made = make_attack(name + (name.find(':') == std::string::npos ? ":steps=3" : ",steps=3"));
    for (AttackOptions options : {AttackOptions{}, training()}) {
      options.seed = 9;
      options.step = 4;
      options.partners = pool_of(model, 30);
      auto const whole = host(made->run(model, b, options).adversarial);
      for (int64_t size : {1, 7}) {
        std::vector<float> parts;
        for (int64_t first = 0; first < n; first += size) {
          auto const part = host(made->run(model, slice(b, first, std::min(size, n - first)), options).adversarial);
          parts.insert(parts.end(), part.begin(), part.end());
        }
        CHECK(parts == whole);
      }
      CHECK(host(gather_rows(made->run(model, select(b, backwards), options).adversarial, backwards)) == whole);
      options.batch = 4;
      CHECK(host(made->run(model, b, options).adversarial) == whole);
      options.seed = 10;
      if (!name.starts_with("si") || name.starts_with("sia"))
        CHECK(host(made->run(model, b, options).adversarial) != whole);
    }
  }
}

TEST_CASE("attacks on copies stay in their ball, need a gradient to move, and reach a target") {
  Watched wavy;
  Constant flat;
  Linear three(3);
  Batch const b = images_of(wavy, 8), c = images_of(flat, 4), t = images_of(three, 12);
  for (const std::string& name : names) {
    CAPTURE(name);
    auto const made = make_attack(name);
    auto const result = made->run(wavy, b, {});
    for (float d : linf_distance(result.adversarial, b.x)) CHECK(d <= 16 / 255.f + 1e-6f);
    for (float v : host(result.adversarial))
      if (!(v >= 0 && v <= 1)) FAIL("outside [0, 1]");
    CHECK(host(made->run(flat, c, training()).adversarial) == host(c.x));
    char const join = name.find(':') == std::string::npos ? ':' : ',';
    auto const far = make_attack(name + join + "eps=0.5,target=2")->run(three, t, {});
    auto const y = t.y.to_host<int32_t>();
    auto const predicted = argmax(three.logits({far.adversarial, t.y, t.ids})).to_host<int32_t>();
    int64_t reached = 0, others = 0;
    for (size_t i = 0; i < y.size(); ++i) {
      CHECK(bool(far.success[i]) == (y[i] != 2 && predicted[i] == 2));
      reached += far.success[i];
      others += y[i] != 2;
    }
    CHECK(others > 3);
    CHECK(reached == others);
  }
}

TEST_CASE("what cannot be is a UsageError") {
  Linear model;
  Batch const b = images_of(model, 2);
  CHECK_THROWS_WITH_AS(make_attack("sia:blocks=7")->run(model, b, {}), doctest::Contains("cannot be cut into 7x7"),
                       UsageError);
  CHECK_NOTHROW(make_attack("sia:blocks=6,steps=1")->run(model, b, {}));
  CHECK_THROWS_AS(make_attack("sia:sia_ops=8"), UsageError);
  CHECK_THROWS_AS(make_attack("stm:style=ghiasi"), UsageError);
  CHECK_THROWS_AS(make_attack("usmm:usmm_grad=both"), UsageError);
  CHECK_THROWS_AS(make_attack("admix:target=5")->run(model, b, {}), UsageError);
}
