// Cross-entropy where it is delicate: golden values, certain networks, directions, labels out of range.
#include <doctest/doctest.h>

#include <cmath>

#include "engine/ops/ops.h"
#include "tests/operator_rows.h"

using namespace mith;

namespace {

/// Gradient of the summed loss with respect to the logits of one image.
Values gradient(const Values& logits, int32_t label, bool direction_only, DType type, double cotangent = 1) {
  Tensor const z = Tensor::from(logits, {1, int64_t(logits.size())}).cast(type);
  Tape tape;
  tape.watch(z);
  Tensor const loss = cross_entropy(z, Tensor::from(std::vector{label}, {1}), {.direction_only = direction_only});
  return on_host(tape.gradient(loss, Tensor::full({1}, cotangent, type), z));
}

double loss(const Values& logits, int32_t label, DType type) {
  Tensor const z = Tensor::from(logits, {1, int64_t(logits.size())}).cast(type);
  return on_host(cross_entropy(z, Tensor::from(std::vector{label}, {1})))[0];
}

double relative(double a, double expected) { return std::abs(a / expected - 1); }

}  // namespace

TEST_CASE("cross-entropy has the golden values") {
  // attacks.md section 11, given to eight decimals.
  Values const z{2, 1, .5, -1, 0}, golden{.57443794, 1.57443794, 2.07443794, 3.57443794, 2.57443794};
  for (int32_t y = 0; y < 5; ++y) {
    CHECK(std::abs(loss(z, y, DType::f64) - golden[size_t(y)]) <= 5.1e-9);
    CHECK(relative(loss(z, y, DType::f32), golden[size_t(y)]) <= 3e-7);  // a handful of f32 roundings
  }
}

TEST_CASE("a certain network keeps a loss and a gradient in f32") {
  // p_y rounds to 1 in f32, yet the loss is e^-40 + e^-50 and so is 1 - p_y.
  Values const z{40, 0, -10};
  double const doubt = std::exp(-40.0) + std::exp(-50.0);
  CHECK(relative(loss(z, 0, DType::f32), doubt) <= 1e-5);  // expf of -40 carries 40 roundings of its argument
  Values const g = gradient(z, 0, false, DType::f32);
  CHECK(relative(g[0], -doubt) <= 1e-5);
  CHECK(relative(g[1], std::exp(-40.0)) <= 1e-5);
  CHECK(relative(g[2], std::exp(-50.0)) <= 1e-5);

  // Certain and wrong: the loss is the lead of the rivals, far from overflow.
  CHECK(relative(loss({-500, 500, 0}, 0, DType::f32), 1000) <= 1e-6);
  Values const wrong = gradient({-500, 500, 0}, 0, false, DType::f32);
  CHECK(wrong == Values{-1, 1, 0});
}

TEST_CASE_TEMPLATE("cross-entropy keeps its accuracy however far a class leads", T, float, double) {
  Values leads, logits;
  for (double lead = -84; lead <= 84; lead += 0.375) {  // exact in f32, like the other logits
    leads.push_back(lead);
    logits.insert(logits.end(), {lead, 0, -3, -2.5});
  }
  auto const n = int64_t(leads.size());
  Tensor const z = Tensor::from(logits, {n, 4}).cast(dtype_of<T>),
               labels = Tensor::from(std::vector<int32_t>(leads.size()), {n});
  auto const with_gradient = [&](bool direction_only) {
    Tape tape;
    tape.watch(z);
    Tensor const loss = cross_entropy(z, labels, {.direction_only = direction_only});
    return std::pair{on_host(loss), on_host(tape.gradient(loss, Tensor::full({n}, 1, dtype_of<T>), z))};
  };
  auto const [loss, g] = with_gradient(false);
  auto const [same_loss, d] = with_gradient(true);
  CHECK(same_loss == loss);
  for (size_t i = 0; i < leads.size(); ++i) {
    CAPTURE(leads[i]);
    // An exponential carries its argument's rounding, half a unit in the last place, and a handful of its own.
    double const tolerance = (std::abs(leads[i]) + 8) * double(std::numeric_limits<T>::epsilon()) / 2;
    Values const e{0, std::exp(-leads[i]), std::exp(-3 - leads[i]), std::exp(-2.5 - leads[i])};
    double const odds = e[1] + e[2] + e[3];
    CHECK(relative(loss[i], std::log1p(odds)) <= tolerance);
    CHECK(relative(g[4 * i], -odds / (1 + odds)) <= tolerance);
    for (size_t j = 1; j < 4; ++j) {
      CHECK(relative(g[4 * i + j], e[j] / (1 + odds)) <= tolerance);
      CHECK(relative(d[4 * i + j], e[j] / odds) <= tolerance);
    }
  }
}

