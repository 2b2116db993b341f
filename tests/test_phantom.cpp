// Phantoms: every draw keyed, every pixel written, and nothing a linear rule or a mean colour could live on.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "data/dataset.h"

using namespace mith;

namespace {

constexpr int64_t kClasses = 5;

std::unique_ptr<Phantom> histology() { return PhantomRegistry::make(Spec{"histology", {}}, "phantom"); }

std::vector<uint8_t> draw(const Phantom& phantom, int64_t size, int32_t label, int64_t id, uint64_t seed = 0) {
  std::vector<uint8_t> pixels(size_t(size * size * phantom.channels()), 0xA5);
  phantom.draw(pixels.data(), size, label, id, DrawKey{.seed = seed});
  return pixels;
}

double mean_difference(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::abs(int(a[i]) - int(b[i]));
  return sum / double(a.size());
}

using Matrix = std::vector<std::vector<double>>;

/// Mean of each cell of a cells x cells grid, in [0, 1], channels kept: the features of one image.
std::vector<double> downsampled(const std::vector<uint8_t>& pixels, int64_t size, int64_t cells) {
  int64_t const width = size / cells;
  std::vector<double> features(size_t(cells * cells * 3));
  for (int64_t row = 0; row < cells * width; ++row)
    for (int64_t column = 0; column < cells * width; ++column)
      for (int64_t c = 0; c < 3; ++c)
        features[size_t(((row / width) * cells + column / width) * 3 + c)] +=
            pixels[size_t((row * size + column) * 3 + c)] / (255.0 * double(width * width));
  return features;
}

/// Solves (k + ridge I) a = y for symmetric positive definite k [n,n], y [n][columns], by Cholesky.
Matrix solve_ridge(Matrix k, double ridge, Matrix y) {
  size_t const n = k.size(), columns = y[0].size();
  for (size_t i = 0; i < n; ++i) k[i][i] += ridge;
  for (size_t i = 0; i < n; ++i)
    for (size_t j = 0; j <= i; ++j) {
      double sum = k[i][j];
      for (size_t m = 0; m < j; ++m) sum -= k[i][m] * k[j][m];
      k[i][j] = i == j ? std::sqrt(sum) : sum / k[j][j];
    }
  for (size_t c = 0; c < columns; ++c) {
    for (size_t i = 0; i < n; ++i) {
      for (size_t m = 0; m < i; ++m) y[i][c] -= k[i][m] * y[m][c];
      y[i][c] /= k[i][i];
    }
    for (size_t i = n; i-- > 0;) {
      for (size_t m = i + 1; m < n; ++m) y[i][c] -= k[m][i] * y[m][c];
      y[i][c] /= k[i][i];
    }
  }
  return y;
}

double inner(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// Test accuracy of ridge regression onto one-hot labels (image i has class i % 5) in its dual form: the best strength
/// of several, chosen in the classifier's favour on the test images themselves.
double best_ridge_accuracy(Matrix train, Matrix test) {
  std::vector<double> mean(train[0].size());
  for (auto& image : train)
    for (size_t f = 0; f < mean.size(); ++f) mean[f] += image[f] / double(train.size());
  for (Matrix* set : {&train, &test})
    for (auto& image : *set)
      for (size_t f = 0; f < mean.size(); ++f) image[f] -= mean[f];
  Matrix gram(train.size(), std::vector<double>(train.size())),
      targets(train.size(), std::vector<double>(kClasses, -0.2));
  for (size_t i = 0; i < train.size(); ++i) {
    for (size_t j = 0; j <= i; ++j) gram[i][j] = gram[j][i] = inner(train[i], train[j]);
    targets[i][i % kClasses] += 1;
  }
  double best = 0;
  for (double const ridge : {3.0, 30.0, 300.0}) {
    Matrix const weights = solve_ridge(gram, ridge, targets);
    int64_t right = 0;
    for (size_t t = 0; t < test.size(); ++t) {
      std::array<double, kClasses> score{};
      for (size_t i = 0; i < train.size(); ++i) {
        double const similarity = inner(test[t], train[i]);
        for (size_t c = 0; c < kClasses; ++c) score[c] += similarity * weights[i][c];
      }
      right += size_t(std::max_element(score.begin(), score.end()) - score.begin()) == t % kClasses;
    }
    best = std::max(best, double(right) / double(test.size()));
  }
  return best;
}

}  // namespace

TEST_CASE("phantoms: every one is registered whole") {
  CHECK(PhantomRegistry::rows().count("histology") == 1);
  for (auto const& name : PhantomRegistry::names()) {
    CAPTURE(name);
    auto const phantom = PhantomRegistry::make(Spec{name, {}}, "phantom");
    auto const names = phantom->class_names();
    CHECK(names.size() >= 2);
    CHECK(std::is_sorted(names.begin(), names.end()));
    CHECK(std::set<std::string>(names.begin(), names.end()).size() == names.size());
    CHECK((phantom->channels() == 1 || phantom->channels() == 3));
    CHECK(phantom->default_size() >= 28);
    // Every class gets the same number of images when labels go round.
    CHECK(phantom->default_count() % int64_t(names.size()) == 0);
    CHECK_FALSE(PhantomRegistry::rows().at(name).entry.summary.empty());
  }
}

TEST_CASE("phantoms: key, id and label determine the bytes, in any order") {
  for (auto const& name : PhantomRegistry::names()) {
    CAPTURE(name);
    auto const phantom = PhantomRegistry::make(Spec{name, {}}, "phantom");
    int const classes = int(phantom->class_names().size());
    std::vector<std::vector<uint8_t>> forward;
    for (int i = 0; i < 2 * classes; ++i) forward.push_back(draw(*phantom, 48, i % classes, i, 7));
    for (int i = 2 * classes; i-- > 0;) CHECK(draw(*phantom, 48, i % classes, i, 7) == forward[size_t(i)]);
    std::vector<std::vector<uint8_t>> parallel(forward.size());
#pragma omp parallel for num_threads(3) schedule(dynamic)
    for (int i = 0; i < 2 * classes; ++i) parallel[size_t(i)] = draw(*phantom, 48, i % classes, i, 7);
    CHECK(parallel == forward);
    for (int i = 0; i < classes; ++i) {
      CHECK(mean_difference(forward[size_t(i)], draw(*phantom, 48, i, i, 8)) > 1);                  // another seed
      CHECK(mean_difference(forward[size_t(i)], draw(*phantom, 48, i, i + 100, 7)) > 1);            // another id
      CHECK(mean_difference(forward[size_t(i)], draw(*phantom, 48, (i + 1) % classes, i, 7)) > 1);  // another class
    }
  }
}

TEST_CASE("phantoms: every pixel is written and none beside the image") {
  constexpr size_t kGuard = 4096;
  for (auto const& name : PhantomRegistry::names()) {
    auto const phantom = PhantomRegistry::make(Spec{name, {}}, "phantom");
    for (int64_t const size : {32, 64, 100}) {
      CAPTURE(name);
      CAPTURE(size);
      size_t const bytes = size_t(size * size * phantom->channels());
      int const classes = int(phantom->class_names().size());
      for (int32_t label = 0; label < classes; ++label) {
        std::vector<uint8_t> low(bytes + 2 * kGuard, 0x00), high(bytes + 2 * kGuard, 0xFF);
        phantom->draw(low.data() + kGuard, size, label, label + 11, DrawKey{});
        phantom->draw(high.data() + kGuard, size, label, label + 11, DrawKey{});
        // Drawn over two different poisons: equal bytes were all written.
        CHECK(std::equal(low.begin() + kGuard, low.end() - kGuard, high.begin() + kGuard));
        CHECK(std::count(low.begin(), low.begin() + kGuard, 0x00) == kGuard);
        CHECK(std::count(low.end() - kGuard, low.end(), 0x00) == kGuard);
        CHECK(std::count(high.begin(), high.begin() + kGuard, 0xFF) == kGuard);
        CHECK(std::count(high.end() - kGuard, high.end(), 0xFF) == kGuard);
      }
    }
  }
}

TEST_CASE("phantoms: a label beyond the classes is refused") {
  auto const phantom = histology();
  std::vector<uint8_t> pixels(32 * 32 * 3);
  CHECK_THROWS_AS(phantom->draw(pixels.data(), 32, int32_t(kClasses), 0, DrawKey{}), Error);
  CHECK_THROWS_AS(phantom->draw(pixels.data(), 32, -1, 0, DrawKey{}), Error);
}

TEST_CASE("histology: the field of view is the same at every size") {
  auto const phantom = histology();
  for (int32_t label = 0; label < kClasses; ++label) {
    CAPTURE(label);
    auto const small = downsampled(draw(*phantom, 64, label, 3), 64, 16),
               large = downsampled(draw(*phantom, 128, label, 3), 128, 16);
    auto const other = downsampled(draw(*phantom, 128, label, 3 + kClasses), 128, 16);
    double same = 0, different = 0;
    for (size_t i = 0; i < small.size(); ++i) {
      same += std::abs(small[i] - large[i]) / double(small.size());
      different += std::abs(small[i] - other[i]) / double(small.size());
    }
    // Edges are softened by a pixel, which at 64 pixels moves a cell's mean by a few grey levels; another scene moves
    // it by tens.
    CHECK(same <= 0.02);
    CHECK(same <= 0.25 * different);
  }
}

TEST_CASE("histology: classes vary within and share their colours") {
  auto const phantom = histology();
  constexpr int64_t kImages = 400, kSize = 32;
  std::vector<std::vector<uint8_t>> images;
  Matrix colours;
  for (int64_t i = 0; i < kImages; ++i) {
    images.push_back(draw(*phantom, kSize, int32_t(i % kClasses), i));
    colours.push_back(downsampled(images.back(), kSize, 1));
  }
  Matrix means(kClasses, std::vector<double>(3));
  for (int64_t i = 0; i < kImages / 2; ++i)
    for (size_t c = 0; c < 3; ++c)
      means[size_t(i % kClasses)][c] += colours[size_t(i)][c] / double(kImages / 2 / kClasses);
  int right = 0;
  for (int64_t i = kImages / 2; i < kImages; ++i) {
    auto const far = [&](size_t c) {
      std::vector<double> d(3);
      for (size_t k = 0; k < 3; ++k) d[k] = colours[size_t(i)][k] - means[c][k];
      return inner(d, d);
    };
    size_t nearest = 0;
    for (size_t c = 1; c < kClasses; ++c)
      if (far(c) < far(nearest)) nearest = c;
    right += nearest == size_t(i % kClasses);
  }
  CHECK(right <= 0.45 * double(kImages / 2));

  for (int64_t label = 0; label < kClasses; ++label) {
    CAPTURE(label);
    double sum = 0;
    for (int64_t i = 0; i < 20; ++i)
      sum += mean_difference(images[size_t(label + 2 * i * kClasses)], images[size_t(label + (2 * i + 1) * kClasses)]) /
             20;
    CHECK(sum >= 20);  // grey levels a pixel, of 255; two shots of one scene differ by less than 5
  }
}

TEST_CASE("histology: a linear classifier of the pixels stays below 0.70") {
  auto const phantom = histology();
  Matrix train, test;
  for (int64_t i = 0; i < 500; ++i) train.push_back(downsampled(draw(*phantom, 32, int32_t(i % kClasses), i), 32, 32));
  for (int64_t i = 0; i < 250; ++i)
    test.push_back(downsampled(draw(*phantom, 32, int32_t(i % kClasses), 500 + i), 32, 32));
  double const accuracy = best_ridge_accuracy(train, test);
  CHECK(accuracy <= 0.70);
  CHECK(accuracy >= 0.20);  // a classifier below chance would be a broken one, and prove nothing
}
