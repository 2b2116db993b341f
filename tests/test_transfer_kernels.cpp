// The fused kernels of the transfer attacks against plain loops in double, between guard bands.
#include <algorithm>
#include <cmath>
#include <limits>

#include "attacks/difgsm.h"
#include "attacks/tifgsm.h"
#include "kernels/launch/table.h"
#include "tests/guarded.h"

using namespace mith;

namespace {

using Values = std::vector<float>;

const Kernel<float*, float*, const float*, const float*, float, float, float, int64_t*, int64_t, int64_t>
    momentum_sign_step{"momentum_sign_step"};
const Kernel<float*, const float*, const float*, float, int64_t, int64_t> mean_size_step{"mean_size_step"};
const Kernel<float*, const float*, const int64_t*, DrawKey, float, int64_t, int64_t, int64_t, int64_t>
    uniform_neighbours{"uniform_neighbours"};
const Kernel<double*, const float*, const double*, int64_t, int64_t, int64_t, int64_t> sum_copies{"sum_copies"};
using ResizePad = Kernel<float*, const float*, const int32_t*, int64_t, int64_t, int64_t, int64_t>;
const ResizePad resize_pad_forward{"resize_pad_forward"}, resize_pad_backward{"resize_pad_backward"};
using Smooth = Kernel<float*, const float*, const float*, int64_t, int64_t, int64_t, int64_t, int64_t>;
const Smooth smooth_rows{"smooth_rows"}, smooth_columns{"smooth_columns"};

const Stream& stream() { return stream_of(default_device()); }
float const not_a_number = std::nanf("");
float const infinity = std::numeric_limits<float>::infinity();

struct Moved {
  Values adv, momentum;
  int64_t bad;
};

Moved momentum_step(const Values& adv, const Values& momentum, const Values& x, const Values& g, int64_t images,
                    float mu, float alpha, float eps) {
  GuardedValues const a(adv), m(momentum), origin(x), gradient(g);
  Tensor const count = Tensor::zeros({1}, DType::i64);
  momentum_sign_step(stream(), a.data(), m.data(), origin.data(), gradient.data(), mu, alpha, eps,
                     count.data<int64_t>(), images, int64_t(adv.size()) / images);
  return {a.read(), m.read(), count.to_host<int64_t>()[0]};
}

Values neighbours(const Values& x, const std::vector<int64_t>& ids, float radius, int64_t first, int64_t copies) {
  int64_t const n = int64_t(ids.size()), per_image = int64_t(x.size()) / n;
  GuardedValues const out(Values(x.size() * size_t(copies), not_a_number)), centre(x);
  Tensor const id = Tensor::from(ids, {n});
  uniform_neighbours(stream(), out.data(), centre.data(), id.data<int64_t>(),
                     DrawKey{.seed = 6, .purpose = Purpose::noise}, radius, first, n, copies, per_image);
  return out.read();
}

/// Sums of copies of `lines` * `cols` elements, between two guards.
std::vector<double> summed(const std::vector<double>& start, const Values& values, const std::vector<double>& weights,
                           int64_t images, int64_t lines, int64_t cols) {
  std::vector<double> all{777};
  all.insert(all.end(), start.begin(), start.end());
  all.push_back(777);
  Tensor const sum = Tensor::from(all, {int64_t(all.size())});
  Tensor const w = Tensor::from(weights, {int64_t(weights.size())});
  GuardedValues const copies(values);
  sum_copies(stream(), sum.data<double>() + 1, copies.data(), w.data<double>(), images, int64_t(weights.size()), lines,
             cols);
  all = sum.to_host<double>();
  CHECK(all.front() == 777);
  CHECK(all.back() == 777);
  return {all.begin() + 1, all.end() - 1};
}

struct Size {
  int64_t n, h, w, c;
  size_t elements() const { return size_t(n * h * w * c); }
};

Values transformed(const ResizePad& kernel, const Values& x, const std::vector<int32_t>& geometry, const Size& s) {
  GuardedValues const out(Values(x.size(), not_a_number)), in(x);
  Tensor const g = Tensor::from(geometry, {s.n, 6});
  kernel(stream(), out.data(), in.data(), g.data<int32_t>(), s.n, s.h, s.w, s.c);
  return out.read();
}

/// Bilinear resize of one line, half-pixel centres.
std::vector<double> resized(const std::vector<double>& line, size_t to) {
  std::vector<double> out;
  for (size_t i = 0; i < to; ++i) {
    double const x = std::max((double(i) + 0.5) * double(line.size()) / double(to) - 0.5, 0.0);
    size_t const first = std::min(size_t(x), line.size() - 1), second = std::min(first + 1, line.size() - 1);
    out.push_back(line[first] + (x - double(first)) * (line[second] - line[first]));
  }
  return out;
}

/// Resize, pad with zeros, resize back, of one line.
std::vector<double> diverse(const std::vector<double>& line, int32_t size, int32_t before, int32_t padded) {
  std::vector<double> whole(size_t(padded), 0);
  auto const inner = resized(line, size_t(size));
  std::copy(inner.begin(), inner.end(), whole.begin() + before);
  return resized(whole, line.size());
}

/// The same of an image's rows and then its columns.
std::vector<double> diverse_image(const Values& x, const Size& s, int64_t image, const std::vector<int32_t>& g) {
  std::vector<double> out(size_t(s.h * s.w * s.c));
  auto const at = [&](int64_t i, int64_t j, int64_t k) { return size_t((i * s.w + j) * s.c + k); };
  size_t const first = size_t(image * s.h * s.w * s.c), of = size_t(image) * 6;
  for (int64_t k = 0; k < s.c; ++k) {
    for (int64_t i = 0; i < s.h; ++i) {
      std::vector<double> line;
      for (int64_t j = 0; j < s.w; ++j) line.push_back(double(x[first + at(i, j, k)]));
      line = diverse(line, g[of + 1], g[of + 3], g[of + 5]);
      for (int64_t j = 0; j < s.w; ++j) out[at(i, j, k)] = line[size_t(j)];
    }
    for (int64_t j = 0; j < s.w; ++j) {
      std::vector<double> line;
      for (int64_t i = 0; i < s.h; ++i) line.push_back(out[at(i, j, k)]);
      line = diverse(line, g[of], g[of + 2], g[of + 4]);
      for (int64_t i = 0; i < s.h; ++i) out[at(i, j, k)] = line[size_t(i)];
    }
  }
  return out;
}

double dot(const Values& a, const Values& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += double(a[i]) * double(b[i]);
  return sum;
}

Values smoothed(const Smooth& kernel, const Values& x, const Values& weights, const Size& s) {
  GuardedValues const out(Values(x.size(), not_a_number)), in(x), w(weights);
  kernel(stream(), out.data(), in.data(), w.data(), int64_t(weights.size()), s.n, s.h, s.w, s.c);
  return out.read();
}

}  // namespace

