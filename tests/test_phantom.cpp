// Phantoms: every draw keyed, every pixel written, and nothing a linear rule or a mean colour could live on.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "data/dataset.h"

using namespace mith;

namespace {

/// Runs a check on every registered phantom, under its name.
template <class Check>
void for_each_phantom(Check&& check_one) {
  for (auto const& name : PhantomRegistry::names()) {
    CAPTURE(name);
    check_one(*PhantomRegistry::make(Spec{name, {}}, "phantom"));
  }
}

size_t classes_of(const Phantom& phantom) { return phantom.class_names().size(); }

/// A rate of hits this share of the way from guessing to certainty.
double beyond_chance(size_t classes, double share) { return 1 / double(classes) + share * (1 - 1 / double(classes)); }

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
  int64_t const width = size / cells, channels = int64_t(pixels.size()) / (size * size);
  std::vector<double> features(size_t(cells * cells * channels));
  for (int64_t row = 0; row < cells * width; ++row)
    for (int64_t column = 0; column < cells * width; ++column)
      for (int64_t c = 0; c < channels; ++c)
        features[size_t(((row / width) * cells + column / width) * channels + c)] +=
            pixels[size_t((row * size + column) * channels + c)] / (255.0 * double(width * width));
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

/// Test accuracy of ridge regression onto one-hot labels (image i has class i % classes) in its dual form: the best
/// strength of several, chosen in the classifier's favour on the test images themselves.
double best_ridge_accuracy(Matrix train, Matrix test, size_t classes) {
  std::vector<double> mean(train[0].size());
  for (auto& image : train)
    for (size_t f = 0; f < mean.size(); ++f) mean[f] += image[f] / double(train.size());
  for (Matrix* set : {&train, &test})
    for (auto& image : *set)
      for (size_t f = 0; f < mean.size(); ++f) image[f] -= mean[f];
  Matrix gram(train.size(), std::vector<double>(train.size())),
      targets(train.size(), std::vector<double>(classes, -1 / double(classes)));
  for (size_t i = 0; i < train.size(); ++i) {
    for (size_t j = 0; j <= i; ++j) gram[i][j] = gram[j][i] = inner(train[i], train[j]);
    targets[i][i % classes] += 1;
  }
  Matrix likeness(test.size(), std::vector<double>(train.size()));
  for (size_t t = 0; t < test.size(); ++t)
    for (size_t i = 0; i < train.size(); ++i) likeness[t][i] = inner(test[t], train[i]);
  double best = 0;
  for (double const ridge : {3.0, 30.0, 300.0}) {
    Matrix const weights = solve_ridge(gram, ridge, targets);
    int64_t right = 0;
    for (size_t t = 0; t < test.size(); ++t) {
      std::vector<double> score(classes);
      for (size_t i = 0; i < train.size(); ++i) {
        double const similarity = likeness[t][i];
        for (size_t c = 0; c < classes; ++c) score[c] += similarity * weights[i][c];
      }
      right += size_t(std::max_element(score.begin(), score.end()) - score.begin()) == t % classes;
    }
    best = std::max(best, double(right) / double(test.size()));
  }
  return best;
}

}  // namespace

TEST_CASE("phantoms: every one is registered whole") {
  for (auto const* name : {"histology", "mri", "smear", "xray"}) CHECK(PhantomRegistry::rows().count(name) == 1);
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
  for_each_phantom([](const Phantom& phantom) {
    int const classes = int(classes_of(phantom));
    std::vector<std::vector<uint8_t>> forward;
    for (int i = 0; i < 2 * classes; ++i) forward.push_back(draw(phantom, 48, i % classes, i, 7));
    for (int i = 2 * classes; i-- > 0;) CHECK(draw(phantom, 48, i % classes, i, 7) == forward[size_t(i)]);
    std::vector<std::vector<uint8_t>> parallel(forward.size());
#pragma omp parallel for num_threads(3) schedule(dynamic)
    for (int i = 0; i < 2 * classes; ++i) parallel[size_t(i)] = draw(phantom, 48, i % classes, i, 7);
    CHECK(parallel == forward);
    for (int i = 0; i < classes; ++i) {
      CHECK(mean_difference(forward[size_t(i)], draw(phantom, 48, i, i, 8)) > 1);                  // another seed
      CHECK(mean_difference(forward[size_t(i)], draw(phantom, 48, i, i + 100, 7)) > 1);            // another id
      CHECK(mean_difference(forward[size_t(i)], draw(phantom, 48, (i + 1) % classes, i, 7)) > 1);  // another class
    }
  });
}

