// The attacks on scores: Square, vertical and SimBA.
#include <doctest/doctest.h>

#include <set>
#include <tuple>

#include "attacks/dct.h"
#include "attacks/square.h"
#include "attacks/steps.h"
#include "attacks/vertical.h"
#include "tests/score_models.h"
#include "tests/universal_fixtures.h"

using namespace mith;
using namespace mith::score_tests;

namespace {

const std::vector<std::string> attacks{
    "square:eps=0.06,queries=60",
    "square:norm=l2,eps=0.5,queries=40",
    "vertical:eps=0.06,queries=60",
    "vertical:mode=random,eps=0.06",
    "vertical:mode=grad,eps=0.06",
    "simba:eps=0.1,freq_dims=3,order=strided,stride=2,queries=60",
    "simba:basis=pixel,eps=0.1,queries=60",
    "square:eps=0.06,queries=40,target=1",
    "simba:eps=0.2,freq_dims=7,queries=60,target=1",
    "vertical:eps=0.1,queries=30,target=1",
};

/// Moves of each element.
std::vector<double> change(const Tensor& adv, const Tensor& x) {
  auto const a = host(adv), b = host(x);
  std::vector<double> d;
  for (size_t i = 0; i < a.size(); ++i) d.push_back(double(a[i]) - double(b[i]));
  return d;
}

}  // namespace

TEST_CASE("Square's windows have the published sides") {
  std::vector<int64_t> const iterations{0, 11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001};
  auto const sides = [&](float p_init, int64_t extent) {
    std::vector<int64_t> all;
    for (int64_t i : iterations) all.push_back(Square{.p_init = p_init, .rescale = false}.side(i, extent, extent));
    return all;
  };
  CHECK(sides(0.8f, 52) == std::vector<int64_t>{47, 33, 23, 16, 12, 8, 6, 4, 3, 2});
  CHECK(sides(0.8f, 64) == std::vector<int64_t>{57, 40, 29, 20, 14, 10, 7, 5, 4, 3});
  CHECK(sides(0.8f, 180) == std::vector<int64_t>{161, 114, 80, 57, 40, 28, 20, 14, 10, 7});
  CHECK(sides(0.8f, 224) == std::vector<int64_t>{200, 142, 100, 71, 50, 35, 25, 18, 13, 9});
  CHECK(sides(0.05f, 224) == std::vector<int64_t>{50, 35, 25, 18, 13, 9, 6, 4, 3, 2});

  // The thresholds themselves belong to the share before; rescaled, 1000 iterations stand for 10000.
  CHECK(Square{.rescale = false}.side(10, 224, 224) == 200);
  CHECK(Square{.queries = 1000}.side(1, 224, 224) == 200);
  CHECK(Square{.queries = 1000}.side(2, 224, 224) == 142);
  CHECK(Square{.queries = 1000}.side(801, 224, 224) == 9);
  // Halves round to even: 1.5, 2.5, 3.5, 4.5.
  for (auto [extent, side] : {std::pair{3, 2}, {5, 2}, {7, 4}, {9, 4}})
    CHECK(Square{.p_init = 0.25f}.side(0, extent, extent) == side);
  CHECK(Square{.p_init = 1}.side(0, 4, 100) == 4);  // never more than the image
  CHECK(Square{.p_init = 1e-6f}.side(0, 4, 4) == 1);
  CHECK(Square{.norm = "l2", .p_init = 1e-6f}.side(0, 9, 9) == 3);
  CHECK(Square{.norm = "l2", .p_init = 0.25f}.side(0, 7, 7) == 5);  // 4 is even
  CHECK(Square{.norm = "l2"}.side(0, 2, 9) == 2);
}

