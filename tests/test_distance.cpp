// Minimum-norm attacks: against the closed-form distances of linear models, and what holds for every one of them.
#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

#include "attacks/cw.h"
#include "attacks/deepfool.h"
#include "attacks/fab.h"
#include "attacks/lbfgs.h"
#include "attacks/minimum_norm.h"
#include "engine/ops/arithmetic.h"
#include "tests/score_models.h"

using namespace mith;

namespace {

constexpr int64_t side = 6, pixels = side * side;
const Shape image{side, side, 1};
using Weights = std::vector<std::vector<double>>;

/// Weights from U(-1, 1) without a mean, so that random images lie near boundaries.
Weights random_weights(int classes, uint64_t seed, double scale = 1) {
  Weights w(static_cast<size_t>(classes), std::vector<double>(pixels));
  for (size_t c = 0; c < w.size(); ++c) {
    for (size_t j = 0; j < w[c].size(); ++j)
      w[c][j] = scale * (2 * double(uniform({.seed = seed, .purpose = Purpose::noise}, c, j)) - 1);
    double const mean = std::accumulate(w[c].begin(), w[c].end(), 0.0) / double(pixels);
    for (double& v : w[c]) v -= mean;
  }
  return w;
}

struct Linear final : HostModel {
  explicit Linear(int classes = 2, double scale = 1) : HostModel(image, random_weights(classes, 3, scale)) {}
};
/// Logits that go up and down along every direction.
struct Wavy final : HostModel {
  Wavy() : HostModel(image, random_weights(4, 4)) {}
  double activate(double v) const override { return 3 * std::sin(2 * v + 1); }
  double slope(double v) const override { return 6 * std::cos(2 * v + 1); }
};
struct Constant final : HostModel {
  Constant() : HostModel(image, Weights(3, std::vector<double>(pixels, 0))) {}
};
/// A gradient that is NaN at the first pixel of every image.
struct NanGradient final : HostModel {
  NanGradient() : HostModel(image, random_weights(2, 3)) {}
  void spoil(std::vector<float>& g) const override {
    for (size_t i = 0; i < g.size(); i += pixels) g[i] = std::nanf("");
  }
};

/// Two classes along one line through a grey image: near it the second nearly catches up, at a distance of 0.9 it
/// leads.
struct Plateau final : HostModel {
  Plateau() : HostModel(image, {std::vector<double>(pixels, 0), std::vector<double>(pixels, 1.0 / side)}) {}
  double activate(double v) const override {
    return v == 0 ? 0 : -0.5 + 0.38 * std::tanh(6 * (v - 3)) + 0.25 * rise(v);  // 0: the first class, without weights
  }
  double slope(double v) const override {
    double const t = std::tanh(6 * (v - 3));
    return 6 * 0.38 * (1 - t * t) + 30 * 0.25 * rise(v) * (1 - rise(v));
  }
  static double rise(double v) { return 1 / (1 + std::exp(-30 * (v - 3.9))); }
};

/// n random images in [low, high], labelled as the model sees them.
Batch images_of(Classifier& model, int64_t n, float low = 0.4f, float high = 0.6f) {
  std::vector<float> x;
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < n; ++i) {
    ids.push_back(7 * i + 3);
    for (uint64_t j = 0; j < pixels; ++j)
      x.push_back(low + (high - low) * uniform({.seed = 11, .purpose = Purpose::phantom}, static_cast<uint64_t>(i), j));
  }
  Batch b{Tensor::from(x, {n, side, side, 1}), Tensor(), Tensor::from(ids, {n})};
  b.y = argmax(model.logits(b));
  return b;
}

std::vector<float> host(const Tensor& t) { return t.to_host<float>(); }
int64_t successes(const AttackResult& r) { return std::accumulate(r.success.begin(), r.success.end(), int64_t{0}); }

/// Specs of every attack here, small enough for a test.
const std::vector<std::string> specs{"cw:search_steps=3,steps=60,c=0.1",
                                     "cw:search_steps=3,steps=60,c=0.1,cw_box=clip",
                                     "cw-fast:search_steps=2,steps=80,c=1",
                                     "lbfgs:search_steps=4,steps=20",
                                     "deepfool",
                                     "deepfool:norm=linf",
                                     "fab:steps=15",
                                     "fab:steps=15,norm=l2,restarts=2",
                                     "fab-t:steps=15,norm=l1,targets=2",
                                     "fab-t:steps=10,restarts=2"};