TEST_CASE("momentum_sign_step: accumulates g / mean|g| of each image and steps along its sign") {
  for (size_t d : {1, 33, 1001, 20001}) {
    int64_t const images = 3;
    size_t const n = d * 3;
    Values const x = uniform_values(n, 1), m = uniform_values(n, 2, -1, 1);
    Values adv = x, g = uniform_values(n, 3, -1, 1);
    for (size_t i = 0; i < n; ++i) adv[i] = std::clamp(x[i] + 0.02f * m[i], 0.f, 1.f);
    for (size_t i = d; i < 2 * d; ++i) g[i] *= 1e-30f;  // an image's size must not count
    float const mu = 0.75f, alpha = 0.01f, eps = 0.03f;
    Moved const moved = momentum_step(adv, m, x, g, images, mu, alpha, eps);
    CHECK(moved.bad == 0);
    int64_t wrong = 0;
    double size = 0;
    for (size_t i = 0; i < n; ++i) {
      if (i % d == 0) {
        size = 0;
        for (size_t j = i; j < i + d; ++j) size += std::abs(double(g[j])) / double(d);
      }
      double const expected = double(mu) * double(m[i]) + double(g[i]) / size;
      wrong += !(std::abs(double(moved.momentum[i]) - expected) <= 4e-7 * (1 + std::abs(expected)));
      // Compared with the kernel's own momentum: where it is nearly zero its sign is its own.
      double const sign = (moved.momentum[i] > 0) - (moved.momentum[i] < 0);
      double const ball =
          std::clamp(double(adv[i]) + double(alpha) * sign, double(x[i]) - double(eps), double(x[i]) + double(eps));
      wrong += !(std::abs(double(moved.adv[i]) - std::clamp(ball, 0.0, 1.0)) <= 1.2e-7);
    }
    CHECK(wrong == 0);
    CHECK(momentum_step(x, m, x, g, images, mu, alpha, 0).adv == x);
  }
}