TEST_CASE("phantoms: every pixel is written and none beside the image") {
  static constexpr size_t kGuard = 4096;
  for_each_phantom([](const Phantom& phantom) {
    for (int64_t const size : {32, 64, 100}) {
      CAPTURE(size);
      size_t const bytes = size_t(size * size * phantom.channels());
      int const classes = int(classes_of(phantom));
      for (int32_t label = 0; label < classes; ++label) {
        std::vector<uint8_t> low(bytes + 2 * kGuard, 0x00), high(bytes + 2 * kGuard, 0xFF);
        phantom.draw(low.data() + kGuard, size, label, label + 11, DrawKey{});
        phantom.draw(high.data() + kGuard, size, label, label + 11, DrawKey{});
        // Drawn over two different poisons: equal bytes were all written.
        CHECK(std::equal(low.begin() + kGuard, low.end() - kGuard, high.begin() + kGuard));
        CHECK(std::count(low.begin(), low.begin() + kGuard, 0x00) == kGuard);
        CHECK(std::count(low.end() - kGuard, low.end(), 0x00) == kGuard);
        CHECK(std::count(high.begin(), high.begin() + kGuard, 0xFF) == kGuard);
        CHECK(std::count(high.end() - kGuard, high.end(), 0xFF) == kGuard);
      }
    }
  });
}

TEST_CASE("phantoms: a label beyond the classes is refused") {
  for_each_phantom([](const Phantom& phantom) {
    std::vector<uint8_t> pixels(size_t(32 * 32 * phantom.channels()));
    CHECK_THROWS_AS(phantom.draw(pixels.data(), 32, int32_t(classes_of(phantom)), 0, DrawKey{}), Error);
    CHECK_THROWS_AS(phantom.draw(pixels.data(), 32, -1, 0, DrawKey{}), Error);
  });
}

TEST_CASE("phantoms: the field of view is the same at every size") {
  for_each_phantom([](const Phantom& phantom) {
    int32_t const classes = int32_t(classes_of(phantom));
    for (int32_t label = 0; label < classes; ++label) {
      CAPTURE(label);
      auto const small = downsampled(draw(phantom, 64, label, 3), 64, 16),
                 large = downsampled(draw(phantom, 128, label, 3), 128, 16);
      auto const other = downsampled(draw(phantom, 128, label, 3 + classes), 128, 16);
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
  });
}

TEST_CASE("phantoms: classes vary within and share their colours") {
  for_each_phantom([](const Phantom& phantom) {
    constexpr int64_t kSize = 32, kPairs = 20;
    size_t const classes = classes_of(phantom), half = classes * 40;
    std::vector<std::vector<uint8_t>> images;
    Matrix colours;
    for (size_t i = 0; i < 2 * half; ++i) {
      images.push_back(draw(phantom, kSize, int32_t(i % classes), int64_t(i)));
      colours.push_back(downsampled(images.back(), kSize, 1));
    }
    size_t const channels = colours[0].size();
    Matrix means(classes, std::vector<double>(channels));
    for (size_t i = 0; i < half; ++i)
      for (size_t c = 0; c < channels; ++c) means[i % classes][c] += colours[i][c] / double(half / classes);
    int right = 0;
    for (size_t i = half; i < 2 * half; ++i) {
      auto const far = [&](size_t c) {
        std::vector<double> d(channels);
        for (size_t k = 0; k < channels; ++k) d[k] = colours[i][k] - means[c][k];
        return inner(d, d);
      };
      size_t nearest = 0;
      for (size_t c = 1; c < classes; ++c)
        if (far(c) < far(nearest)) nearest = c;
      right += nearest == i % classes;
    }
    INFO("mean colour names " << right << " of " << half);
    CHECK(right <= beyond_chance(classes, 0.3125) * double(half));  // 0.45 of five classes

    for (size_t label = 0; label < classes; ++label) {
      CAPTURE(label);
      double sum = 0;
      for (size_t i = 0; i < kPairs; ++i)
        sum += mean_difference(images[label + 2 * i * classes], images[label + (2 * i + 1) * classes]) / kPairs;
      CHECK(sum >= 20);  // grey levels a pixel, of 255; two shots of one scene differ by less than 5
    }
  });
}

TEST_CASE("phantoms: a linear classifier of the pixels stays below 0.70") {
  for_each_phantom([](const Phantom& phantom) {
    size_t const classes = classes_of(phantom);
    Matrix images;
    for (size_t i = 0; i < 760; ++i)
      images.push_back(downsampled(draw(phantom, 32, int32_t(i % classes), int64_t(i)), 32, 32));
    auto const middle = images.begin() + 500;  // of which 2, 4 and 5 classes have equal shares
    double const accuracy = best_ridge_accuracy({images.begin(), middle}, {middle, images.end()}, classes);
    CAPTURE(accuracy);
    CHECK(accuracy <= 0.70);
    CHECK(accuracy >= 0.9 / double(classes));  // a classifier below chance would be a broken one, and prove nothing
  });
}