TEST_CASE("Square's bumps have the published heights and norm 1") {
  auto const bump = centred_bump(3, 3);
  for (size_t i = 0; i < 9; ++i) CHECK(std::abs(bump[i] - (i == 4 ? 0.870388 : 0.174078)) <= 1e-6);
  auto const three = square_bump(3), five = square_bump(5);
  double const expected[] = {.136083, .680414, .136083, -.129099, -.129099, -.129099, -.129099, -.645497, -.129099};
  for (size_t i = 0; i < 9; ++i) CHECK(std::abs(double(three[i]) - expected[i]) <= 1e-6);
  double const upper[] = {.049162, .159777, .602237, .159777, .049162};
  double const lower[] = {-.045590, -.148168, -.558479, -.148168, -.045590};
  for (size_t i = 0; i < 5; ++i) {
    CHECK(std::abs(double(five[5 + i]) - upper[i]) <= 1e-6);   // the upper half's peak
    CHECK(std::abs(double(five[15 + i]) - lower[i]) <= 1e-6);  // the lower half's
  }
  for (int64_t side = 1; side <= 9; ++side) {
    double sum = 0;
    for (float v : square_bump(side)) sum += double(v) * double(v);
    CHECK(std::abs(sum - 1) <= 1e-6);
  }
}

TEST_CASE("Square starts with stripes of +-eps, in L2 with bumps of norm eps together") {
  Certain model;
  Batch const b = images_of(model, 4, 0.4f, 0.6f);
  auto const stripes = change(run("square:eps=0.1,queries=1", model, b).adversarial, b.x);
  int64_t up = 0;
  for (size_t i = 0; i < stripes.size(); ++i) {
    CHECK(std::abs(std::abs(stripes[i]) - 0.1) <= 1e-7);
    size_t const in_first_row = i / pixels * pixels + i % (w * c);
    CHECK(std::abs(stripes[i] - stripes[in_first_row]) <= 1e-7);
    up += stripes[i] > 0;
  }
  CHECK(up > 0);
  CHECK(up < int64_t(stripes.size()));
  for (float d : l2_distance(run("square:norm=l2,eps=0.3,queries=1", model, b).adversarial, b.x))
    CHECK(std::abs(d - 0.3f) <= 1e-6);
}

TEST_CASE("queries are counted exactly, and no more are made than allowed") {
  Certain model;
  Batch const b = images_of(model, 6);
  for (auto const& [spec, queries] : std::vector<std::pair<std::string, int64_t>>{
           {"square:queries=1", 1},
           {"square:queries=7", 7},
           {"square:norm=l2,eps=1,queries=7", 7},
           {"vertical:queries=9", 9},
           {"vertical:mode=random", 1},
           {"vertical:mode=grad,steps=3", 4},
           {"simba:queries=11", 11},
           {"simba:freq_dims=2", 2 * 2 * 2 * c},  // both sides of every direction
           {"simba:basis=pixel", 2 * pixels},
           {"simba:freq_dims=2,order=strided,stride=1", 2 * pixels}}) {
    CAPTURE(spec);
    Usage const before = model.usage();
    int64_t done = 0, total = 0, standing = 0;
    AttackOptions options;
    options.progress = [&](const AttackProgress& p) { done = p.done, total = p.total, standing = p.standing; };
    AttackResult const r = run(spec, model, b, options);
    CHECK(r.queries == std::vector<int64_t>(6, 1 + queries));  // one for the clean predictions
    CHECK(model.usage().forwards - before.forwards == 6 * (1 + queries));
    CHECK(r.gradients == std::vector<int64_t>(6, spec.starts_with("vertical:mode=grad") ? 3 : 0));
    CHECK(done > 0);
    CHECK(done <= total);
    CHECK(standing == 6);
  }
  // Fooled images ask no more.
  Wavy wavy;
  Batch const easy = images_of(wavy, 20);
  Usage const before = wavy.usage();
  AttackResult const r = run("square:eps=0.05,queries=50", wavy, easy);
  CHECK(successes(r) > 5);
  CHECK(wavy.usage().forwards - before.forwards == std::accumulate(r.queries.begin(), r.queries.end(), int64_t{0}));
  for (size_t i = 0; i < 20; ++i) CHECK((r.success[i] || r.queries[i] == 51));
}

