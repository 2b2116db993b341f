// Adam inside an attack, against Adam in double.
#include <doctest/doctest.h>

#include <cmath>

#include "attacks/adam.h"
#include "kernels/launch/table.h"
#include "tests/guarded.h"

using namespace mith;

namespace {

const Kernel<float*, float*, float*, const float*, double, double, double, double, int64_t, float, float, int64_t*,
             int64_t>
    adam_ascent_clamp{"adam_ascent_clamp"};

}  // namespace

TEST_CASE("adam_ascent_clamp: a hundred steps follow Adam in double, within the limits") {
  size_t const n = 1003;
  double const rate = 0.01, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  std::vector<float> const start = uniform_values(n, 1, 0.2f, 0.8f);
  GuardedValues const value(start), m(std::vector<float>(n, 0)), v(std::vector<float>(n, 0));
  Tensor const bad = Tensor::zeros({1}, DType::i64);
  std::vector<double> x(start.begin(), start.end()), exp_avg(n, 0), exp_avg_sq(n, 0);
  double worst = 0, worst_sq = 0;
  int64_t outside = 0;
  for (int t = 1; t <= 100; ++t) {
    std::vector<float> const g = uniform_values(n, uint64_t(10 + t), -1, 2);
    GuardedValues const gradient(g);
    adam_ascent_clamp(stream_of(default_device()), value.data(), m.data(), v.data(), gradient.data(), rate, beta1,
                      beta2, epsilon, t, 0.1f, 0.9f, bad.data<int64_t>(), int64_t(n));
    for (size_t i = 0; i < n; ++i) {
      exp_avg[i] = beta1 * exp_avg[i] + (1 - beta1) * double(g[i]);
      exp_avg_sq[i] = beta2 * exp_avg_sq[i] + (1 - beta2) * double(g[i]) * double(g[i]);
      double const mean = exp_avg[i] / (1 - std::pow(beta1, t)), square = exp_avg_sq[i] / (1 - std::pow(beta2, t));
      x[i] = std::clamp(x[i] + rate * mean / (std::sqrt(square) + epsilon), double(0.1f), double(0.9f));
    }
  }
  std::vector<float> const moved = value.read(), second = v.read();
  m.read();
  for (size_t i = 0; i < n; ++i) {
    worst = std::max(worst, std::abs(double(moved[i]) - x[i]));
    worst_sq = std::max(worst_sq, std::abs(double(second[i]) / exp_avg_sq[i] - 1));
    outside += !(moved[i] >= 0.1f && moved[i] <= 0.9f);
  }
  CHECK(worst <= 1e-5);     // a hundred roundings of values below 1
  CHECK(worst_sq <= 5e-6);  // 1 - beta2 in f32 alone would be off by 1.3e-5
  CHECK(outside == 0);
  CHECK(bad.to_host<int64_t>()[0] == 0);
}

TEST_CASE("adam_ascent_clamp: a gradient that is not finite counts as zero, a value that is NaN stays one") {
  float const nan = std::nanf(""), infinity = HUGE_VALF;
  GuardedValues const value({0.5f, 0.5f, nan, 0.5f, 0.5f}), m({0.25f, 0, 0, 0.25f, 0.25f}),
      v({0.0625f, 0, 0, 0.0625f, 0.0625f}), g({nan, 1, 1, infinity, -infinity});
  Tensor const bad = Tensor::zeros({1}, DType::i64);
  adam_ascent_clamp(stream_of(default_device()), value.data(), m.data(), v.data(), g.data(), 0.125, 0.5, 0.5, 0.0, 1,
                    0.0f, 1.0f, bad.data<int64_t>(), 5);
  std::vector<float> const moved = value.read();
  // Moments 0.125 and 0.03125, corrected 0.25 and 0.0625: a full step.
  for (size_t i : {0, 1, 3, 4}) CHECK(std::abs(moved[i] - 0.625f) <= 1e-6);
  CHECK(std::isnan(moved[2]));
  for (size_t i : {0, 3, 4}) CHECK(m.read()[i] == 0.125f);
  CHECK(bad.to_host<int64_t>()[0] == 3);
}

TEST_CASE("Adam ascends, descends and keeps the rows it is told to") {
  Tensor up = Tensor::full({3, 2}, 0.5), down = up.clone();
  Tensor const gradient = Tensor::from(uniform_values(6, 3, 0.5f, 1), {3, 2});
  Tensor bad = Tensor::zeros({1}, DType::i64);
  Adam rising{.rate = 0.1}, falling{.rate = 0.1};
  rising.ascend(up, gradient, 0, 1, bad);
  falling.descend(down, gradient, 0, 1, bad);
  for (float const value : up.to_host<float>())
    CHECK(std::abs(value - 0.6f) <= 1e-6);  // the first step has length rate
  for (float const value : down.to_host<float>()) CHECK(std::abs(value - 0.4f) <= 1e-6);
  auto const before = rising.exp_avg.to_host<float>();
  rising.keep({2, 0});
  auto const after = rising.exp_avg.to_host<float>();
  CHECK(after == std::vector<float>{before[4], before[5], before[0], before[1]});
  CHECK_THROWS_AS(rising.ascend(up, gradient, 0, 1, bad), Error);  // three values, two moments
}
