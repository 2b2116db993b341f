// The kernels that make altered copies of images, against double arithmetic written out, between guard bands: scaled
// and masked mixes, random styles. (test_block_kernels.cpp has the moves of blocks.)
#include <doctest/doctest.h>

#include <cmath>

#include "kernels/launch/table.h"
#include "kernels/map/mixed_copies.h"
#include "kernels/map/random_style.h"
#include "tests/guarded.h"

using namespace mith;

namespace {

using Values = std::vector<float>;

const Kernel<float*, const float*, const float*, const int64_t*, float, MixedCopies> scaled_mixes{"scaled_mixes"};
const Kernel<float*, const float*, const float*, const int64_t*, MixMask, MixedCopies> masked_mixes{"masked_mixes"},
    masked_mixes_back{"masked_mixes_back"};
const Kernel<float*, const int64_t*, DrawKey, StyledCopies> random_filters{"random_filters"};
const Kernel<float*, const float*, const float*, StyledCopies> random_convolution{"random_convolution"};
const Kernel<float*, float*, const float*, int64_t, int64_t, int64_t> channel_moments{"channel_moments"};
const Kernel<float*, const float*, const float*, const float*, const float*, const float*, const float*, const int64_t*,
             const int64_t*, DrawKey, float, StyledCopies>
    style_maps{"style_maps"};
const Kernel<float*, const float*, const float*, const float*, const int64_t*, DrawKey, StyleMix, StyledCopies>
    styled_copies{"styled_copies"};

const Stream& stream() { return stream_of(default_device()); }
Values unset(int64_t n) { return Values(static_cast<size_t>(n), std::nanf("")); }
Tensor ids_of(const std::vector<int64_t>& ids) { return Tensor::from(ids, {int64_t(ids.size())}); }

/// Partners of two images at three draws, from a pool of four.
const std::vector<int64_t> partner_rows{2, -1, 0, 3, 3, 1};
double factor_of(const MixMask& m, int64_t scale, int64_t scales) {
  return scales > 1 ? m.low + (double(m.high) - m.low) * double(scale) / double(scales - 1) : double(m.low);
}

}  // namespace

TEST_CASE("scaled_mixes and masked_mixes: any stretch of the copies, with and without partners") {
  int64_t const d = 301, scales = 4, draws = 3;
  Values const x = uniform_values(size_t(2 * d), 1), pool = uniform_values(size_t(4 * d), 2);
  Tensor const rows = ids_of(partner_rows);
  MixMask const mask{.low = 0.25f, .high = 1.75f, .r = 0.5f};
  for (bool partnered : {true, false}) {
    for (auto [first, count] : {std::pair<int64_t, int64_t>{0, 12}, {5, 3}, {11, 1}}) {
      MixedCopies const s{
          .images = 2, .first = first, .count = count, .draws = draws, .scales = scales, .per_image = d};
      Values const g = uniform_values(size_t(s.rows() * d), 3, -1, 1);
      GuardedValues const from(x), others(pool), mixes(unset(s.rows() * d)), masked(unset(s.rows() * d)), back(g);
      const int64_t* const partners = partnered ? rows.data<int64_t>() : nullptr;
      scaled_mixes(stream(), mixes.data(), from.data(), others.data(), partners, 0.2f, s);
      masked_mixes(stream(), masked.data(), from.data(), others.data(), partners, mask, s);
      masked_mixes_back(stream(), back.data(), from.data(), others.data(), partners, mask, s);
      Values const a = mixes.read(), b = masked.read(), c = back.read();
      int64_t wrong = 0, clamped = 0;
      for (int64_t row = 0; row < s.rows(); ++row) {
        int64_t const image = row / count, copy = first + row % count, scale = copy % scales;
        int64_t const partner = partnered ? partner_rows[size_t(image * draws + copy / scales)] : -1;
        for (int64_t i = 0; i < d; ++i) {
          size_t const at = size_t(row * d + i);
          double const own = x[size_t(image * d + i)], other = partner < 0 ? 0 : pool[size_t(partner * d + i)];
          wrong += !(std::abs(a[at] - std::ldexp(own + 0.2 * other, -int(scale))) <= 2e-7);
          double const m = partner < 0 ? 1 : 0.5 + other, s_m = factor_of(mask, scale, scales) * m, moved = s_m * own;
          wrong += !(std::abs(b[at] - std::clamp(moved, 0.0, 1.0)) <= 3e-7);
          clamped += moved > 1;
          if (std::abs(moved - 1) <= 1e-6) continue;  // rounding decides on which side of the edge it lies
          wrong += !(std::abs(c[at] - (moved > 1 ? 0 : s_m * double(g[at]))) <= 1e-6);
        }
      }
      CHECK(wrong == 0);
      if (count > 1) CHECK(clamped > 0);  // otherwise the clamp was not met
    }
  }
}

