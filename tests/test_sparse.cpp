// The attacks that change few pixels: onepixel and JSMA.
#include <doctest/doctest.h>

#include <set>

#include "attacks/jsma.h"
#include "attacks/onepixel.h"
#include "tests/score_models.h"

using namespace mith;
using namespace mith::score_tests;

namespace {

const std::vector<std::string> attacks{
    "onepixel:popsize=20,generations=6",
    "onepixel:pixels=3,popsize=30,generations=5,cr=0.7",
    "onepixel:popsize=20,generations=5,target=2",
    "jsma",
    "jsma:theta=-0.4,gamma=0.3",
    "jsma:theta=0.5,pool=9,target=2",
};

/// Places whose pixel differs, in one image.
int64_t pixels_changed(const std::vector<float>& a, const std::vector<float>& b, int64_t image_index) {
  int64_t count = 0;
  for (int64_t p = 0; p < h * w; ++p) {
    bool differs = false;
    for (int64_t ch = 0; ch < c; ++ch) {
      size_t const at = size_t(image_index * pixels + p * c + ch);
      differs = differs || a[at] != b[at];
    }
    count += differs;
  }
  return count;
}

}  // namespace

TEST_CASE("onepixel changes no more pixels than it may, and replaces them") {
  Wavy model(0.5);
  Batch const b = images_of(model, 12);
  auto const x = host(b.x);
  for (int64_t n : {1, 2, 5}) {
    AttackResult const r = run("onepixel:popsize=40,generations=4,pixels=" + std::to_string(n), model, b);
    auto const adv = host(r.adversarial);
    for (int64_t i = 0; i < 12; ++i) CHECK(pixels_changed(adv, x, i) <= n);
    for (float v : adv) CHECK((v >= 0 && v <= 1));
    CHECK(adv != x);
  }
  CHECK(make_attack("onepixel:pixels=3")->threat().norm == "l0");
  CHECK(make_attack("onepixel:pixels=3")->threat().eps == 3);
}

TEST_CASE("onepixel's populations are whole genomes, and queries are counted exactly") {
  CHECK(OnePixel{.popsize = 10}.population(5) == 10);
  CHECK(OnePixel{.popsize = 14}.population(5) == 10);
  CHECK(OnePixel{.popsize = 3}.population(4) == 5);
  CHECK(OnePixel{.popsize = 3}.population(9) == 9);
  CHECK(OnePixel{}.population(5) == 400);
  Certain model;
  Batch const b = images_of(model, 5);
  for (int64_t batch : {0, 3}) {
    AttackOptions options;
    options.batch = batch;
    Usage const before = model.usage();
    AttackResult const r = run("onepixel:popsize=21,generations=3", model, b, options);
    CHECK(r.queries == std::vector<int64_t>(5, 1 + 4 * 20));
    if (batch == 0) CHECK(model.usage().forwards - before.forwards == 5 * 81);
    CHECK(r.gradients == std::vector<int64_t>(5, 0));
  }
  // Of one image alone, a generation is still one pass.
  Drawing drawing;
  Batch const alone = images_of(drawing, 1);
  drawing.draws.clear();
  run("onepixel:popsize=20,generations=0", drawing, alone);
  CHECK(drawing.draws.size() == 2);
  // Energies that agree end it, if asked to: here they are all equal.
  CHECK(run("onepixel:popsize=20,generations=9,atol=0", model, b).queries == std::vector<int64_t>(5, 1 + 20));
  CHECK_THROWS_AS(run("onepixel:f_low=1,f_high=0.5", model, b), UsageError);
}

TEST_CASE("onepixel's objective never gets worse, and what is returned is the best of all that was asked") {
  Linear model(3, 0.5);
  Batch const all = images_of(model, 10);
  auto const loss_of_image = [&](const Tensor& x, const Batch& b) {
    return host(model.evaluate({x, b.y, b.ids}, Loss{.labels = b.y}, {.loss = true}).loss)[0];
  };
  int64_t stood = 0, improved = 0;
  for (int64_t i = 0; i < all.size(); ++i) {
    Batch const b = slice(all, i, 1);
    float before = -INFINITY;
    bool fooled = false;
    for (int generations : {0, 1, 3, 6}) {
      AttackResult const r = run("onepixel:popsize=12,generations=" + std::to_string(generations), model, b);
      CHECK(std::abs(r.loss[0] - loss_of_image(r.adversarial, b)) <= 1e-5);
      CHECK(bool(r.success[0]) >= fooled);
      fooled = r.success[0];
      if (!fooled) CHECK(r.loss[0] >= before);
      if (!fooled && generations == 6) ++stood;
      if (!fooled && generations > 0) improved += r.loss[0] > before;
      before = r.loss[0];
    }
  }
  CHECK(stood > 2);
  CHECK(improved > 4);
}

