// Batches: gathered and augmented on the device, keyed by image; channel statistics and permutations.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <numeric>

#include "data/dataset.h"
#include "tests/data_fixtures.h"

using namespace mith;
using namespace mith::fixtures;

namespace {

/// A set in memory: n made images, labels 0 and 1 in turn, ids far from positions.
ImageSet made_set(int64_t n, int64_t height, int64_t width, int64_t channels) {
  ImageSet set;
  set.height = height, set.width = width, set.channels = channels;
  set.class_names = {"a", "b"};
  auto const bytes = std::make_shared<std::string>(made_images(0, n, height, width, channels));
  set.pixels = {bytes, reinterpret_cast<const uint8_t*>(bytes->data())};
  for (int64_t i = 0; i < n; ++i) {
    set.labels.push_back(static_cast<int32_t>(i % 2));
    set.ids.push_back(1000 + 7 * i);
    set.groups.emplace_back();
    set.names.push_back(cat("image ", i));
  }
  return set;
}

/// Images of a batch, one vector each.
std::vector<std::vector<float>> images_of(const Batch& batch) {
  std::vector<float> const all = batch.x.to_host<float>();
  size_t const each = all.size() / static_cast<size_t>(batch.size());
  std::vector<std::vector<float>> images;
  for (size_t i = 0; i < all.size(); i += each) {
    images.emplace_back(all.begin() + static_cast<ptrdiff_t>(i), all.begin() + static_cast<ptrdiff_t>(i + each));
  }
  return images;
}

}  // namespace

TEST_CASE("batch: gather by position, ids and labels travel, pixels are byte / 255 exactly") {
  ImageSet const all = made_set(9, 5, 7, 3);
  ImageSet const set = subset(all, {8, 2, 5, 0});
  for (const ImageSet* s : {&all, &set}) {
    ImageSource const source(*s, {.flip = true, .rotate = 10});
    Batch const batch = source.batch({3, 0, 3}, false, {.seed = 1});
    CHECK(batch.x.shape() == Shape{3, 5, 7, 3});
    CHECK(batch.ids.to_host<int64_t>() == std::vector<int64_t>{s->ids[3], s->ids[0], s->ids[3]});
    CHECK(batch.y.to_host<int32_t>() == std::vector<int32_t>{s->labels[3], s->labels[0], s->labels[3]});
    auto const images = images_of(batch);
    for (size_t p = 0; p < images[1].size(); ++p) CHECK(images[1][p] == static_cast<float>(s->image(0)[p]) / 255.0f);
    CHECK(images[0] == images[2]);
  }
  ImageSource const source(set);
  CHECK_THROWS_AS(source.batch({4}, false, {}), Error);
  CHECK_THROWS_AS(source.batch({-1}, false, {}), Error);
  CHECK(source.batch({}, false, {}).size() == 0);
  CHECK(source.image_shape() == Shape{5, 7, 3});
  CHECK(source.classes() == 2);
}

TEST_CASE("augmentation: against a double reference, for odd shapes and channels") {
  for (auto const& [h, w, c] : {std::array<int64_t, 3>{6, 6, 1}, {5, 9, 3}, {1, 4, 2}}) {
    ImageSet const set = made_set(8, h, w, c);
    Augmentation const augmentation{.flip = true, .rotate = 40};
    DrawKey const key{.seed = 5, .step = 2};
    std::vector<int64_t> positions(8);
    std::iota(positions.begin(), positions.end(), 0);
    auto const images = images_of(ImageSource(set, augmentation).batch(positions, true, key));
    DrawKey const drawn = key.with(Purpose::augment);
    int64_t flips = 0;
    for (int64_t i = 0; i < 8; ++i) {
      uint64_t const id = static_cast<uint64_t>(set.ids[static_cast<size_t>(i)]);
      bool const flip = uniform(drawn, id, 0) < 0.5f;
      double const angle = (2.0 * uniform(drawn, id, 1) - 1) * 40 * std::numbers::pi / 180;
      flips += flip;
      auto const pixel = [&](int64_t y, int64_t x, int64_t k) {
        bool const inside = x >= 0 && x < w && y >= 0 && y < h;
        return inside ? set.image(i)[(y * w + (flip ? w - 1 - x : x)) * c + k] / 255.0 : 0.0;
      };
      for (int64_t y = 0; y < h; ++y) {
        for (int64_t x = 0; x < w; ++x) {
          double const dx = static_cast<double>(x) - (static_cast<double>(w) - 1) / 2;
          double const dy = static_cast<double>(y) - (static_cast<double>(h) - 1) / 2;
          double const sx = (static_cast<double>(w) - 1) / 2 + std::cos(angle) * dx - std::sin(angle) * dy;
          double const sy = (static_cast<double>(h) - 1) / 2 + std::sin(angle) * dx + std::cos(angle) * dy;
          int64_t const x0 = static_cast<int64_t>(std::floor(sx)), y0 = static_cast<int64_t>(std::floor(sy));
          double const u = sx - std::floor(sx), v = sy - std::floor(sy);
          for (int64_t k = 0; k < c; ++k) {
            double const expected = (1 - v) * ((1 - u) * pixel(y0, x0, k) + u * pixel(y0, x0 + 1, k)) +
                                    v * ((1 - u) * pixel(y0 + 1, x0, k) + u * pixel(y0 + 1, x0 + 1, k));
            double const got = images[static_cast<size_t>(i)][static_cast<size_t>((y * w + x) * c + k)];
            // Coordinates below 16 in f32 carry 1e-6, and a pixel's slope is at most 1.
            CHECK(std::abs(got - expected) <= 1e-5);
          }
        }
      }
    }
    CHECK(flips > 0);
    CHECK(flips < 8);
  }
}