TEST_CASE("what is returned is the best of all that was asked") {
  Wavy model(0.3);
  Batch const all = images_of(model, 12);
  auto const y = all.y.to_host<int32_t>();
  int64_t stood = 0;
  for (const std::string spec :
       {"square:eps=0.02,queries=80", "square:norm=l2,eps=0.1,queries=80", "vertical:eps=0.02,queries=80",
        "simba:eps=0.02,queries=80", "simba:basis=pixel,eps=0.05,queries=80"}) {
    CAPTURE(spec);
    for (int64_t i = 0; i < all.size(); ++i) {
      Batch const b = slice(all, i, 1);
      model.given.clear();
      AttackResult const r = run(spec, model, b);
      auto const asked = margins(model.given, 3, size_t(y[size_t(i)]));
      model.given.clear();
      model.logits({r.adversarial, b.y, b.ids});
      float const reached = margins(model.given, 3, size_t(y[size_t(i)]))[0];
      if (r.success[0]) {
        CHECK(reached <= 0);
        CHECK(asked.back() == reached);  // and it was the last question
        continue;
      }
      ++stood;
      if (spec.starts_with("simba")) {  // whose objective is the probability
        Loss const loss{.labels = b.y};
        CHECK(std::abs(r.loss[0] - host(model.evaluate({r.adversarial, b.y, b.ids}, loss, {.loss = true}).loss)[0]) <=
              1e-5);
        CHECK(r.loss[0] >= host(model.evaluate(b, loss, {.loss = true}).loss)[0] - 1e-6f);
      } else {
        CHECK(reached == *std::min_element(asked.begin() + 1, asked.end()));  // the clean image is not an answer
        CHECK(r.loss[0] == -reached);
      }
    }
  }
  CHECK(stood > 10);
}

TEST_CASE("attacks on scores stay in their ball and in [0, 1], and do nothing with no budget") {
  Wavy model;
  Batch const b = images_of(model, 20);
  AttackOptions training;
  training.evaluation = false;
  for (const std::string& spec : attacks) {
    CAPTURE(spec);
    auto const attack = make_attack(spec);
    Threat const threat = attack->threat();
    for (AttackOptions const& options : {AttackOptions{}, training}) {
      AttackResult const r = attack->run(model, b, options);
      for (float v : host(r.adversarial)) CHECK((v >= 0 && v <= 1));
      for (float d : linf_distance(r.adversarial, b.x))
        if (threat.norm == "linf") CHECK(d <= threat.eps + 1e-6);
      for (float d : l2_distance(r.adversarial, b.x))
        if (threat.norm == "l2" && threat.eps > 0) CHECK(d <= threat.eps * (1 + 1e-5));
      CHECK(r.success.size() == (options.evaluation ? 20u : 0u));
    }
    size_t const at = spec.find("eps="), end = spec.find(',', at);
    std::string nothing = spec;
    nothing.replace(at, end == std::string::npos ? end : end - at, "eps=0");
    CHECK(host(run(nothing, model, b).adversarial) == host(b.x));
  }
}

TEST_CASE("attacks on scores give the same bytes for every batch size and order") {
  Wavy model;
  Batch const b = images_of(model, 16);
  for (const std::string& spec : attacks) {
    CAPTURE(spec);
    int64_t unequal = 0;
    for_every_split(spec, model, b, [&](const AttackResult& whole, int64_t first, const AttackResult& part) {
      unequal += !same(whole, first, part);
    });
    CHECK(unequal == 0);
    AttackOptions one, two;
    two.seed = 1;
    if (!spec.starts_with("vertical:mode=grad"))
      CHECK(host(run(spec, model, b, one).adversarial) != host(run(spec, model, b, two).adversarial));
  }
}

TEST_CASE("evaluation asks nothing more about images that are wrong, and training attacks them too") {
  Wavy model(0.3);
  Batch b = images_of(model, 12, 0.2f, 0.8f);
  auto labels = b.y.to_host<int32_t>();
  for (size_t i = 0; i < labels.size(); i += 3) labels[i] = (labels[i] + 1) % 3;
  b.y = Tensor::from(labels, {12});
  AttackOptions training;
  training.evaluation = false;
  for (const std::string& spec : attacks) {
    CAPTURE(spec);
    AttackResult const r = run(spec, model, b);
    auto const moved = linf_distance(r.adversarial, b.x);
    bool const targeted = make_attack(spec)->threat().target >= 0;
    for (size_t i = 0; i < 12; ++i) {
      CHECK(r.clean_correct[i] == (i % 3 != 0));
      bool const left_alone = i % 3 == 0 || (targeted && labels[i] == 1);
      if (left_alone) CHECK(moved[i] == 0);
      if (left_alone) CHECK(r.queries[i] == 1);
      if (left_alone) CHECK_FALSE(r.success[i]);
      if (!left_alone) CHECK(r.queries[i] > 1);
    }
    // SimBA may find no step that helps; the others always start somewhere.
    auto const trained = linf_distance(run(spec, model, b, training).adversarial, b.x);
    if (!spec.starts_with("simba")) CHECK(*std::min_element(trained.begin(), trained.end()) > 0);
  }
}