TEST_CASE("momentum_sign_step: a zero gradient adds nothing, what is not finite counts as zero") {
  Values const x(8, 0.5f), m{0, 1, -1, 0, 2, -2, 0, 0};
  Moved const still = momentum_step(x, m, x, Values(8, 0), 2, 0.5f, 0.125f, 0.25f);
  CHECK(still.momentum == Values{0, 0.5f, -0.5f, 0, 1, -1, 0, 0});
  CHECK(still.adv == Values{0.5f, 0.625f, 0.375f, 0.5f, 0.625f, 0.375f, 0.5f, 0.5f});
  CHECK(still.bad == 0);
  Values const g{not_a_number, infinity, 3, -5, -infinity, not_a_number, -0.0f, 0};
  Moved const moved = momentum_step(x, Values(8, 0), x, g, 2, 1, 0.125f, 0.25f);
  CHECK(moved.bad == 4);
  CHECK(moved.momentum == Values{0, 0, 1.5f, -2.5f, 0, 0, 0, 0});  // mean |g| of the first image: (0 + 0 + 3 + 5) / 4
  CHECK(moved.adv == Values{0.5f, 0.5f, 0.625f, 0.375f, 0.5f, 0.5f, 0.5f, 0.5f});
  // Old momentum does not move a pixel either.
  Moved const frozen =
      momentum_step(x, m, x, {0, not_a_number, infinity, 6, -2, not_a_number, 2, 0}, 2, 0.5f, 0.125f, 1);
  CHECK(frozen.adv == Values{0.5f, 0.5f, 0.5f, 0.625f, 0.375f, 0.5f, 0.625f, 0.5f});
  CHECK(std::isnan(momentum_step({not_a_number}, {0}, {0.5f}, {1}, 1, 1, 0.1f, 0.1f).adv[0]));
}

TEST_CASE("mean_size_step: length g / mean|g|, whatever the gradient's size") {
  size_t const d = 501;
  Values const x = uniform_values(3 * d, 4);
  Values g = uniform_values(3 * d, 5, -1, 1);
  for (size_t i = 0; i < d; ++i) g[i] *= 1e-32f, g[2 * d + i] = 0;
  GuardedValues const out(Values(3 * d, not_a_number)), images(x), gradient(g);
  mean_size_step(stream(), out.data(), images.data(), gradient.data(), -0.02f, 3, int64_t(d));
  Values const moved = out.read();
  for (size_t image = 0; image < 2; ++image) {
    double mean = 0, worst = 0;
    for (size_t i = image * d; i < (image + 1) * d; ++i) mean += std::abs(double(g[i])) / double(d);
    for (size_t i = image * d; i < (image + 1) * d; ++i)
      worst = std::max(worst, std::abs(double(moved[i]) - (double(x[i]) - double(0.02f) * double(g[i]) / mean)));
    CHECK(worst <= 1.2e-7);
  }
  CHECK(std::equal(moved.begin() + long(2 * d), moved.end(), x.begin() + long(2 * d)));
}