TEST_CASE("mixed copies keep NaN, and one scale is the first") {
  float const nan = std::nanf("");
  MixedCopies const s{.images = 1, .first = 0, .count = 1, .draws = 1, .scales = 1, .per_image = 3};
  Tensor const rows = ids_of({0});
  GuardedValues const x({nan, 0.5f, 1}), pool({0.5f, nan, 0.5f}), out(unset(3)), masked(unset(3));
  scaled_mixes(stream(), out.data(), x.data(), pool.data(), rows.data<int64_t>(), 0.5f, s);
  masked_mixes(stream(), masked.data(), x.data(), pool.data(), rows.data<int64_t>(), MixMask{0.5f, 1, 0.5f}, s);
  Values const a = out.read(), b = masked.read();
  CHECK(std::isnan(a[0]));
  CHECK(std::isnan(a[1]));
  CHECK(a[2] == 1.25f);
  CHECK(std::isnan(b[0]));
  CHECK(std::isnan(b[1]));
  CHECK(b[2] == 0.5f);
}

TEST_CASE("channel_moments: means and deviations of channels, those that hardly vary too") {
  int64_t const n = 3, pixels = 1501, c = 3;
  Values x = uniform_values(size_t(n * pixels * c), 4);
  for (size_t i = 1; i < x.size(); i += 3) x[i] = 0.75f + 1e-6f * float(i % 2);  // channel 1
  GuardedValues const from(x), mean(unset(n * c)), deviation(unset(n * c));
  channel_moments(stream(), mean.data(), deviation.data(), from.data(), n, pixels, c);
  Values const m = mean.read(), s = deviation.read();
  for (size_t i = 0; i < size_t(n * c); ++i) {
    auto const value = [&](int64_t p) { return double(x[size_t((int64_t(i) / c * pixels + p) * c + int64_t(i) % c)]); };
    double sum = 0, squares = 0;
    for (int64_t p = 0; p < pixels; ++p) sum += value(p);
    for (int64_t p = 0; p < pixels; ++p) squares += std::pow(value(p) - sum / double(pixels), 2);
    CHECK(std::abs(m[i] - sum / double(pixels)) <= 1e-7);
    CHECK(std::abs(s[i] / std::sqrt(squares / double(pixels)) - 1) <= 1e-6);
  }
}

TEST_CASE("random_filters: sides of 1 to 7 alike, He's variance, keyed by image and copy") {
  StyledCopies const s{.images = 200, .first = 0, .count = 4, .copies = 8, .convolved = 3, .h = 1, .w = 1, .c = 3};
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < s.images; ++i) ids.push_back(3 * i + 1);
  DrawKey const key{.seed = 3, .purpose = Purpose::initialise};
  auto const drawn = [&](const std::vector<int64_t>& of, StyledCopies shape) {
    shape.images = int64_t(of.size());
    GuardedValues const filters(unset(shape.images * shape.convolved * shape.filter()));
    random_filters(stream(), filters.data(), ids_of(of).data<int64_t>(), key, shape);
    return filters.read();
  };
  Values const all = drawn(ids, s);
  size_t const size = size_t(s.filter());
  int64_t sides[8] = {};
  double squares = 0, count = 0;
  for (size_t row = 0; row < size_t(s.images * s.convolved); ++row) {
    size_t const side = size_t(all[row * size]);
    REQUIRE((side == 1 || side == 3 || side == 5 || side == 7));
    ++sides[side];
    for (size_t i = 0; i < side * side * 9; ++i) {
      squares += std::pow(double(all[row * size + 1 + i]), 2) * double(side * side * 3) / 2;
      ++count;
    }
  }
  for (int side : {1, 3, 5, 7}) CHECK(std::abs(double(sides[side]) - 150) <= 5 * 10.6);  // five deviations of 600 draws
  CHECK(std::abs(squares / count - 1) <= 5 * std::sqrt(2 / count));
  // Copy 2 of image 4 alone.
  StyledCopies one = s;
  one.first = 2, one.count = one.convolved = 1;
  size_t const at = (4 * 3 + 2) * size;
  CHECK(drawn({ids[4]}, one) == Values(all.begin() + long(at), all.begin() + long(at + size)));
}