TEST_CASE("successes are found again by evaluating the image anew") {
  Wavy model;
  Batch const b = images_of(model, 30);
  auto const y = b.y.to_host<int32_t>();
  for (const std::string& spec : attacks) {
    CAPTURE(spec);
    AttackResult const r = run(spec, model, b);
    auto const predicted = argmax(model.logits({r.adversarial, b.y, b.ids})).to_host<int32_t>();
    int64_t const target = make_attack(spec)->threat().target;
    for (size_t i = 0; i < 30; ++i)
      CHECK(bool(r.success[i]) == (target < 0 ? predicted[i] != y[i] : y[i] != target && predicted[i] == target));
    CHECK(successes(r) > 0);
  }
}

TEST_CASE("the vertical perturbation is one offset for each column and channel") {
  Linear model;
  Batch const b = images_of(model, 8, 0.4f, 0.6f);
  for (const std::string mode : {"random", "search", "grad"}) {
    CAPTURE(mode);
    auto const d = change(run("vertical:eps=0.05,queries=50,mode=" + mode, model, b).adversarial, b.x);
    double largest = 0;
    for (size_t i = 0; i < d.size(); ++i) {
      CHECK(std::abs(d[i] - d[i / pixels * pixels + i % (w * c)]) <= 1.2e-7);  // two roundings
      largest = std::max(largest, std::abs(d[i]));
    }
    CHECK(largest > 0);
    CHECK(largest <= 0.05 + 1e-7);
  }
  CHECK(make_attack("vertical:mode=grad")->threat().access == "white");
  CHECK(make_attack("vertical")->threat().access == "score");
  CHECK(Vertical{}.width(0, 224) == 112);
  CHECK(Vertical{}.width(999, 224) == 1);
  CHECK(Vertical{.queries = 10000}.width(10, 64) == 32);
  CHECK(Vertical{.queries = 10000}.width(11, 64) == 16);
}

TEST_CASE("on a linear model the vertical gradient steps end in the best corner, and the search gets near it") {
  Linear model(2, 0.05);  // too flat to be fooled: every image stands
  Batch const b = images_of(model, 6, 0.4f, 0.6f);
  auto const weights = random_weights(2, 3, 0.05);
  auto const y = b.y.to_host<int32_t>();
  float const eps = 0.001f;
  auto const margin_of = [&](const Tensor& x) { return host(model.logits({x, b.y, b.ids})); };
  AttackResult const grad = run("vertical:mode=grad,eps=0.001,steps=10", model, b),
                     search = run("vertical:eps=0.001,queries=400", model, b),
                     start = run("vertical:eps=0.001,mode=random", model, b);
  auto const moved = change(grad.adversarial, b.x);
  auto const best = margin_of(grad.adversarial), found = margin_of(search.adversarial),
             first = margin_of(start.adversarial);
  for (size_t i = 0; i < 6; ++i) {
    if (grad.success[i]) continue;
    size_t const label = size_t(y[i]);
    for (size_t j = 0; j < size_t(w * c); ++j) {
      double sum = 0;  // of the gradient of z_y - z_other down the column
      for (size_t row = 0; row < h; ++row) sum += weights[label][row * w * c + j] - weights[1 - label][row * w * c + j];
      CHECK(std::abs(moved[i * pixels + j] - (sum > 0 ? -eps : eps)) <= 1.2e-7);
    }
    auto const margin = [&](const std::vector<float>& z) { return z[2 * i + label] - z[2 * i + 1 - label]; };
    CHECK(margin(found) <= margin(first));
    CHECK(margin(best) <= margin(found) + 1e-6f);
  }
  CHECK(successes(grad) < 6);
}