/// The distance to the nearest class of a linear model whose boundaries lie inside the box.
double exact_distance(Norm norm, const Weights& w, const float* x, int32_t label, int32_t target = -1) {
  double least = std::numeric_limits<double>::infinity();
  size_t const y = static_cast<size_t>(label);
  for (size_t k = 0; k < w.size(); ++k) {
    if (k == y || (target >= 0 && k != static_cast<size_t>(target))) continue;
    double margin = 0, sum = 0, squares = 0, most = 0;
    for (size_t j = 0; j < pixels; ++j) {
      double const d = w[y][j] - w[k][j];
      margin += d * double(x[j]);
      sum += std::abs(d);
      squares += d * d;
      most = std::max(most, std::abs(d));
    }
    least = std::min(least, margin / (norm == Norm::linf ? sum : (norm == Norm::l2 ? std::sqrt(squares) : most)));
  }
  return least;
}

/// The L2 distance to where class 2 of three has the largest logit: the nearest point of two half-spaces
/// <a, r> >= p and <b, r> >= q.
double distance_to_last_of_three(const Weights& w, const float* x) {
  double aa = 0, ab = 0, bb = 0, p = 0, q = 0;
  for (size_t j = 0; j < pixels; ++j) {
    double const a = w[2][j] - w[0][j], b = w[2][j] - w[1][j];
    aa += a * a;
    ab += a * b;
    bb += b * b;
    p -= a * double(x[j]);
    q -= b * double(x[j]);
  }
  if (p > 0 && ab * p / aa >= q) return p / std::sqrt(aa);
  if (q > 0 && ab * q / bb >= p) return q / std::sqrt(bb);
  double const s = (p * bb - q * ab) / (aa * bb - ab * ab), t = (q * aa - p * ab) / (aa * bb - ab * ab);
  return std::sqrt(s * p + t * q);
}

/// Every image is fooled at no less than the exact distance and no more than `share` times it plus `slack`. An attack
/// that follows the largest logit is held to the boundary of the class it reaches, which need not be the nearest.
enum class Reaches : uint8_t { nearest, some };
void check_distances(const std::string& spec, int classes, Norm norm, double share, double slack,
                     Reaches reaches = Reaches::nearest) {
  CAPTURE(spec);
  CAPTURE(classes);
  Linear model(classes);
  Batch const b = images_of(model, 12);
  AttackResult const r = make_attack(spec)->run(model, b, {});
  CHECK(successes(r) == 12);
  auto const found = distances(norm, r.adversarial, b.x);
  auto const x = host(b.x);
  auto const y = b.y.to_host<int32_t>(), now = argmax(model.logits({r.adversarial, b.y, b.ids})).to_host<int32_t>();
  auto const w = random_weights(classes, 3);
  for (size_t i = 0; i < 12; ++i) {
    double const nearest = exact_distance(norm, w, &x[i * pixels], y[i]);
    double const reached = exact_distance(norm, w, &x[i * pixels], y[i], now[i]);
    CHECK(found[i] >= nearest * (1 - 1e-4) - 1e-6);
    CHECK(found[i] <= (reaches == Reaches::nearest ? nearest : reached) * share + slack);
  }
}

}  // namespace

TEST_CASE("on linear models C&W comes within 2 % of the nearest boundary, in both boxes") {
  for (const char* box : {"tanh", "clip"})
    for (int classes : {2, 4})
      check_distances(std::string("cw:search_steps=9,steps=600,c=0.01,rate=0.003,cw_box=") + box, classes, Norm::l2,
                      1.02, 1e-4, classes == 2 ? Reaches::nearest : Reaches::some);
}

TEST_CASE("on linear models L-BFGS comes within 2 % of the boundary between two classes, and near that of more") {
  check_distances("lbfgs:search_steps=14", 2, Norm::l2, 1.02, 1e-4);
  // Of more classes the cross-entropy's minimum lies where it pushes the others away as well.
  check_distances("lbfgs:search_steps=14", 4, Norm::l2, 1.35, 1e-4, Reaches::some);
}