TEST_CASE("random_convolution: borders repeat, every channel has its weights") {
  for (int64_t c : {1, 3}) {
    StyledCopies const s{.images = 2, .first = 3, .count = 4, .copies = 9, .convolved = 3, .h = 5, .w = 9, .c = c};
    Values const x = uniform_values(size_t(2 * 45 * c), 5);
    Values filters = uniform_values(size_t(6 * s.filter()), 6, -1, 1);
    int64_t const sides[] = {1, 3, 7, 5, 7, 1};
    for (size_t i = 0; i < 6; ++i) filters[i * size_t(s.filter())] = float(sides[i]);
    GuardedValues const out(unset(6 * 45 * c)), from(x), weights(filters);
    random_convolution(stream(), out.data(), from.data(), weights.data(), s);
    Values const y = out.read();
    double worst = 0;
    for (int64_t row = 0; row < 6; ++row) {
      int64_t const side = sides[row];
      for (int64_t i = 0; i < 45 * c; ++i) {
        int64_t const k = i % c, column = i / c % 9, line = i / c / 9;
        double sum = 0;
        for (int64_t a = 0; a < side; ++a)
          for (int64_t b = 0; b < side; ++b)
            for (int64_t l = 0; l < c; ++l) {
              int64_t const r = std::clamp<int64_t>(line + a - side / 2, 0, 4);
              int64_t const v = std::clamp<int64_t>(column + b - side / 2, 0, 8);
              sum += double(filters[size_t(row * s.filter() + 1 + ((k * side + a) * side + b) * c + l)]) *
                     double(x[size_t(((row / 3 * 5 + r) * 9 + v) * c + l)]);
            }
        double const gap = std::abs(y[size_t(row * 45 * c + i)] - sum);
        if (!(gap <= worst)) worst = gap;
      }
    }
    CHECK(worst <= 2e-5);  // 147 roundings of sums up to about 8
  }
}

