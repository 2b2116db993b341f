// The fused kernels of attacks, called as the attacks call them, between guard bands: steps, projections, starts,
// noise, distances.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/launch/table.h"
#include "tests/guarded.h"

using namespace mith;

namespace {

using Pixels = std::vector<float>;
using Ids = std::vector<int64_t>;

const Kernel<float*, const float*, const float*, float, float, int64_t*, int64_t> linf_sign_step{"linf_sign_step"};
const Kernel<float*, const float*, float, int64_t> linf_project{"linf_project"};
using Noise = Kernel<float*, const float*, const int64_t*, DrawKey, float, int64_t, int64_t>;
const Noise linf_random_start{"linf_random_start"}, sign_noise{"sign_noise"}, gaussian_noise{"gaussian_noise"};
const Kernel<float*, const float*, const float*, const int64_t*, DrawKey, float, float, int64_t*, int64_t, int64_t>
    l2_normalized_step{"l2_normalized_step"};
const Kernel<float*, const float*, const int64_t*, DrawKey, float, int, int64_t, int64_t> l2_random_start{
    "l2_random_start"};
using Distance = Kernel<float*, const float*, const float*, int64_t, int64_t>;
const Distance linf_distance{"linf_distance"}, l2_distance{"l2_distance"};

const Stream& stream() { return stream_of(default_device()); }
float const not_a_number = std::nanf("");
float const infinity = std::numeric_limits<float>::infinity();

struct Stepped {
  Pixels adv;
  int64_t nan_count;
};

Stepped linf_step(const Pixels& adv, const Pixels& x, const Pixels& g, float alpha, float eps) {
  GuardedValues const a(adv), origin(x), gradient(g);
  Tensor const count = Tensor::zeros({1}, DType::i64);
  linf_sign_step(stream(), a.data(), origin.data(), gradient.data(), alpha, eps, count.data<int64_t>(),
                 int64_t(adv.size()));
  return {a.read(), count.to_host<int64_t>()[0]};
}

Stepped l2_step(const Pixels& adv, const Pixels& x, const Pixels& g, const Ids& ids, float alpha, float eps) {
  GuardedValues const a(adv), origin(x), gradient(g);
  Tensor const count = Tensor::zeros({1}, DType::i64), id = Tensor::from(ids, {int64_t(ids.size())});
  l2_normalized_step(stream(), a.data(), origin.data(), gradient.data(), id.data<int64_t>(),
                     DrawKey{.seed = 4, .purpose = Purpose::noise}, alpha, eps, count.data<int64_t>(),
                     int64_t(ids.size()), int64_t(adv.size() / ids.size()));
  return {a.read(), count.to_host<int64_t>()[0]};
}

Pixels noisy(const Noise& kernel, const Pixels& x, const Ids& ids, float eps) {
  GuardedValues const out(Pixels(x.size(), not_a_number)), origin(x);
  Tensor const id = Tensor::from(ids, {int64_t(ids.size())});
  kernel(stream(), out.data(), origin.data(), id.data<int64_t>(), DrawKey{.seed = 8, .purpose = Purpose::attack_start},
         eps, int64_t(ids.size()), int64_t(x.size() / ids.size()));
  return out.read();
}

/// `radius` 0: eps u, 1: uniform in the ball, 2: eps.
Pixels l2_start(const Pixels& x, const Ids& ids, float eps, int radius) {
  GuardedValues const out(Pixels(x.size(), not_a_number)), origin(x);
  Tensor const id = Tensor::from(ids, {int64_t(ids.size())});
  l2_random_start(stream(), out.data(), origin.data(), id.data<int64_t>(),
                  DrawKey{.seed = 8, .purpose = Purpose::attack_start}, eps, radius, int64_t(ids.size()),
                  int64_t(x.size() / ids.size()));
  return out.read();
}

Pixels distances(const Distance& kernel, const Pixels& a, const Pixels& b, size_t images) {
  GuardedValues const out(Pixels(images, not_a_number)), left(a), right(b);
  kernel(stream(), out.data(), left.data(), right.data(), int64_t(images), int64_t(a.size() / images));
  return out.read();
}

/// The image's share of a batch.
Pixels image(const Pixels& batch, size_t index, size_t per_image) {
  return Pixels(batch.begin() + long(index * per_image), batch.begin() + long((index + 1) * per_image));
}

double length(const Pixels& a, const Pixels& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::pow(double(a[i]) - double(b[i]), 2);
  return std::sqrt(sum);
}

}  // namespace