TEST_CASE("a trial that L-BFGS refuses is no success of its c, even if it fools") {
  Plateau model;
  Batch b = images_of(model, 1);
  b.x = Tensor::full(b.x.shape(), 0.5);
  b.y = argmax(model.logits(b));
  auto const distance = [&](int search_steps) {
    auto const r = MinimumNorm(Lbfgs{.search_steps = search_steps, .c = 0.5f}).run(model, b, {});
    CHECK(successes(r) == 1);
    return distances(Norm::l2, r.adversarial, b.x)[0];
  };
  // The first trial, a unit step, fools; for this c it lies too far, and the descent ends on the plateau.
  CHECK(std::abs(distance(1) - 1) <= 1e-5);
  // Smaller ones lead to the boundary, greater ones to the plateau again.
  CHECK(distance(3) < 0.98);
}

TEST_CASE("on linear models DeepFool takes one step, onto the nearest boundary and a share beyond") {
  for (int classes : {2, 3, 5}) {
    check_distances("deepfool", classes, Norm::l2, 1.02 * 1.001, 1e-4);
    check_distances("deepfool:norm=linf", classes, Norm::linf, 1.02 * 1.001, 1e-4);
    check_distances("deepfool:overshoot=0", classes, Norm::l2, 1.0001, 1e-4);  // lands on the boundary
  }
  Linear model;
  Batch const b = images_of(model, 5);
  auto const w = random_weights(2, 3);
  double length = 0;
  for (size_t j = 0; j < pixels; ++j) length += (w[0][j] - w[1][j]) * (w[0][j] - w[1][j]);
  length = std::sqrt(length);
  AttackResult const r = MinimumNorm(DeepFool{}).run(model, b, {});
  auto const found = distances(Norm::l2, r.adversarial, b.x);
  auto const x = host(b.x);
  for (size_t i = 0; i < 5; ++i) {
    double const gap = length * exact_distance(Norm::l2, w, &x[i * pixels], b.y.to_host<int32_t>()[i]);
    CHECK(std::abs(found[i] - 1.02 * (gap + 1e-4) / length) <= 1e-5);
    CHECK(r.gradients[i] == 1);
    CHECK(r.queries[i] == 1 + 2 + 1);  // clean; the step's and its test; the loss of what is returned
  }
}

TEST_CASE("on linear models FAB finds the distance to the nearest class in every norm") {
  for (int classes : {2, 5})
    for (const char* name : {"fab", "fab-t"}) {
      check_distances(std::string(name) + ":norm=linf,steps=60", classes, Norm::linf, 1.01, 1e-5);
      check_distances(std::string(name) + ":norm=l2,steps=60", classes, Norm::l2, 1.01, 1e-5);
      check_distances(std::string(name) + ":norm=l1,steps=60", classes, Norm::l1, 1.01, 1e-4);
    }
}

TEST_CASE("more work never takes a success away or makes it larger") {
  struct Series {
    std::string attack, field;
    std::vector<int> values;
    Norm norm;
  };
  Wavy model;
  Batch const b = images_of(model, 24, 0, 1);
  for (Series const& s : {Series{"cw:steps=40,c=0.1", "search_steps", {1, 2, 3, 5}, Norm::l2},
                          Series{"lbfgs:steps=20", "search_steps", {1, 2, 3, 5}, Norm::l2},
                          Series{"fab:norm=linf", "steps", {1, 2, 5, 10, 20}, Norm::linf},
                          Series{"fab:norm=l2,steps=3", "restarts", {1, 2, 4, 8}, Norm::l2},
                          Series{"fab-t:norm=l2,steps=5", "targets", {1, 2, 3}, Norm::l2}}) {
    CAPTURE(s.attack);
    std::vector<double> before(24, std::numeric_limits<double>::infinity()), first;
    for (int value : s.values) {
      auto const joint = s.attack.find(':') == std::string::npos ? ":" : ",";
      auto const r = make_attack(s.attack + joint + s.field + "=" + std::to_string(value))->run(model, b, {});
      auto const found = distances(s.norm, r.adversarial, b.x);
      for (size_t i = 0; i < 24; ++i) {
        double const now = r.success[i] ? double(found[i]) : std::numeric_limits<double>::infinity();
        CHECK(now <= before[i]);
        before[i] = now;
      }
      if (first.empty()) first = before;
    }
    CHECK(before != first);  // otherwise the loop above proves nothing
  }
}

