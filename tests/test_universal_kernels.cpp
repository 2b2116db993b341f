// The kernels of universal perturbations and patches against plain loops in double, between guard bands.
#include <cmath>
#include <limits>

#include "kernels/launch/table.h"
#include "tests/guarded.h"

using namespace mith;

namespace {

using Values = std::vector<float>;

const Kernel<float*, const float*, const float*, int64_t, int64_t, int64_t> universal_apply{"universal_apply"};
const Kernel<float*, const float*, const float*, const float*, const float*, float, int, int64_t, int64_t, int64_t>
    universal_gradient{"universal_gradient"};
const Kernel<float*, const float*, int64_t, int64_t, int64_t> universal_mean_sign{"universal_mean_sign"};
const Kernel<float*, const float*, float, int64_t> universal_shift{"universal_shift"};
const Kernel<float*, const float*, const float*, float, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t>
    patch_blend{"patch_blend"};
const Kernel<float*, const float*, float, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t>
    patch_blend_gradient{"patch_blend_gradient"};
const Kernel<float*, const float*, const float*, const float*, float, int64_t, int64_t, int64_t, int64_t, int64_t>
    patch_warp{"patch_warp"};
const Kernel<float*, const float*, const float*, float, int64_t, int64_t, int64_t, int64_t, int64_t>
    patch_warp_gradient{"patch_warp_gradient"};
const Kernel<float*, const float*, const float*, int64_t, int64_t, int64_t, int64_t> gaussian_smooth_axis{
    "gaussian_smooth_axis"};

const Stream& stream() { return stream_of(default_device()); }
float const not_a_number = std::nanf(""), infinity = std::numeric_limits<float>::infinity();

constexpr int64_t n = 3, h = 9, w = 11, c = 2, per_image = h * w * c;

/// Largest difference from what is expected; NaN if there is one.
double worst(const Values& found, const std::vector<double>& expected) {
  REQUIRE(found.size() == expected.size());
  double most = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    double const d = std::abs(double(found[i]) - expected[i]);
    if (!(d <= most)) most = d;
    if (std::isnan(most)) break;
  }
  return most;
}

double dot(const Values& a, const Values& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += double(a[i]) * double(b[i]);
  return sum;
}

/// Five numbers an image: a turned patch, an upright one on the border, one smaller than a pixel's diagonal.
Values poses() {
  return {5.3f, 4.6f, 6.2f, std::cos(0.4f), std::sin(0.4f), 3, 3, 6, 1, 0,
          7.7f, 6.1f, 1.3f, std::cos(2.f),  std::sin(2.f)};
}

/// How much of each texel is in each pixel, opacity included, in double: [n,h,w,size,size].
std::vector<double> warp_shares(int64_t size, const Values& at) {
  std::vector<double> shares;
  for (size_t image = 0; image < size_t(n); ++image)
    for (int64_t i = 0; i < h; ++i)
      for (int64_t j = 0; j < w; ++j) {
        const float* const p = at.data() + 5 * image;
        double const dx = double(j) + 0.5 - double(p[0]), dy = double(i) + 0.5 - double(p[1]);
        double const u = 2 * (double(p[3]) * dx + double(p[4]) * dy) / double(p[2]);
        double const v = 2 * (double(p[3]) * dy - double(p[4]) * dx) / double(p[2]);
        double const opacity = 1 - std::min(std::pow(u * u + v * v, 40), 1.0);
        double const x = (u + 1) * double(size) / 2 - 0.5, y = (v + 1) * double(size) / 2 - 0.5;
        auto const share = [size](double coordinate, int64_t texel) {
          double const at_texel = std::clamp(coordinate, 0.0, double(size - 1));  // the border's texel is repeated
          return std::max(0.0, 1 - std::abs(at_texel - double(texel)));
        };
        for (int64_t a = 0; a < size; ++a)
          for (int64_t b = 0; b < size; ++b) shares.push_back(opacity * share(y, a) * share(x, b));
      }
  return shares;
}