TEST_CASE("uniform_neighbours: uniform around the image, keyed by image, copy and element") {
  size_t const d = 2001, copies = 5;
  Values x = uniform_values(2 * d, 7);
  Values const all = neighbours(x, {40, 3}, 0.3f, 0, copies);
  double mean = 0, square = 0;
  int64_t outside = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    double const u = (double(all[i]) - double(x[i / (copies * d) * d + i % d])) / 0.3;
    outside += !(std::abs(u) <= 1 + 1e-6);
    mean += u / double(all.size());
    square += u * u / double(all.size());
  }
  CHECK(outside == 0);
  CHECK(std::abs(mean) <= 0.02);  // five standard errors of 0.58 / sqrt(20010)
  CHECK(std::abs(square - 1.0 / 3) <= 0.011);
  // Copies 2 and 3 alone, and the images the other way round.
  Values turned(x.begin() + long(d), x.end());
  turned.insert(turned.end(), x.begin(), x.begin() + long(d));
  Values const part = neighbours(turned, {3, 40}, 0.3f, 2, 2);
  CHECK(std::equal(part.begin() + long(2 * d), part.end(), all.begin() + long(2 * d)));
  CHECK(std::equal(part.begin(), part.begin() + long(2 * d), all.begin() + long((copies + 2) * d)));
  // With equal centres nothing but the draws could tell two copies apart.
  Values const flat = neighbours(Values(d, 0.5f), {40}, 0.3f, 0, 2);
  CHECK_FALSE(std::equal(flat.begin(), flat.begin() + long(d), flat.begin() + long(d)));
  Values const same = neighbours(x, {40, 3}, 0, 0, 2);
  CHECK(std::equal(same.begin(), same.begin() + long(d), x.begin()));
}

TEST_CASE("sum_copies: the weighted sum, in one order however the copies are cut") {
  int64_t const images = 3, lines = 5, cols = 71, copies = 7;
  size_t const d = size_t(lines * cols);
  Values const values = uniform_values(size_t(images * copies) * d, 9, -1, 1);
  std::vector<double> const weights{0.5, -1, 0.25, 1.0 / 3, 2, 0, 1e-9}, nothing(size_t(images) * d, 0);
  auto const whole = summed(nothing, values, weights, images, lines, cols);
  double worst = 0;
  for (size_t i = 0; i < whole.size(); ++i) {
    double expected = 0;
    for (size_t j = 0; j < size_t(copies); ++j)
      expected += weights[j] * double(values[(i / d * size_t(copies) + j) * d + i % d]);
    worst = std::max(worst, std::abs(whole[i] - expected));
  }
  CHECK(worst <= 1e-14);
  std::vector<double> parts = nothing;
  for (auto const& [first, count] : {std::pair<size_t, size_t>{0, 3}, {3, 1}, {4, 3}}) {
    Values chunk;
    for (size_t image = 0; image < size_t(images); ++image) {
      auto const begin = values.begin() + long((image * size_t(copies) + first) * d);
      chunk.insert(chunk.end(), begin, begin + long(count * d));
    }
    parts = summed(parts, chunk, {weights.begin() + long(first), weights.begin() + long(first + count)}, images, lines,
                   cols);
  }
  CHECK(parts == whole);
  // The mean of equal copies is the copy.
  Values twenty, once = uniform_values(d, 10, -1, 1);
  for (int j = 0; j < 20; ++j) twenty.insert(twenty.end(), once.begin(), once.end());
  auto const mean = summed(std::vector<double>(d, 0), twenty, std::vector<double>(20, 1 / 20.0), 1, lines, cols);
  CHECK(Values(mean.begin(), mean.end()) == once);
}

TEST_CASE("resize_pad: resized, padded and brought back as three steps would, each image in its own way") {
  Size const s{4, 9, 12, 3};
  // Unchanged; shrunk and padded; enlarged, padded and brought back; shrunk to a pixel.
  std::vector<int32_t> const g{9,  12, 0, 0, 9,  12, 7, 10, 1, 2, 9, 12,  //
                               10, 13, 2, 1, 13, 17, 1, 1,  4, 7, 9, 12};
  Values const x = uniform_values(s.elements(), 20, -1, 1), y = transformed(resize_pad_forward, x, g, s);
  size_t const d = s.elements() / 4;
  CHECK(std::equal(y.begin(), y.begin() + long(d), x.begin()));
  for (int64_t image = 0; image < s.n; ++image) {
    auto const expected = diverse_image(x, s, image, g);
    double worst = 0;
    for (size_t i = 0; i < d; ++i) worst = std::max(worst, std::abs(double(y[size_t(image) * d + i]) - expected[i]));
    CAPTURE(image);
    CHECK(worst <= 2e-6);  // source coordinates up to 17 in f32
  }
}