TEST_CASE("a margin asked of C&W is kept, at a greater distance") {
  Linear model(3);
  Batch const b = images_of(model, 10);
  auto const attack = [&](float kappa) {
    return MinimumNorm(Cw{.search_steps = 6, .steps = 300, .c = 0.1f, .kappa = kappa}).run(model, b, {});
  };
  auto const plain = attack(0), sure = attack(0.2f);
  CHECK(successes(sure) == 10);
  Loss const margin{.kind = Loss::margin, .labels = b.y};
  auto const lead = model.evaluate({sure.adversarial, b.y, b.ids}, margin, {.loss = true}).loss.to_host<float>();
  auto const far = distances(Norm::l2, sure.adversarial, b.x), near = distances(Norm::l2, plain.adversarial, b.x);
  for (size_t i = 0; i < 10; ++i) {
    CHECK(lead[i] >= 0.2f);
    CHECK(far[i] > near[i]);
  }
}

TEST_CASE("targeted C&W and L-BFGS reach their class, nearly as near as it is, and leave images of that class alone") {
  for (std::string const spec :
       {"cw:search_steps=8,steps=500,c=0.1,rate=0.003,target=2", "lbfgs:search_steps=14,target=2"}) {
    CAPTURE(spec);
    Linear model(2 + 1);
    Batch const b = images_of(model, 24);
    auto const r = make_attack(spec)->run(model, b, {});
    auto const y = b.y.to_host<int32_t>(), now = argmax(model.logits({r.adversarial, b.y, b.ids})).to_host<int32_t>();
    auto const found = distances(Norm::l2, r.adversarial, b.x);
    auto const x = host(b.x);
    auto const w = random_weights(3, 3);
    int64_t of_target = 0;
    for (size_t i = 0; i < 24; ++i) {
      CHECK(bool(r.success[i]) == (y[i] != 2));
      CHECK(now[i] == 2);
      of_target += y[i] == 2;
      if (y[i] == 2) {
        CHECK(found[i] == 0);
        continue;
      }
      double const exact = distance_to_last_of_three(w, &x[i * pixels]);
      CHECK(found[i] >= exact * (1 - 1e-4));
      CHECK(found[i] <= exact * (spec[0] == 'c' ? 1.02 : 1.25) + 5e-4);  // L-BFGS: as without a target
    }
    CHECK(of_target > 0);
  }
  Linear model(3);
  Batch const b = images_of(model, 2);
  CHECK_THROWS_AS(make_attack("cw:target=3")->run(model, b, {}), UsageError);
  CHECK_THROWS_AS(make_attack("lbfgs:target=3")->run(model, b, {}), UsageError);
}

TEST_CASE("black and white borders are legal, and only C&W's clip moves them") {
  Linear model;
  Batch b = images_of(model, 6);
  auto x = host(b.x);
  for (size_t i = 0; i < x.size(); ++i)
    if (i % side == 0 || i % side == side - 1) x[i] = i % 2 ? 1 : 0;
  b.x = Tensor::from(x, b.x.shape());
  b.y = argmax(model.logits(b));
  for (std::string const& spec : specs) {
    CAPTURE(spec);
    auto const r = make_attack(spec)->run(model, b, {});
    int64_t wrong = 0;
    for (float v : host(r.adversarial)) wrong += !(v >= 0 && v <= 1);
    CHECK(wrong == 0);
    CHECK(successes(r) > 0);
  }
  auto const moved = [&](const char* box) {
    auto const r = MinimumNorm(Cw{.search_steps = 5, .steps = 200, .c = 1, .cw_box = box}).run(model, b, {});
    auto const adv = host(r.adversarial);
    double most = 0;
    for (size_t i = 0; i < x.size(); i += side) most = std::max(most, std::abs(double(adv[i]) - double(x[i])));
    auto const d = distances(Norm::l2, r.adversarial, b.x);
    CHECK(successes(r) == 6);
    return std::pair(most, std::accumulate(d.begin(), d.end(), 0.0));
  };
  auto const [tanh, tanh_distance] = moved("tanh");
  auto const [clip, clip_distance] = moved("clip");
  CHECK(tanh <= 1e-3);
  CHECK(clip >= 1e-2);
  CHECK(clip_distance < tanh_distance);
  // The user is told.
  auto const warnings = [&](const char* spec, const Batch& of) {
    return make_attack(spec)->run(model, of, {}).warnings;
  };
  auto const tanh_warnings = warnings("cw-fast:search_steps=1,steps=2", b);
  REQUIRE(tanh_warnings.size() == 1);
  CHECK(tanh_warnings[0].find("cw_box=clip") != std::string::npos);
  CHECK(warnings("cw:search_steps=1,steps=2", slice(b, 0, 2)) == tanh_warnings);  // or a report would have it twice
  CHECK(warnings("cw:search_steps=1,steps=2,cw_box=clip", b).empty());
  CHECK(warnings("cw:search_steps=1,steps=2", images_of(model, 6)).empty());
}