Values warped(const Values& x, const Values& patch, float beta, int64_t size) {
  GuardedValues const out(Values(x.size(), not_a_number)), from(x), p(patch), at(poses());
  patch_warp(stream(), out.data(), from.data(), p.data(), at.data(), beta, size, n, h, w, c);
  return out.read();
}

Values warp_gradient(const Values& g, float beta, int64_t size) {
  GuardedValues const mean(Values(size_t(size * size * c), not_a_number)), from(g), at(poses());
  patch_warp_gradient(stream(), mean.data(), from.data(), at.data(), beta, size, n, h, w, c);
  return mean.read();
}

Values blended(const Values& x, const Values& patch, float beta, int64_t row, int64_t col, int64_t size) {
  GuardedValues const out(Values(x.size(), not_a_number)), from(x), p(patch);
  patch_blend(stream(), out.data(), from.data(), p.data(), beta, row, col, size, n, h, w, c);
  return out.read();
}

}  // namespace

TEST_CASE("universal_apply: x + v in [0, 1], one v for all images, keeping NaN") {
  Values x = uniform_values(size_t(n * per_image), 1), v = uniform_values(size_t(per_image), 2, -0.5f, 0.5f);
  std::vector<double> expected;
  for (size_t i = 0; i < x.size(); ++i)
    expected.push_back(std::clamp(double(x[i]) + double(v[i % size_t(per_image)]), 0.0, 1.0));
  GuardedValues const out(Values(x.size(), not_a_number)), from(x), shift(v);
  universal_apply(stream(), out.data(), from.data(), shift.data(), n, h, w * c);
  CHECK(worst(out.read(), expected) <= 1e-7);  // one rounding below 1
  x[5] = not_a_number;
  GuardedValues const spoilt(x);
  universal_apply(stream(), out.data(), spoilt.data(), shift.data(), n, h, w * c);
  CHECK(std::isnan(out.read()[5]));
}

TEST_CASE("universal_gradient: the mean over images of what the clamp, the cap and NaN leave") {
  Values const x = uniform_values(size_t(n * per_image), 3), v = uniform_values(size_t(per_image), 4, -0.5f, 0.5f);
  Values g = uniform_values(x.size(), 5, -1, 1);
  g[7] = g[size_t(per_image) + 9] = not_a_number;
  Values const losses{1, 9, 3};
  for (float cap : {infinity, 9.0f})
    for (bool exact : {false, true}) {
      std::vector<double> expected(size_t(per_image), 0);
      for (size_t i = 0; i < x.size(); ++i) {
        size_t const at = i % size_t(per_image);
        float const moved = x[i] + v[at];
        bool const counts = !std::isnan(g[i]) && losses[i / size_t(per_image)] < cap;
        if (counts && (!exact || (moved >= 0 && moved <= 1))) expected[at] += double(g[i]) / double(n);
      }
      GuardedValues const mean(Values(size_t(per_image), not_a_number)), from(x), shift(v), gradient(g), loss(losses);
      universal_gradient(stream(), mean.data(), from.data(), shift.data(), gradient.data(), loss.data(), cap, exact, n,
                         h, w * c);
      CHECK(worst(mean.read(), expected) <= 2e-7);  // three roundings below 1
    }
}

TEST_CASE("universal_gradient: a pixel on the border of [0, 1] keeps its gradient") {
  GuardedValues const mean({not_a_number, not_a_number, not_a_number, not_a_number}), x({0, 1, 0, 1}),
      v({0, 0, -0.125f, 0.125f}), g({1, -2, 3, -4}), loss({0});
  universal_gradient(stream(), mean.data(), x.data(), v.data(), g.data(), loss.data(), infinity, 1, 1, 2, 2);
  CHECK(mean.read() == Values{1, -2, 0, 0});
}

TEST_CASE("universal_mean_sign: the mean over images, zero for NaN and both zeros") {
  GuardedValues const mean({not_a_number, not_a_number, not_a_number, not_a_number}),
      delta({0.1f, -0.0f, 3, not_a_number, -1e-30f, 0, 2, -1, 5, 0, infinity, 1, 0.5f, -7, 1e-40f, -2});
  universal_mean_sign(stream(), mean.data(), delta.data(), 4, 2, 2);
  CHECK(mean.read() == Values{0.5f, -0.25f, 1, -0.25f});
}