TEST_CASE("a random model draws anew in every pass of a sparse attack") {
  for (const std::string& spec : attacks) check_draws_anew(spec);
}

TEST_CASE("sparse attacks give the same bytes for every batch size and order") {
  Wavy model(0.5);
  Batch const b = images_of(model, 11);
  for (const std::string& spec : attacks) {
    CAPTURE(spec);
    int64_t unequal = 0;
    for_every_split(spec, model, b, [&](const AttackResult& whole, int64_t first, const AttackResult& part) {
      unequal += !same(whole, first, part);
    });
    CHECK(unequal == 0);
  }
}

TEST_CASE("sparse attacks leave wrong images alone, and find their successes again") {
  Wavy model(0.5);
  Batch b = images_of(model, 15);
  auto labels = b.y.to_host<int32_t>();
  for (size_t i = 0; i < labels.size(); i += 3) labels[i] = (labels[i] + 1) % 3;
  b.y = Tensor::from(labels, {15});
  auto const x = host(b.x);
  AttackOptions training;
  training.evaluation = false;
  for (const std::string& spec : attacks) {
    CAPTURE(spec);
    AttackResult const r = run(spec, model, b);
    auto const adv = host(r.adversarial);
    auto const predicted = argmax(model.logits({r.adversarial, b.y, b.ids})).to_host<int32_t>();
    int64_t const target = make_attack(spec)->threat().target;
    for (int64_t i = 0; i < 15; ++i) {
      size_t const at = size_t(i);
      bool const alone = i % 3 == 0 || labels[at] == target;
      if (alone) CHECK(pixels_changed(adv, x, i) == 0);
      if (alone) CHECK(r.queries[at] == 1);
      bool const fooled = target < 0 ? predicted[at] != labels[at] : predicted[at] == target;
      CHECK(bool(r.success[at]) == (!alone && fooled));
    }
    CHECK(successes(r) > 0);
    auto const trained = host(run(spec, model, b, training).adversarial);
    for (int64_t i = 0; i < 15; ++i)
      if (labels[size_t(i)] != target) CHECK(pixels_changed(trained, x, i) > 0);
  }
}

TEST_CASE("a step of JSMA changes the pair that trying all of them finds") {
  int64_t const d = 32, n = 3;
  for (float theta : {1.0f, 0.3f, -0.6f}) {
    std::vector<float> x, target, sum;
    for (int64_t i = 0; i < n * d; ++i) {
      x.push_back(uniform({.seed = 31}, 0, uint64_t(i)));
      target.push_back(normal({.seed = 32}, 0, uint64_t(i)));
      sum.push_back(normal({.seed = 33}, 0, uint64_t(i)));
    }
    x[3] = 1, x[40] = 0.991f, x[70] = 0, x[71] = 0.009f;
    Shape const shape{n, 4, 8, 1};
    Tensor const clean = Tensor::from(x, shape), of_target = Tensor::from(target, shape),
                 of_sum = Tensor::from(sum, shape);
    Tensor adv = clean.clone(), nan_count = Tensor::zeros({1}, DType::i64);
    auto changed = x;
    for (int step = 0; step < 6; ++step) {
      auto const pairs = jsma_step(adv, clean, of_target, of_sum, theta, 0, nan_count);
      for (int64_t image_index = 0; image_index < n; ++image_index) {
        int64_t const first = image_index * d;
        int64_t best = -1;
        double most = 0;
        auto const open = [&](int64_t i) {
          size_t const at = size_t(first + i);
          return changed[at] == x[at] && (theta > 0 ? x[at] < 0.99f : x[at] > 0.01f);
        };
        for (int64_t p = 0; p < d; ++p)
          for (int64_t q = p + 1; q < d; ++q) {
            if (!open(p) || !open(q)) continue;
            size_t const i = size_t(first + p), j = size_t(first + q);
            double const a = double(target[i]) + double(target[j]),
                         b = double(sum[i]) - double(target[i]) + double(sum[j]) - double(target[j]);
            bool const helps = theta > 0 ? a > 0 && b < 0 : a < 0 && b > 0;
            if (!helps || -a * b <= most) continue;
            most = -a * b;
            best = p * d + q;
          }
        CHECK(pairs[size_t(image_index)] == best);
        if (best < 0) continue;
        for (int64_t feature : {best / d, best % d}) {
          float& v = changed[size_t(first + feature)];
          v = std::clamp(v + theta, 0.0f, 1.0f);
        }
      }
      CHECK(host(adv) == changed);
    }
  }
}