TEST_CASE("a direction is the gradient divided by 1 - p_y, and cannot underflow") {
  for (Values const& z : {Values{2, 1, .5, -1, 0}, Values{-3, 4, 1}, Values{0, 0}}) {
    for (int32_t y = 0; y < int32_t(z.size()); ++y) {
      Values const g = gradient(z, y, false, DType::f64), d = gradient(z, y, true, DType::f64);
      double others = 0, all = 0;
      for (size_t j = 0; j < z.size(); ++j) {
        all += std::exp(z[j]);
        if (int32_t(j) != y) others += std::exp(z[j]);
      }
      for (size_t j = 0; j < z.size(); ++j) {
        CHECK(std::abs(g[j] - d[j] * others / all) <= 1e-15);  // a few roundings of numbers below 1
      }
      CHECK(d[size_t(y)] == -1);
    }
  }
  // The true gradient is e^-300, which f32 cannot hold.
  Values const z{300, 0, -1};
  CHECK(gradient(z, 0, false, DType::f32) == Values{0, 0, 0});
  Values const d = gradient(z, 0, true, DType::f32), q{-1, 1 / (1 + std::exp(-1.0)), 1 / (1 + std::exp(1.0))};
  for (size_t j = 0; j < 3; ++j) CHECK(std::abs(d[j] - q[j]) <= 1e-6);
  // A targeted attack hands in a negative cotangent.
  Values const negated = gradient(z, 0, true, DType::f32, -1);
  for (size_t j = 0; j < 3; ++j) CHECK(negated[j] == -d[j]);
}

TEST_CASE("NaN logits and labels out of range give NaN, to their own image only") {
  float const nan = std::nanf("");
  Tensor const z = Tensor::from(std::vector<float>{1, 2, 3, nan, 2, 3, 1, nan, 3, 1, 2, 3, 1, 2, 3}, {5, 3});
  Tensor const labels = Tensor::from(std::vector<int32_t>{0, 0, 0, 3, -1}, {5});
  for (bool direction : {false, true}) {
    Tape tape;
    tape.watch(z);
    Tensor const value = cross_entropy(z, labels, {.direction_only = direction});
    Values const l = on_host(value), g = on_host(tape.gradient(value, Tensor::full({5}, 1), z));
    for (size_t i = 0; i < 5; ++i) {
      CHECK(std::isnan(l[i]) == (i != 0));
      for (size_t j = 0; j < 3; ++j) CHECK(std::isnan(g[3 * i + j]) == (i != 0));
    }
  }
}

namespace {

struct ValueAndGradient {
  Values loss, gradient;
};

/// Of one image's logits; `other` negative: against the strongest rival.
ValueAndGradient margin(const Values& logits, int32_t label, int32_t other, bool by_rank, DType type = DType::f64) {
  Tensor const z = Tensor::from(logits, {1, int64_t(logits.size())}).cast(type);
  MarginOptions options{.by_rank = by_rank};
  if (other >= 0) options.others = Tensor::from(std::vector{other}, {1});
  Tape tape;
  tape.watch(z);
  Tensor const loss = margin_loss(z, Tensor::from(std::vector{label}, {1}), options);
  return {on_host(loss), on_host(tape.gradient(loss, Tensor::full({1}, 1, type), z))};
}

}  // namespace

TEST_CASE("DLR has the golden values") {
  // attacks.md section 11: given to eight decimals, against a target to six.
  Values const z{2, 1, .5, -1, 0}, golden{-2 / 3.0, .66666667, 1, 2, 1.33333333};
  for (int32_t y = 0; y < 5; ++y) CHECK(std::abs(margin(z, y, -1, true).loss[0] - golden[size_t(y)]) <= 5.1e-9);
  struct Targeted {
    int32_t y, t;
    double value;
  };
  for (Targeted const& g :
       {Targeted{0, 1, -.571429}, Targeted{0, 2, -.857143}, Targeted{0, 3, -1.714286}, Targeted{0, 4, -1.142857},
        Targeted{1, 0, .571429}, Targeted{1, 2, -.285714}, Targeted{1, 3, -1.142857}, Targeted{1, 4, -.571429},
        Targeted{2, 0, .857143}, Targeted{2, 1, .285714}, Targeted{3, 0, 1.714286}, Targeted{3, 4, .571429},
        Targeted{4, 0, 1.142857}, Targeted{4, 3, -.571429}}) {
    for (DType type : {DType::f32, DType::f64})
      CHECK(std::abs(margin(z, g.y, g.t, true, type).loss[0] - g.value) <= 7e-7);
  }
}

TEST_CASE("DLR of few classes: three have one divisor, two the plain margin") {
  Values const three{1, 3, -1}, two{0.25, 1};
  CHECK(std::abs(margin(three, 0, -1, true).loss[0] - 0.5) <= 1e-9);
  CHECK(std::abs(margin(three, 0, 2, true).loss[0] + 0.5) <= 1e-9);
  CHECK(margin(two, 0, -1, true).loss[0] == 0.75);
  CHECK(margin(two, 0, 1, true).loss[0] == 0.75);
  CHECK(margin(two, 1, -1, false).loss[0] == -0.75);
}