TEST_CASE("universal_shift stays within its limit and keeps NaN") {
  GuardedValues const v({0.25f, -0.25f, 0.5f, not_a_number}), delta({0.5f, -0.5f, -0.25f, 0});
  universal_shift(stream(), v.data(), delta.data(), 0.5f, 4);
  Values const shifted = v.read();
  CHECK(Values(shifted.begin(), shifted.begin() + 3) == Values{0.5f, -0.5f, 0.25f});
  CHECK(std::isnan(shifted[3]));
}

TEST_CASE("patch_blend: nothing outside its window, between image and patch inside") {
  Values const x = uniform_values(size_t(n * per_image), 9);
  for (int64_t size : {1, 4, 9}) {
    int64_t const row = size == 9 ? 0 : 3, col = size == 9 ? 2 : 5;
    Values const patch = uniform_values(size_t(size * size * c), 10);
    for (float beta : {0.0f, 0.05f, 1.0f}) {
      Values const out = blended(x, patch, beta, row, col, size);
      int64_t wrong = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        int64_t const pixel = int64_t(i) % per_image / c, r = pixel / w - row, k = pixel % w - col;
        if (r < 0 || r >= size || k < 0 || k >= size) {
          wrong += out[i] != x[i];
          continue;
        }
        float const p = patch[size_t((r * size + k) * c) + i % size_t(c)];
        double const expected = (1 - double(beta)) * double(x[i]) + double(beta) * double(p);
        wrong += !(std::abs(double(out[i]) - expected) <= 2e-7);  // three roundings below 1
        wrong += !(out[i] >= std::min(x[i], p) && out[i] <= std::max(x[i], p));
        wrong += (beta == 0 && out[i] != x[i]) || (beta == 1 && out[i] != p);
      }
      CHECK(wrong == 0);
    }
  }
  Values spoilt = x;
  spoilt[0] = not_a_number;
  CHECK(std::isnan(blended(spoilt, uniform_values(2, 1), 0.5f, 0, 0, 1)[0]));
  CHECK(std::isnan(blended(x, {not_a_number, 0}, 0.5f, 0, 0, 1)[0]));
}

TEST_CASE("patch_blend_gradient is the adjoint of patch_blend, a mean over images") {
  int64_t const size = 4;
  float const beta = 0.3f;
  Values const x = uniform_values(size_t(n * per_image), 11), patch = uniform_values(size_t(size * size * c), 12);
  Values g = uniform_values(x.size(), 13, -1, 1);
  Values const with = blended(x, patch, beta, 2, 6, size),
               without = blended(x, Values(patch.size(), 0), beta, 2, 6, size);
  Values change;
  for (size_t i = 0; i < x.size(); ++i) change.push_back(with[i] - without[i]);
  auto const gradient = [&] {
    GuardedValues const mean(Values(patch.size(), not_a_number)), from(g);
    patch_blend_gradient(stream(), mean.data(), from.data(), beta, 2, 6, size, n, h, w, c);
    return mean.read();
  };
  CHECK(std::abs(dot(change, g) / double(n) - dot(patch, gradient())) <= 1e-6);
  g[size_t((2 * w + 6) * c)] = not_a_number;  // counts as zero
  Values const spared = gradient();
  g[size_t((2 * w + 6) * c)] = 0;
  CHECK(spared == gradient());
}