TEST_CASE("augmentation: no angle is the identity, two flips are, draws follow the id alone") {
  ImageSet const set = made_set(40, 6, 5, 3);
  DrawKey const key{.seed = 11};
  std::vector<int64_t> positions(40);
  std::iota(positions.begin(), positions.end(), 0);
  auto const plain = images_of(ImageSource(set).batch(positions, true, key));
  // The rotating path at no angle to speak of: 1e-9 degrees bring in 1e-10 of a neighbour.
  auto const unturned = images_of(ImageSource(set, {.rotate = 1e-9}).batch(positions, true, key));
  for (size_t i = 0; i < 40; ++i) {
    for (size_t p = 0; p < plain[i].size(); ++p) CHECK(std::abs(unturned[i][p] - plain[i][p]) <= 1e-9f);
  }
  CHECK(images_of(ImageSource(set, {.flip = true, .rotate = 30}).batch(positions, false, key)) == plain);

  auto const flipped = images_of(ImageSource(set, {.flip = true}).batch(positions, true, key));
  int64_t changed = 0;
  for (size_t i = 0; i < 40; ++i) {
    if (flipped[i] == plain[i]) continue;
    ++changed;
    for (size_t y = 0; y < 6; ++y) {
      for (size_t x = 0; x < 5; ++x) {
        for (size_t k = 0; k < 3; ++k) CHECK(flipped[i][(y * 5 + x) * 3 + k] == plain[i][(y * 5 + 4 - x) * 3 + k]);
      }
    }
  }
  CHECK(changed > 8);  // 40 fair coins: below 9 or above 31 has probability 3e-4, and the seed is fixed
  CHECK(changed < 32);

  Augmentation const both{.flip = true, .rotate = 15};
  ImageSource const source(set, both);
  auto const together = images_of(source.batch(positions, true, key));
  auto const backwards = images_of(source.batch({7, 3, 3, 0}, true, key));
  CHECK(backwards[0] == together[7]);
  CHECK(backwards[1] == together[3]);
  CHECK(backwards[2] == together[3]);
  CHECK(images_of(source.batch({5}, true, key))[0] == together[5]);
  DrawKey const next_epoch{.seed = 11, .step = 1};
  CHECK(images_of(source.batch(positions, true, next_epoch)) != together);
  // The set of an id's own image decides, not its place in a part.
  ImageSet const part = subset(set, {9, 7});
  CHECK(images_of(ImageSource(part, both).batch({1}, true, key))[0] == together[7]);
}

TEST_CASE("augmentation: the text") {
  Augmentation const both = Augmentation::parse("flip,rotate:10");
  CHECK(both.flip);
  CHECK(both.rotate == 10);
  CHECK_FALSE(Augmentation::parse("").any());
  CHECK(Augmentation::parse("rotate:2.5").rotate == 2.5);
  for (const char* bad : {"flop", "rotate", "rotate:x", "rotate:-1", "rotate:181", "flip;rotate:1", "rotate:nan"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(Augmentation::parse(bad), UsageError);
  }
}

TEST_CASE("channel statistics against a double sum; constant channels stay safe to divide by") {
  ImageSet const set = subset(made_set(13, 5, 4, 3), {1, 5, 12, 0});
  ChannelStatistics const statistics = channel_statistics(set);
  for (int64_t c = 0; c < 3; ++c) {
    double sum = 0, square = 0;
    for (int64_t i = 0; i < 4; ++i) {
      for (int64_t p = 0; p < 20; ++p) {
        double const v = set.image(i)[3 * p + c] / 255.0;
        sum += v;
        square += v * v;
      }
    }
    size_t const at = static_cast<size_t>(c);
    // Results are floats near 0.5: 6e-8 of rounding.
    CHECK(std::abs(statistics.mean[at] - sum / 80) <= 1e-7);
    CHECK(std::abs(statistics.deviation[at] - std::sqrt(square / 80 - sum * sum / 6400)) <= 1e-7);
  }
  ImageSet constant = made_set(1, 2, 2, 1);
  auto const black = std::make_shared<std::string>(4, '\0');
  constant.pixels = {black, reinterpret_cast<const uint8_t*>(black->data())};
  CHECK(channel_statistics(constant).deviation[0] == 1.0f / 255);
}

TEST_CASE("shuffled is a permutation that its key determines") {
  for (int64_t n : {0, 1, 2, 1000}) {
    std::vector<int64_t> order = shuffled(n, {.seed = 1, .purpose = Purpose::shuffle});
    CHECK(order == shuffled(n, {.seed = 1, .purpose = Purpose::shuffle}));
    if (n == 1000) CHECK(order != shuffled(n, {.seed = 2, .purpose = Purpose::shuffle}));
    std::sort(order.begin(), order.end());
    for (int64_t i = 0; i < n; ++i) CHECK(order[static_cast<size_t>(i)] == i);
  }
  // Every place is equally likely for item 0: 6000 draws over 3 places, five standard deviations of 36.5 are 183.
  std::array<int, 3> places{};
  for (uint64_t seed = 0; seed < 6000; ++seed) {
    auto const order = shuffled(3, {.seed = seed});
    ++places[static_cast<size_t>(std::find(order.begin(), order.end(), 0) - order.begin())];
  }
  for (int count : places) CHECK(std::abs(count - 2000) <= 183);
}