TEST_CASE("JSMA changes pairs by theta, each feature once, and stops when the class has changed") {
  Linear model(3, 0.6);
  Batch const b = images_of(model, 12);
  auto const x = host(b.x);
  for (float theta : {1.0f, 0.25f, -1.0f}) {
    CAPTURE(theta);
    AttackResult const r = run("jsma:gamma=1,theta=" + std::to_string(theta), model, b);
    auto const adv = host(r.adversarial);
    for (int64_t i = 0; i < 12; ++i) {
      int64_t changed = 0;
      for (int64_t j = i * pixels; j < (i + 1) * pixels; ++j) {
        size_t const at = size_t(j);
        if (adv[at] == x[at]) continue;
        ++changed;
        CHECK(std::abs(adv[at] - std::clamp(x[at] + theta, 0.0f, 1.0f)) <= 1e-7);
      }
      // Two gradients a pair; one more where the pass that was to begin the next pair saw the image fooled.
      int64_t const gradients = r.gradients[size_t(i)];
      CHECK(changed % 2 == 0);
      CHECK(changed <= gradients);
      if (r.success[size_t(i)]) CHECK((changed == gradients || changed == gradients - 1));
    }
    CHECK(successes(r) > 3);
  }
  // A budget of one pair: at most two features, two passes for it and one to look.
  AttackResult const one = run("jsma:gamma=0.01", model, b);
  auto const adv = host(one.adversarial);
  for (int64_t i = 0; i < 12; ++i) {
    int64_t changed = 0;
    for (int64_t j = i * pixels; j < (i + 1) * pixels; ++j) changed += adv[size_t(j)] != x[size_t(j)];
    CHECK(changed <= 2);
    CHECK(one.queries[size_t(i)] == 1 + 3);
    CHECK(one.gradients[size_t(i)] == 2);
  }
  CHECK(Jsma{}.most_steps(150528) == 7527);
  CHECK(Jsma{.gamma = 1}.most_steps(5) == 3);
  CHECK(Jsma{}.most_steps(97200) == 4860);  // half a tenth of it, though 0.1f is more than a tenth
  CHECK(Jsma{}.most_steps(97201) == 4861);
  CHECK(Jsma{}.most_steps(20) == 1);
}

TEST_CASE("JSMA's pool of all features is the exact search, a smaller one uses its features only") {
  Linear model(3, 0.3);
  Batch const b = images_of(model, 8);
  CHECK(host(run("jsma:pool=70", model, b).adversarial) == host(run("jsma", model, b).adversarial));
  CHECK(host(run("jsma:pool=69,gamma=0.01", model, b).adversarial) ==
        host(run("jsma:gamma=0.01", model, b).adversarial));
  auto const x = host(b.x), adv = host(run("jsma:pool=2,gamma=0.01", model, b).adversarial);
  int64_t moved = 0;
  for (size_t i = 0; i < x.size(); ++i) moved += x[i] != adv[i];
  CHECK(moved > 0);
  CHECK(moved <= 16);
}

TEST_CASE("JSMA towards a class it is told, and without a gradient") {
  Linear model(3, 0.6);
  Batch const b = images_of(model, 16);
  auto const y = b.y.to_host<int32_t>();
  AttackResult const r = run("jsma:gamma=1,target=1", model, b);
  auto const predicted = argmax(model.logits({r.adversarial, b.y, b.ids})).to_host<int32_t>();
  for (size_t i = 0; i < 16; ++i) CHECK(bool(r.success[i]) == (y[i] != 1 && predicted[i] == 1));
  CHECK(successes(r) > 0);
  CHECK_THROWS_AS(run("jsma:target=3", model, b), UsageError);
  CHECK_THROWS_AS(run("jsma:theta=0", model, b), UsageError);

  struct Flat final : Linear {
    double slope(double) const override { return 0; }
  } flat;
  Batch const c3 = images_of(flat, 3);
  CHECK(host(run("jsma", flat, c3).adversarial) == host(c3.x));
  struct Nan final : Linear {
    void spoil(std::vector<float>& g) const override {
      for (size_t i = 0; i < g.size(); i += pixels) g[i] = std::nanf("");
    }
  } nan;
  Batch const spoilt = images_of(nan, 3);
  AttackResult const with_nan = run("jsma:gamma=0.01", nan, spoilt);
  CHECK(with_nan.nan_gradients == 3);
  auto const adv = host(with_nan.adversarial), x = host(spoilt.x);
  for (size_t i = 0; i < 3; ++i) CHECK(adv[i * pixels] == x[i * pixels]);
  AttackOptions strict;
  strict.strict = true;
  CHECK_THROWS_AS(run("jsma:gamma=0.01", nan, spoilt, strict), Error);
}