TEST_CASE("resize_pad: backward is the adjoint of forward for every size and offset") {
  Size const s{1, 10, 7, 2};
  Values const x = uniform_values(s.elements(), 21, -1, 1), y = uniform_values(s.elements(), 22, -1, 1);
  int64_t cases = 0;
  for (int32_t padded : {10, 11, 13, 20})
    for (int32_t size = padded > 10 ? 10 : 1; size <= padded; size += 1 + padded / 7)
      for (int32_t before = 0; before <= padded - size; before += 1 + (padded - size) / 2) {
        int32_t const width = std::max(1, size * 7 / 10), padded_width = padded * 7 / 10;
        std::vector<int32_t> const g{size, width, before, (padded_width - width) / 2, padded, padded_width};
        double const left = dot(transformed(resize_pad_forward, x, g, s), y);
        double const right = dot(x, transformed(resize_pad_backward, y, g, s));
        CAPTURE(size);
        CAPTURE(before);
        CAPTURE(padded);
        CHECK(std::abs(left - right) <= 2e-5);  // sums of 140 products
        ++cases;
      }
  CHECK(cases >= 20);
  std::vector<int32_t> const same{10, 7, 0, 0, 10, 7};
  CHECK(transformed(resize_pad_backward, y, same, s) == y);
}

TEST_CASE("smoothing: each channel convolved with zeros beyond the border") {
  for (Size const& s : {Size{2, 6, 9, 3}, Size{1, 5, 4, 1}, Size{2, 1, 70, 2}})
    for (size_t size : {1, 3, 5, 15}) {
      Values const x = uniform_values(s.elements(), 30, -1, 1), w = uniform_values(size, 31);
      Values const rows = smoothed(smooth_rows, x, w, s), columns = smoothed(smooth_columns, x, w, s);
      int64_t const reach = int64_t(size) / 2;
      int64_t wrong = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        int64_t const column = int64_t(i) / s.c % s.w, row = int64_t(i) / (s.c * s.w) % s.h;
        double along = 0, across = 0;
        for (int64_t u = -reach; u <= reach; ++u) {
          double const weight = double(w[size_t(u + reach)]);
          if (column + u >= 0 && column + u < s.w) along += weight * double(x[size_t(int64_t(i) + u * s.c)]);
          if (row + u >= 0 && row + u < s.h) across += weight * double(x[size_t(int64_t(i) + u * s.c * s.w)]);
        }
        wrong += !(std::abs(double(rows[i]) - along) <= 3e-6);
        wrong += !(std::abs(double(columns[i]) - across) <= 3e-6);
      }
      CAPTURE(size);
      CHECK(wrong == 0);
      if (size == 1) CHECK(smoothed(smooth_rows, x, {1}, s) == x);
      if (size == 1) CHECK(smoothed(smooth_columns, x, {1}, s) == x);
    }
}

TEST_CASE("smoothing keeps a uniform image away from the borders, and is its own adjoint") {
  Size const s{1, 20, 22, 3};
  Shape const shape{s.n, s.h, s.w, s.c};
  for (const char* kind : {"gaussian", "uniform", "linear"}) {
    CAPTURE(kind);
    Values const w = smoothing_weights(kind, 7);
    Values const even = smooth(Tensor::full(shape, 0.5), w).to_host<float>();
    double worst = 0;
    for (int64_t i = 3; i < s.h - 3; ++i)
      for (int64_t j = 3 * s.c; j < (s.w - 3) * s.c; ++j)
        worst = std::max(worst, std::abs(double(even[size_t(i * s.w * s.c + j)]) - 0.5));
    CHECK(worst <= 2e-7);
    CHECK(even[0] < 0.4f);  // zeros came in over the border
    Values const x = uniform_values(s.elements(), 33, -1, 1), y = uniform_values(s.elements(), 34, -1, 1);
    double const left = dot(smooth(Tensor::from(x, shape), w).to_host<float>(), y);
    CHECK(std::abs(left - dot(x, smooth(Tensor::from(y, shape), w).to_host<float>())) <= 1e-4);
  }
}