TEST_CASE("with eps, only what lies in the ball is a success, and failures come back as they were") {
  for (const char* name : {"fab", "fab-t"})
    for (Norm norm : {Norm::linf, Norm::l2, Norm::l1}) {
      const char* const text = norm == Norm::linf ? "linf" : (norm == Norm::l2 ? "l2" : "l1");
      CAPTURE(text);
      Linear model(3);
      Batch const b = images_of(model, 16);
      auto const x = host(b.x);
      std::vector<double> exact;
      for (size_t i = 0; i < 16; ++i)
        exact.push_back(exact_distance(norm, random_weights(3, 3), &x[i * pixels], b.y.to_host<int32_t>()[i]));
      auto sorted = exact;
      std::sort(sorted.begin(), sorted.end());
      double const eps = (sorted[7] + sorted[8]) / 2;
      auto const r = make_attack(cat(name, ":norm=", text, ",eps=", eps, ",steps=60,restarts=2"))->run(model, b, {});
      auto const found = distances(norm, r.adversarial, b.x);
      for (size_t i = 0; i < 16; ++i) {
        if (exact[i] > eps) CHECK_FALSE(r.success[i]);
        if (exact[i] < 0.98 * eps) CHECK(r.success[i]);
        CHECK(found[i] <= eps * (1 + 1e-5));
        if (!r.success[i]) CHECK(found[i] == 0);
      }
      CHECK(successes(r) > 0);
      CHECK(make_attack(cat(name, ":norm=", text, ",eps=", eps))->threat().norm == text);
    }
  CHECK(make_attack("fab-t:norm=linf,eps=8/255,steps=100,targets=9")->threat().eps == 8 / 255.f);
  CHECK(make_attack("fab:norm=l2,eps=0.5,restarts=5")->threat().eps == 0.5f);
  for (const char* name : {"cw", "cw-fast", "lbfgs", "deepfool", "fab", "fab-t"})
    CHECK(make_attack(name)->threat().eps < 0);
}

TEST_CASE("the same bytes for every batch size, order and padding, and for one image alone") {
  Wavy model;
  int64_t const n = 16;
  Batch const b = images_of(model, n, 0, 1);
  Rows backwards(n);
  std::iota(backwards.rbegin(), backwards.rend(), int64_t{0});
  for (std::string const& spec : specs) {
    CAPTURE(spec);
    auto const attack = make_attack(spec);
    AttackOptions options;
    options.seed = 9;
    auto const whole = host(attack->run(model, b, options).adversarial);
    CHECK(whole != host(b.x));
    for (int64_t size : {1, 7}) {
      std::vector<float> parts;
      for (int64_t first = 0; first < n; first += size) {
        auto const part = host(attack->run(model, slice(b, first, std::min(size, n - first)), options).adversarial);
        parts.insert(parts.end(), part.begin(), part.end());
      }
      CHECK(parts == whole);
    }
    auto const turned = attack->run(model, select(b, backwards), options).adversarial;
    CHECK(host(gather_rows(turned, backwards)) == whole);
    options.batch = 5;
    CHECK(host(attack->run(model, b, options).adversarial) == whole);
    options.evaluation = false;
    CHECK(host(attack->run(model, b, options).adversarial) == whole);
  }
}

TEST_CASE("wrong images stay, successes are found again, passes are counted, progress ends") {
  Wavy model;
  Batch b = images_of(model, 20, 0, 1);
  auto y = b.y.to_host<int32_t>();
  for (size_t i = 0; i < y.size(); i += 4) y[i] = (y[i] + 1) % 4;
  b.y = Tensor::from(y, {20});
  for (std::string const& spec : specs) {
    CAPTURE(spec);
    Usage const before = model.usage();
    int64_t done = 0, total = -1;
    AttackOptions options;
    options.progress = [&](const AttackProgress& p) {
      CHECK(p.done > done);
      done = p.done, total = p.total;
    };
    auto const r = make_attack(spec)->run(model, b, options);
    CHECK(done <= total);
    CHECK(std::accumulate(r.queries.begin(), r.queries.end(), int64_t{0}) == model.usage().forwards - before.forwards);
    CHECK(std::accumulate(r.gradients.begin(), r.gradients.end(), int64_t{0}) ==
          model.usage().gradients - before.gradients);
    auto const anew = model.evaluate({r.adversarial, b.y, b.ids}, Loss{.labels = b.y}, {.logits = true, .loss = true});
    auto const predicted = argmax(anew.logits).to_host<int32_t>();
    auto const moved = distances(Norm::linf, r.adversarial, b.x);
    for (size_t i = 0; i < 20; ++i) {
      CHECK(r.clean_correct[i] == (i % 4 != 0));
      CHECK(bool(r.success[i]) == (i % 4 != 0 && predicted[i] != y[i]));
      CHECK((moved[i] > 0) == bool(r.success[i]));
    }
    CHECK(r.loss == anew.loss.to_host<float>());
    CHECK(successes(r) > 0);
  }
}