TEST_CASE("linf_sign_step: both zeros and NaN stay, NaN is counted") {
  Pixels const g{1e-40f, -1e-30f, 0.0f, -0.0f, not_a_number, infinity, -infinity, 5};
  Pixels const x(8, 0.5f);
  auto const [adv, count] = linf_step(x, x, g, 0.125f, 0.25f);
  CHECK(adv == Pixels{0.625f, 0.375f, 0.5f, 0.5f, 0.5f, 0.625f, 0.375f, 0.625f});
  CHECK(count == 1);
  // A pixel that is already NaN must not become a legal one.
  CHECK(std::isnan(linf_step({not_a_number}, {0.5f}, {1}, 0.1f, 0.1f).adv[0]));
}

TEST_CASE("linf_sign_step: stays in the ball and in [0, 1], at any size") {
  for (size_t n : {1, 7, 1000, 100003}) {
    Pixels const x = uniform_values(n, 1), start = uniform_values(n, 2), sign = uniform_values(n, 3, -1, 1);
    float const eps = 0.03f, alpha = 0.01f;
    Pixels adv = x, g = sign;
    for (size_t i = 0; i < n; ++i) adv[i] = std::min(std::max(x[i] + eps * (2 * start[i] - 1), 0.0f), 1.0f);
    if (n > 7) g[n / 2] = g[n - 1] = not_a_number;
    auto const [moved, count] = linf_step(adv, x, g, alpha, eps);
    CHECK(count == (n > 7 ? 2 : 0));
    int64_t wrong = 0;
    for (size_t i = 0; i < n; ++i) {
      double const step = std::isnan(g[i]) ? 0 : alpha * (g[i] > 0 ? 1.0 : -1.0);
      double const ball = std::clamp(double(adv[i]) + step, double(x[i]) - eps, double(x[i]) + eps);
      wrong += !(std::abs(moved[i] - std::clamp(ball, 0.0, 1.0)) <= 1.2e-7);  // two roundings below 1
      wrong += !(moved[i] >= 0 && moved[i] <= 1);
    }
    CHECK(wrong == 0);
    CHECK(linf_step(x, x, sign, alpha, 0).adv == x);
  }
}

TEST_CASE("linf_project: onto the ball and the box, keeping NaN") {
  GuardedValues const a({0.9f, 0.1f, 0.5f, 1.5f, -1, not_a_number}), x({0.5f, 0.5f, 0.5f, 0.95f, 0.05f, 0.5f});
  linf_project(stream(), a.data(), x.data(), 0.25f, 6);
  Pixels const moved = a.read();
  CHECK(Pixels(moved.begin(), moved.begin() + 5) == Pixels{0.75f, 0.25f, 0.5f, 1, 0});
  CHECK(std::isnan(moved[5]));
}

TEST_CASE("random starts and noise: in the ball, keyed by image, of the right law") {
  size_t const d = 20001;
  Pixels x(3 * d, 0.5f);
  for (const Noise* kernel : {&linf_random_start, &sign_noise}) {
    Pixels const batch = noisy(*kernel, x, {11, 5, 2}, 0.1f);
    CHECK(image(batch, 1, d) == noisy(*kernel, image(x, 1, d), {5}, 0.1f));
    CHECK(image(batch, 0, d) == image(noisy(*kernel, x, {2, 5, 11}, 0.1f), 2, d));
    double mean = 0, square = 0;
    int64_t outside = 0;
    for (float v : batch) {
      double const u = (double(v) - 0.5) / 0.1;
      mean += u / double(batch.size());
      square += u * u / double(batch.size());
      outside += !(std::abs(u) <= 1 + 1e-6);  // v carries a rounding of 3e-8, a 3e-7th of eps
    }
    CHECK(outside == 0);
    CHECK(std::abs(mean) <= 0.02);  // five standard errors of 1/sqrt(60003)
    CHECK(std::abs(square - (kernel == &sign_noise ? 1 : 1.0 / 3)) <= 0.02);
    for (float v : noisy(*kernel, {0, 1, 0, 1, 0, 1, 0, 1}, {1}, 0.5f)) CHECK((v >= 0 && v <= 1));
  }
}