TEST_CASE("the DCT directions are orthonormal, and every one comes once, low frequencies first") {
  for (int64_t n : {1, 2, 7, 16}) {
    auto const matrix = dct_matrix(n);
    for (int64_t u = 0; u < n; ++u)
      for (int64_t v = 0; v <= u; ++v) {
        double dot = 0;
        for (int64_t i = 0; i < n; ++i) dot += matrix[size_t(u * n + i)] * matrix[size_t(v * n + i)];
        CHECK(std::abs(dot - (u == v ? 1 : 0)) <= 1e-12);
      }
  }
  using Place = std::tuple<int64_t, int64_t, int64_t>;
  auto const visited = [](int64_t first, int64_t stride, uint64_t id) {
    DirectionOrder order(image, first, stride, {.seed = 1}, id);
    std::vector<Place> all;
    while (!order.exhausted()) {
      Direction const d = order.next();
      all.emplace_back(d.u, d.v, d.channel);
    }
    return all;
  };
  auto const strided = visited(2, 2, 5), low = visited(3, 0, 5);
  CHECK(strided.size() == size_t(pixels));
  CHECK(std::set<Place>(strided.begin(), strided.end()).size() == size_t(pixels));
  int64_t side = 2;
  for (size_t i = 0; i < strided.size(); ++i) {
    auto const [u, v, channel] = strided[i];
    while (int64_t(i) >= std::min(side, h) * std::min(side, w) * c) side += 2;
    CHECK(std::max(u, v) < side);
    CHECK((u < h && v < w && channel < c));
  }
  CHECK(low.size() == size_t(9 * c));
  CHECK(std::set<Place>(low.begin(), low.end()).size() == low.size());
  CHECK(visited(7, 0, 5).size() == size_t(pixels));
  CHECK(visited(3, 0, 6) != low);
  CHECK(visited(3, 0, 5) == low);
  // Every direction is as likely as the others to be the first: 18 of them in 3600 orders.
  std::map<Place, int> firsts;
  for (uint64_t id = 0; id < 3600; ++id) {
    Direction const d = DirectionOrder(image, 3, 0, {.seed = 1}, id).next();
    ++firsts[{d.u, d.v, d.channel}];
  }
  CHECK(firsts.size() == 18);
  for (auto const& [place, count] : firsts) CHECK(std::abs(count - 200) <= 70);  // five deviations
}

TEST_CASE("steps along directions of the image are the outer products they stand for") {
  Directions const directions(Basis::dct, image);
  auto const down = dct_matrix(h), across = dct_matrix(w);
  Tensor state = Tensor::zeros({1, h, w, c});
  directions.move(state, {{.taken = directions.step({.u = 2, .v = 3, .channel = 1}, 0.5f), .tried = {}}});
  auto const values = host(state);
  double norm = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    size_t const row = i / (w * c), col = i % (w * c) / c;
    double const expected = i % c == 1 ? 0.5 * down[2 * h + row] * across[3 * w + col] : 0;
    CHECK(std::abs(double(values[i]) - expected) <= 1e-7);
    norm += double(values[i]) * double(values[i]);
  }
  CHECK(std::abs(norm - 0.25) <= 1e-6);
}

TEST_CASE("SimBA's length follows from the steps it took, and on a linear model every direction helps") {
  Linear model(2, 0.02);
  Batch const b = images_of(model, 6, 0.4f, 0.6f);
  auto const weights = random_weights(2, 3, 0.02);
  auto const y = b.y.to_host<int32_t>();
  // A step helps on exactly one side of each direction: all of them are taken.
  AttackResult const r = run("simba:basis=pixel,eps=0.001", model, b);
  auto const moved = change(r.adversarial, b.x);
  for (size_t i = 0; i < 6; ++i) {
    if (r.success[i]) continue;
    size_t const label = size_t(y[i]);
    double length = 0;
    for (size_t j = 0; j < pixels; ++j) {
      double const slope = weights[label][j] - weights[1 - label][j];
      CHECK(std::abs(moved[i * pixels + j] - (slope > 0 ? -0.001 : 0.001)) <= 1.2e-7);
      length += moved[i * pixels + j] * moved[i * pixels + j];
    }
    CHECK(std::abs(length / (1e-6 * pixels) - 1) <= 1e-3);
    CHECK(r.queries[i] > 1 + pixels);
    CHECK(r.queries[i] < 1 + 2 * pixels);
  }
  CHECK(successes(r) < 6);
  AttackResult const dct = run("simba:freq_dims=3,eps=0.001", model, b);
  auto const lengths = l2_distance(dct.adversarial, b.x);
  for (size_t i = 0; i < 6; ++i)
    if (!dct.success[i]) CHECK(std::abs(lengths[i] / (0.001 * std::sqrt(9.0 * c)) - 1) <= 1e-3);
  CHECK(successes(dct) < 6);
}