TEST_CASE("a random model draws anew in every pass of a minimum-norm attack") {
  for (std::string const& spec : specs) score_tests::check_draws_anew(spec);
}

TEST_CASE("a network without a gradient, or with one that is not a number, gives no NaN") {
  Constant flat;
  NanGradient spoilt;
  Batch const c = images_of(flat, 3, 0, 1), s = images_of(spoilt, 3);
  for (std::string const& spec : specs) {
    CAPTURE(spec);
    auto const attack = make_attack(spec);
    auto const still = attack->run(flat, c, {});
    CHECK(host(still.adversarial) == host(c.x));
    CHECK(successes(still) == 0);
    auto const r = attack->run(spoilt, s, {});
    CHECK(r.nan_gradients > 0);
    CHECK(successes(r) == 3);
    auto const adv = host(r.adversarial), x = host(s.x);
    for (size_t i = 0; i < adv.size(); ++i) CHECK((adv[i] >= 0 && adv[i] <= 1));
    // C&W's own start is within 5e-7 of the image; a restart's random point is no step.
    if (spec.find("restarts") == std::string::npos)
      for (size_t i = 0; i < adv.size(); i += pixels) CHECK(std::abs(adv[i] - x[i]) <= 1e-6f);
    AttackOptions strict;
    strict.strict = true;
    CHECK_THROWS_AS(attack->run(spoilt, s, strict), Error);
  }
}

TEST_CASE("a network that is certain, or says little, is attacked all the same") {
  for (double size : {1e4, 1e-4}) {
    CAPTURE(size);
    Linear model(3, size);
    Batch const b = images_of(model, 6);
    for (const char* spec : {"deepfool", "fab:steps=20", "fab:steps=20,norm=l2", "fab-t:steps=20,norm=l1"}) {
      if (size < 1 && std::string(spec) == "deepfool") continue;  // its 1e-4 is in logits
      CAPTURE(spec);
      CHECK(successes(make_attack(spec)->run(model, b, {})) == 6);
    }
    if (size > 1) CHECK(successes(make_attack("lbfgs:search_steps=12")->run(model, b, {})) == 6);
    CHECK(successes(make_attack("cw:search_steps=9,steps=60,c=0.01")->run(model, b, {})) == 6);
  }
}

TEST_CASE("what makes no sense is refused in one line") {
  Linear model(2);
  Batch b = images_of(model, 2);
  struct OneClass final : HostModel {
    OneClass() : HostModel(image, Weights(1, std::vector<double>(pixels, 1))) {}
  } one;
  for (std::string const& spec : specs) {
    CAPTURE(spec);
    auto const attack = make_attack(spec);
    CHECK(attack->run(model, slice(b, 0, 0), {}).adversarial.dim(0) == 0);
    CHECK_THROWS_AS(attack->run(model, {b.x, Tensor(), b.ids}, {}), Error);
    CHECK_THROWS_AS(attack->run(model, {b.x, Tensor::from(std::vector<int32_t>{0, 2}, {2}), b.ids}, {}), UsageError);
    CHECK_THROWS_AS(attack->run(one, {b.x, Tensor::from(std::vector<int32_t>{0, 0}, {2}), b.ids}, {}), UsageError);
    CHECK(make_attack(attack->spec())->spec() == attack->spec());
  }
  CHECK_THROWS_AS(make_attack("fab:norm=l3"), UsageError);
  CHECK_THROWS_AS(make_attack("deepfool:candidates=1"), UsageError);
  CHECK(make_attack("cw-fast")->spec() ==
        "cw-fast:search_steps=5,steps=500,rate=0.01,c=0.01,kappa=0,abort_early=true,cw_box=tanh,target=-1");
}