TEST_CASE("gaussian_noise: of mean 0 and the given deviation, keyed by image, in [0, 1]") {
  size_t const d = 20001;
  Pixels const x(3 * d, 0.5f), batch = noisy(gaussian_noise, x, {11, 5, 2}, 0.05f);
  CHECK(image(batch, 1, d) == noisy(gaussian_noise, image(x, 1, d), {5}, 0.05f));
  double mean = 0, square = 0;
  for (float v : batch) {
    double const u = (double(v) - 0.5) / 0.05;
    mean += u / double(batch.size());
    square += u * u / double(batch.size());
  }
  CHECK(std::abs(mean) <= 0.02);  // five standard errors of 1/sqrt(60003)
  CHECK(std::abs(square - 1) <= 0.03);
  for (float v : noisy(gaussian_noise, {0, 1, 0, 1, 0, 1, 0, 1}, {1}, 1)) CHECK((v >= 0 && v <= 1));
}

TEST_CASE("l2_normalized_step: moves alpha along the gradient, whatever its size") {
  size_t const d = 301;
  Pixels const x(d, 0.5f), direction = uniform_values(d, 5, -1, 1);
  double const norm = length(direction, Pixels(d, 0));
  for (float size : {1.0f, 1e-30f, 1e-38f, 1e30f}) {
    Pixels g = direction;
    for (float& v : g) v *= size;
    auto const [adv, count] = l2_step(x, x, g, {1}, 0.25f, 1);
    double worst = 0;
    for (size_t i = 0; i < d; ++i)
      worst = std::max(worst, std::abs(adv[i] - (0.5 + 0.25 * double(direction[i]) / norm)));
    CHECK(worst <= 1e-7);  // two roundings near 0.5
    CHECK(count == 0);
  }
}

TEST_CASE("l2_normalized_step: each image in its own ball, and in [0, 1]") {
  size_t const d = 40001;
  Pixels const x = uniform_values(3 * d, 6), g = uniform_values(3 * d, 7, -1, 1);
  Pixels adv = x;
  for (int step = 0; step < 4; ++step) adv = l2_step(adv, x, g, {1, 2, 3}, 0.4f, 1).adv;
  for (size_t i = 0; i < 3; ++i) {
    double const moved = length(image(adv, i, d), image(x, i, d));
    CHECK(moved <= 1 + 1e-6);
    CHECK(moved >= 0.98);  // clipping at the box takes little
  }
  for (float v : adv)
    if (!(v >= 0 && v <= 1)) FAIL("outside [0, 1]");
  CHECK(l2_step(x, x, g, {1, 2, 3}, 0.4f, 0).adv == x);
}

TEST_CASE("l2_normalized_step: a zero gradient takes a random unit step, keyed by image") {
  size_t const d = 200;
  Pixels const x(2 * d, 0.5f), zero(2 * d, 0);
  auto const [adv, count] = l2_step(x, x, zero, {7, 9}, 0.5f, 1);
  CHECK(count == 0);
  CHECK(std::abs(length(image(adv, 0, d), image(x, 0, d)) - 0.5) <= 1e-6);
  CHECK(image(adv, 0, d) != image(adv, 1, d));
  Pixels const swapped = l2_step(x, x, zero, {9, 7}, 0.5f, 1).adv;
  CHECK(image(swapped, 1, d) == image(adv, 0, d));
  CHECK(image(swapped, 0, d) == image(adv, 1, d));
}

TEST_CASE("l2_normalized_step: pixels without a finite gradient count as zero") {
  Pixels const x(12, 0.5f), gradient{not_a_number, infinity, 3, -4, 3, -4, 0, not_a_number, 0, 3, 0, -4};
  auto const [adv, count] = l2_step(x, x, gradient, {1, 2, 3}, 0.25f, 1);
  CHECK(count == 3);
  Pixels const expected{0.5f, 0.5f, 0.65f, 0.3f, 0.65f, 0.3f, 0.5f, 0.5f, 0.5f, 0.65f, 0.5f, 0.3f};
  for (size_t i = 0; i < 12; ++i) CHECK(std::abs(adv[i] - expected[i]) <= 1e-7);
}