TEST_CASE("among equal logits the lowest index leads") {
  CHECK(margin({1, 1, 1, 0}, 0, -1, false).gradient == Values{-1, 1, 0, 0});
  CHECK(margin({1, 1, 1, 0}, 1, -1, false).gradient == Values{1, -1, 0, 0});
  // First and third of (2, 1, 1, 1) are the classes 0 and 2: the divisor is 1, the loss of class 0 is -1.
  Values const g = margin({2, 1, 1, 1}, 0, -1, true).gradient;
  Values const expected{0, 1, -1, 0};  // rival 1 up, label down; plus one times (class 0 up, class 2 down)
  for (size_t j = 0; j < 4; ++j) CHECK(std::abs(g[j] - expected[j]) <= 1e-9);
  // No spread at all: finite all the same.
  ValueAndGradient const flat = margin({3, 3, 3, 3}, 1, -1, true, DType::f32);
  CHECK(flat.loss[0] == 0);
  for (double v : flat.gradient) CHECK(std::isfinite(v));
}

TEST_CASE("margins: NaN logits and classes out of range give NaN, to their own image only") {
  float const nan = std::nanf("");
  Tensor const z = Tensor::from(std::vector<float>{1, 2, 3, nan, 2, 3, 1, 2, nan, 3, 1, 2, 3, 1, 2}, {5, 3});
  Tensor const labels = Tensor::from(std::vector<int32_t>{0, 0, 0, 3, -1}, {5}),
               others = Tensor::from(std::vector<int32_t>{1, 1, 1, 1, 1}, {5}),
               astray = Tensor::from(std::vector<int32_t>{1, 3, -1, 1, 1}, {5});
  auto const nan_images = [&](const MarginOptions& options) {
    Tape tape;
    tape.watch(z);
    Tensor const value = margin_loss(z, labels, options);
    Values const l = on_host(value), g = on_host(tape.gradient(value, Tensor::full({5}, 1), z));
    std::vector<bool> is_nan;
    for (size_t i = 0; i < 5; ++i) {
      is_nan.push_back(std::isnan(l[i]));
      for (size_t j = 0; j < 3; ++j) CHECK(std::isnan(g[3 * i + j]) == is_nan[i]);
    }
    return is_nan;
  };
  std::vector<bool> const all_but_the_first{false, true, true, true, true};
  CHECK(nan_images({}) == all_but_the_first);
  CHECK(nan_images({.by_rank = true}) == all_but_the_first);
  CHECK(nan_images({.others = others, .by_rank = true}) == all_but_the_first);
  CHECK(nan_images({.others = astray}) == all_but_the_first);
  // A margin against one class does not look at the third.
  CHECK(nan_images({.others = others}) == std::vector<bool>{false, true, false, true, true});
}

TEST_CASE_TEMPLATE("a divergence is 0 with a gradient of exactly 0 from the softmax itself, and positive beside it", T,
                   float, double) {
  for (int64_t k : {2, 3, 9, 70}) {
    Tensor const z = Tensor::from(draw(4 * k, 60, -30, 30), {4, k}).cast(dtype_of<T>), p = softmax(z);
    Tape tape;
    tape.watch(z);
    Tensor const value = kl_divergence(p, z);
    Values const loss = on_host(value), g = on_host(tape.gradient(value, Tensor::full({4}, 1, dtype_of<T>), z));
    for (double v : loss) CHECK((v >= 0 && v <= 8 * std::numeric_limits<T>::epsilon()));
    for (double v : g) CHECK(v == 0);
  }
  Tensor const p = Tensor::from(Values{0.5, 0.5, 0, 1}, {2, 2}), z = Tensor::from(Values{0, 3, 0, 0}, {2, 2});
  Values const loss = on_host(kl_divergence(p.cast(DType::f32), z.cast(dtype_of<T>)));
  // log 1/2 - (log q_0 + log q_1) / 2 with q = (1, e^3) / (1 + e^3), and log 2.
  CHECK(relative(loss[0], std::log(0.5) + std::log1p(std::exp(3.0)) - 1.5) <= 1e-6);
  CHECK(relative(loss[1], std::log(2.0)) <= 1e-6);
}

TEST_CASE("a divergence of NaN, in the logits or the probabilities, is NaN") {
  double const nan = std::nan("");
  Tensor const p = Tensor::from(Values{0, 1, nan, 0.5, 0.5, 0.5}, {3, 2}),
               z = Tensor::from(Values{nan, 1, 1, 1, 1, 1}, {3, 2});
  Values const loss = on_host(kl_divergence(p, z));
  CHECK(std::isnan(loss[0]));
  CHECK(std::isnan(loss[1]));
  CHECK_FALSE(std::isnan(loss[2]));
}