TEST_CASE("SimBA's objective never gets worse off linear models, and its length follows from the steps it took") {
  Wavy model(0.3);
  int64_t const n = 8;
  Batch const b = images_of(model, n);
  for (std::string const spec : {"simba:basis=pixel,eps=0.05", "simba:eps=0.05,freq_dims=3"}) {
    CAPTURE(spec);
    std::vector<float> loss(size_t(n), -INFINITY);
    std::vector<int64_t> accepted(size_t(n), 0);
    auto before = host(b.x);
    int64_t refused = 0, taken = 0;
    for (int queries = 1; queries <= 30; ++queries) {
      AttackResult const r = run(spec + ",queries=" + std::to_string(queries), model, b);
      auto const adv = host(r.adversarial), lengths = l2_distance(r.adversarial, b.x);
      for (size_t i = 0; i < size_t(n); ++i) {
        bool const moved = !std::equal(adv.begin() + long(i * pixels), adv.begin() + long((i + 1) * pixels),
                                       before.begin() + long(i * pixels));
        accepted[i] += moved;
        CHECK(lengths[i] <= 0.05 * std::sqrt(double(accepted[i])) * (1 + 1e-5));
        if (r.success[i]) continue;  // the last step is taken because it fools
        CHECK(r.loss[i] >= loss[i]);
        loss[i] = r.loss[i];
        (moved ? taken : refused) += 1;
      }
      before = adv;
    }
    CHECK(taken > 10);
    CHECK(refused > 10);
  }
}

TEST_CASE("the vertical perturbation leaves at least as many images standing as APGD in the same ball") {
  NetworkClassifier& model = trained_model();
  Batch const b = slice(unseen_images(), 0, 32);
  auto const standing = [](const AttackResult& r) {
    return std::accumulate(r.clean_correct.begin(), r.clean_correct.end(), int64_t{0}) - successes(r);
  };
  int64_t between = 0, fooled = 0;
  for (const char* eps : {"0.02", "0.04", "0.06", "0.1", "0.2"}) {
    CAPTURE(eps);
    AttackResult const apgd = run(cat("apgd-ce:steps=40,eps=", eps), model, b);
    for (const char* mode : {"search", "grad"}) {
      CAPTURE(mode);
      AttackResult const r = run(cat("vertical:queries=100,eps=", eps, ",mode=", mode), model, b);
      CHECK(standing(r) >= standing(apgd));
      fooled += successes(r);
    }
    between += successes(apgd) > 0 && standing(apgd) > 0;
  }
  CHECK(between > 0);  // else the comparison proves nothing
  CHECK(fooled > 0);
}

TEST_CASE("a random model draws anew in every query") {
  for (const std::string& spec : attacks) check_draws_anew(spec);
}

TEST_CASE("logits that are NaN, and requests that make no sense") {
  struct Nan final : HostModel {
    Nan() : HostModel(image, random_weights(2, 3)) {}
    void spoil_logits(std::vector<float>& logits, const DrawKey&) const override {
      if (broken)
        for (float& z : logits) z = std::nanf("");
    }
    bool broken = false;
  } model;
  Batch b = images_of(model, 3);
  Linear three(3);
  for (const std::string& spec : attacks) {
    CAPTURE(spec);
    model.broken = true;
    for (float v : host(run(spec, model, b).adversarial)) CHECK((v >= 0 && v <= 1));
    model.broken = false;
    CHECK(run(spec, model, slice(b, 0, 0)).adversarial.dim(0) == 0);
    CHECK_THROWS_AS(run(spec, model, {b.x, Tensor(), b.ids}), Error);
    Batch strange = b;
    strange.y = Tensor::from(std::vector<int32_t>{0, 2, 0}, {3});
    CHECK_THROWS_AS(run(spec, model, strange), UsageError);
  }
  CHECK_THROWS_AS(run("square:target=2", model, b), UsageError);
  CHECK_THROWS_AS(make_attack("square:norm=l1"), UsageError);
  CHECK(make_attack("simba")->threat().eps < 0);
}