TEST_CASE("l2_normalized_step: a random step leaves pixels alone whose gradient is not finite") {
  size_t const d = 200;
  Pixels const x(d, 0.5f);
  Pixels before = uniform_values(d, 8, 0.45f, 0.55f), g(d, 0);
  g[0] = not_a_number, g[1] = infinity;
  auto const [adv, count] = l2_step(before, x, g, {7}, 0.5f, 2);
  CHECK(count == 2);
  CHECK(adv[0] == before[0]);
  CHECK(adv[1] == before[1]);
  CHECK(std::abs(length(adv, before) - 0.5) <= 1e-6);
  auto const [still, all] = l2_step(before, x, Pixels(d, not_a_number), {7}, 0.5f, 2);
  CHECK(all == int64_t(d));
  CHECK(still == before);
}

TEST_CASE("l2_random_start: directions and radii") {
  size_t const images = 4000;
  Ids ids;
  for (size_t i = 0; i < images; ++i) ids.push_back(int64_t(3 * i));
  for (size_t d : {1, 2, 3}) {
    Pixels const x(images * d, 0.5f);
    for (int how : {0, 1, 2}) {
      Pixels const adv = l2_start(x, ids, 0.3f, how);
      double mean_radius = 0, mean = 0, mean_share = 0, together = 0;
      for (size_t i = 0; i < images; ++i) {
        double const radius = length(image(adv, i, d), image(x, i, d)) / 0.3;
        CHECK(radius <= 1 + 1e-6);  // pixels are rounded to 3e-8
        mean_radius += radius / double(images);
        mean += (adv[i * d] - 0.5) / 0.3 / double(images);
        double const share = std::abs(adv[(i + 1) * d - 1] - 0.5) / 0.3 / std::max(radius, 1e-6);
        mean_share += share / double(images);
        together += share * radius / double(images);
      }
      double const expected = how == 2 ? 1 : how == 1 ? double(d) / double(d + 1) : 0.5;
      CHECK(std::abs(mean_radius - expected) <= 0.025);  // five standard errors: deviations are below 0.3
      CHECK(std::abs(mean) <= 0.05);
      CHECK(std::abs(together - mean_share * mean_radius) <= 0.01);  // the radius knows nothing of the direction
    }
  }
}

TEST_CASE("l2_random_start: keyed by image, in the ball and in [0, 1]") {
  size_t const d = 301;
  Pixels const x(3 * d, 0.5f), adv = l2_start(x, {0, 15, 7}, 0.3f, 1);
  for (size_t i = 0; i < 3; ++i) CHECK(length(image(adv, i, d), image(x, i, d)) <= 0.3 * (1 + 1e-6));
  CHECK(image(adv, 1, d) == l2_start(Pixels(d, 0.5f), {15}, 0.3f, 1));
  for (float v : l2_start({0, 1, 0, 1, 1, 0}, {1, 2}, 1, 1)) CHECK((v >= 0 && v <= 1));
}

TEST_CASE("distances per image") {
  size_t const d = 5003;
  Pixels a = uniform_values(3 * d, 20);
  Pixels const b = uniform_values(3 * d, 21);
  Pixels const linf = distances(linf_distance, a, b, 3), l2 = distances(l2_distance, a, b, 3);
  for (size_t i = 0; i < 3; ++i) {
    float largest = 0;
    for (size_t j = i * d; j < (i + 1) * d; ++j) largest = std::max(largest, std::abs(a[j] - b[j]));
    CHECK(linf[i] == largest);
    CHECK(std::abs(l2[i] / length(image(a, i, d), image(b, i, d)) - 1) <= 1e-7);  // one rounding to f32
  }
  a[d + 17] = not_a_number;
  for (const Distance* kernel : {&linf_distance, &l2_distance}) {
    Pixels const spoilt = distances(*kernel, a, b, 3);
    CHECK_FALSE(std::isnan(spoilt[0]));
    CHECK(std::isnan(spoilt[1]));
    CHECK_FALSE(std::isnan(spoilt[2]));
  }
}