TEST_CASE("patch_warp follows its definition, and leaves what lies outside the circle as it is") {
  Values const x = uniform_values(size_t(n * per_image), 14);
  for (int64_t size : {1, 2, 5, 12}) {
    CAPTURE(size);
    Values const patch = uniform_values(size_t(size * size * c), 15);
    auto const shares = warp_shares(size, poses());
    size_t const texels = size_t(size * size);
    for (float beta : {0.0f, 0.7f, 1.0f}) {
      std::vector<double> expected;
      int64_t outside = 0, moved = 0;
      Values const out = warped(x, patch, beta, size);
      for (size_t i = 0; i < x.size(); ++i) {
        double opacity = 0, texture = 0;
        for (size_t t = 0; t < texels; ++t) {
          double const share = shares[i / size_t(c) * texels + t];
          opacity += share;
          texture += share * double(patch[t * size_t(c) + i % size_t(c)]);
        }
        expected.push_back((1 - double(beta) * opacity) * double(x[i]) + double(beta) * texture);
        if (opacity == 0) outside += out[i] != x[i];
        moved += out[i] != x[i];
      }
      CHECK(outside == 0);
      CHECK((beta == 0) == (moved == 0));
      // Opacity falls from 1 to 0 within a fortieth of the radius: roundings of 1e-7 in (u, v) come out eighty times.
      CHECK(worst(out, expected) <= 5e-5);
    }
  }
  Values const untouched = warped(x, uniform_values(2, 16), 0, 1);
  CHECK(untouched == x);
}

TEST_CASE("patch_warp_gradient is the adjoint of patch_warp, a mean over images") {
  Values const x = uniform_values(size_t(n * per_image), 17);
  Values g = uniform_values(x.size(), 18, -1, 1);
  for (int64_t size : {1, 2, 5, 12}) {
    CAPTURE(size);
    Values const patch = uniform_values(size_t(size * size * c), 19, 0.2f, 1);
    Values const with = warped(x, patch, 0.7f, size), without = warped(x, Values(patch.size(), 0), 0.7f, size);
    Values change;
    for (size_t i = 0; i < x.size(); ++i) change.push_back(with[i] - without[i]);
    double const there = dot(change, g) / double(n), back = dot(patch, warp_gradient(g, 0.7f, size));
    CHECK(std::abs(there - back) <= 2e-6);
    CHECK(std::abs(there) >= 1e-3);  // else the line above proves nothing
    // Texel by texel, against the shares in double.
    auto const shares = warp_shares(size, poses());
    std::vector<double> expected(patch.size(), 0);
    size_t const texels = size_t(size * size);
    for (size_t i = 0; i < x.size(); ++i)
      for (size_t t = 0; t < texels; ++t)
        expected[t * size_t(c) + i % size_t(c)] += 0.7 * shares[i / size_t(c) * texels + t] * double(g[i]) / double(n);
    CHECK(worst(warp_gradient(g, 0.7f, size), expected) <= 5e-5);  // as patch_warp
  }
  Values const whole = warp_gradient(g, 1, 5);
  g[size_t((4 * w + 5) * c)] = not_a_number;
  Values const spared = warp_gradient(g, 1, 5);
  g[size_t((4 * w + 5) * c)] = 0;
  CHECK(spared == warp_gradient(g, 1, 5));
  CHECK(spared != whole);
}

TEST_CASE("gaussian_smooth_axis: a weighted sum along one axis, mirrored at both ends as often as it takes") {
  for (int64_t radius : {0, 2, 7})
    for (int64_t length : {1, 3, 8}) {
      int64_t const outer = 3, inner = 5;
      Values const in = uniform_values(size_t(outer * length * inner), 20),
                   weights = uniform_values(size_t(2 * radius + 1), 21);
      std::vector<double> expected;
      for (int64_t o = 0; o < outer; ++o)
        for (int64_t i = 0; i < length; ++i)
          for (int64_t k = 0; k < inner; ++k) {
            double sum = 0;
            for (int64_t t = -radius; t <= radius; ++t) {
              int64_t at = i + t;
              while (at < 0 || at >= length) at = at < 0 ? -1 - at : 2 * length - 1 - at;
              sum += double(weights[size_t(t + radius)]) * double(in[size_t((o * length + at) * inner + k)]);
            }
            expected.push_back(sum);
          }
      GuardedValues const out(Values(in.size(), not_a_number)), from(in), by(weights);
      gaussian_smooth_axis(stream(), out.data(), from.data(), by.data(), radius, outer, length, inner);
      CHECK(worst(out.read(), expected) <= 3e-6);  // fifteen roundings of a sum below 15
    }
}