TEST_CASE("style_maps and styled_copies: each channel gets the mean and deviation that it is told") {
  int64_t const h = 6, w = 7, c = 3, pixels = h * w, d = pixels * c;
  // Copies 2 to 4 of seven: two convolved, one with the statistics of a pool image.
  StyledCopies const s{.images = 2, .first = 2, .count = 3, .copies = 7, .convolved = 2, .h = h, .w = w, .c = c};
  std::vector<int64_t> partners(14, 99);
  partners[4] = 1, partners[7 + 4] = -1;
  Tensor const ids = ids_of({5, 8}), rows = ids_of(partners);
  Values const x = uniform_values(size_t(2 * d), 7), convolved = uniform_values(size_t(4 * d), 8, -3, 2),
               pool = uniform_values(size_t(2 * d), 9, 0.4f, 0.6f);
  auto const moments = [&](const Values& v, int64_t n) {
    GuardedValues const from(v), mean(unset(n * c)), deviation(unset(n * c));
    channel_moments(stream(), mean.data(), deviation.data(), from.data(), n, pixels, c);
    return std::pair(mean.read(), deviation.read());
  };
  auto const own = moments(x, 2), of_convolved = moments(convolved, 4), of_pool = moments(pool, 2);
  auto const styled = [&](float jitter, StyleMix mix) {
    GuardedValues const maps(unset(s.rows() * 2 * c)), m(own.first), sd(own.second), cm(of_convolved.first),
        cs(of_convolved.second), pm(of_pool.first), ps(of_pool.second);
    style_maps(stream(), maps.data(), m.data(), sd.data(), cm.data(), cs.data(), pm.data(), ps.data(),
               rows.data<int64_t>(), ids.data<int64_t>(), DrawKey{.seed = 1, .purpose = Purpose::augment}, jitter, s);
    GuardedValues const out(unset(s.rows() * d)), from(x), conv(convolved), read_maps(maps.read());
    styled_copies(stream(), out.data(), from.data(), conv.data(), read_maps.data(), ids.data<int64_t>(),
                  DrawKey{.seed = 1, .purpose = Purpose::noise}, mix, s);
    return out.read();
  };
  Values const style = styled(0, {.gamma = 0, .reach = 0});
  auto const result = moments(style, 6);
  for (size_t row = 0; row < 6; ++row) {
    size_t const image = row / 3, copy = row % 3;
    for (size_t k = 0; k < 3; ++k) {
      bool const from_pool = copy == 2 && image == 0;
      float const mean = from_pool ? of_pool.first[3 + k] : own.first[3 * image + k];
      float const deviation = from_pool ? of_pool.second[3 + k] : own.second[3 * image + k];
      CHECK(std::abs(result.first[3 * row + k] - mean) <= 1e-6);
      CHECK(std::abs(result.second[3 * row + k] - deviation) <= 1e-6);
    }
  }
  // A convolved copy is its convolution, stretched: it rises where that rises.
  CHECK((style[0] < style[3]) == (convolved[0] < convolved[3]));
  // The image itself where it is its own partner, and where gamma is 1.
  for (size_t i = 0; i < size_t(d); ++i) CHECK(std::abs(style[size_t(5 * d) + i] - x[size_t(d) + i]) <= 1e-6);
  Values const same = styled(0.1f, {.gamma = 1, .reach = 0});
  int64_t changed = 0;
  for (size_t i = 0; i < same.size(); ++i) changed += !(same[i] == x[i / size_t(3 * d) * size_t(d) + i % size_t(d)]);
  CHECK(changed == 0);
  // Jitter changes the drawn statistics by a tenth at most; noise stays within its reach and differs by copy.
  auto const jittered = moments(styled(0.1f, {.gamma = 0, .reach = 0}), 6);
  float const ratio = jittered.second[6] / of_pool.second[3];
  CHECK((ratio >= 0.9f - 1e-5f && ratio <= 1.1f + 1e-5f));
  CHECK(std::abs(ratio - 1) > 1e-4f);
  CHECK(std::abs(jittered.second[0] / own.second[0] - 1) <= 1e-5);
  Values const noisy = styled(0, {.gamma = 1, .reach = 0.25f});
  double mean_square = 0;
  for (size_t i = 0; i < noisy.size(); ++i) {
    double const noise = double(noisy[i]) - double(same[i]);
    if (!(std::abs(noise) <= 0.25 + 1e-6)) FAIL("noise beyond its reach");
    mean_square += noise * noise / double(noisy.size());
  }
  CHECK(std::abs(mean_square - 0.0625 / 3) <= 0.004);  // five deviations of 756 draws
  CHECK(noisy[0] != noisy[size_t(d)]);
}

TEST_CASE("a flat channel takes on a mean and no deviation") {
  StyledCopies const s{.images = 1, .first = 0, .count = 1, .copies = 1, .convolved = 1, .h = 1, .w = 2, .c = 1};
  GuardedValues const maps(unset(2)), mean({0.5f}), deviation({0.25f}), flat_mean({3}), flat_deviation({0});
  Tensor const ids = ids_of({1});
  style_maps(stream(), maps.data(), mean.data(), deviation.data(), flat_mean.data(), flat_deviation.data(), mean.data(),
             deviation.data(), ids.data<int64_t>(), ids.data<int64_t>(), DrawKey{}, 0.1f, s);
  CHECK(maps.read() == Values{0, 0.5f});
}
