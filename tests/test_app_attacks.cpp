// What the programs make of attacks: partners for mixing, the books of many chunks, 8-bit images.
#include <doctest/doctest.h>

#include <set>

#include "apps/common/books.h"
#include "apps/common/evaluation.h"
#include "attacks/quantize.h"

using namespace mith;

namespace {

/// Images of one pixel, of two classes or more; ids are positions.
struct Labelled final : BatchSource {
  explicit Labelled(std::vector<int32_t> labels) : labels_(std::move(labels)) {}
  /// So many images of each class, one class after the other.
  static Labelled of(const std::vector<int64_t>& counts) {
    std::vector<int32_t> labels;
    for (size_t c = 0; c < counts.size(); ++c) labels.insert(labels.end(), size_t(counts[c]), int32_t(c));
    return Labelled(std::move(labels));
  }
  int64_t size() const override { return std::ssize(labels_); }
  int64_t classes() const override { return 5; }
  Shape image_shape() const override { return {1, 1, 1}; }
  const std::vector<int32_t>& labels() const override { return labels_; }
  const std::vector<std::string>& class_names() const override { return names_; }
  Batch batch(const std::vector<int64_t>& positions, bool, const DrawKey&) const override {
    std::vector<int32_t> y;
    for (int64_t p : positions) y.push_back(labels_[size_t(p)]);
    int64_t const n = std::ssize(positions);
    return {Tensor::full({n, 1, 1, 1}, 0.5), Tensor::from(y, {n}), Tensor::from(positions, {n})};
  }
  std::vector<int32_t> labels_;
  std::vector<std::string> names_;
};

/// Of every class, how many partners mixing attacks have from it.
std::vector<int64_t> partners_of(const std::vector<int64_t>& counts) {
  Batch const pool = mixing_partners(Labelled::of(counts));
  auto const ids = pool.ids.to_host<int64_t>();
  CHECK(std::set(ids.begin(), ids.end()).size() == ids.size());
  std::vector<int64_t> found(counts.size(), 0);
  for (int32_t label : pool.y.to_host<int32_t>()) ++found[size_t(label)];
  return found;
}

/// The row of two chunks, each of 500 images that stay right, by what the parts of an ensemble left standing in them.
ReportRow row_of(const std::vector<AttackStage>& first, const std::vector<AttackStage>& second) {
  Labelled const images(std::vector<int32_t>(1000, 0));
  Predictions before;
  before.classes = images.labels();
  before.scores = before.logits = std::vector<float>(5000, 0.2f);
  Books books(images, before, {.threat = {.eps = 0.1}});
  for (int64_t chunk : {0, 500}) {
    Batch const clean = images.batch(positions_from(chunk, 500), false, {});
    Predictions now;
    now.classes.assign(500, 0);
    now.scores = now.logits = std::vector<float>(2500, 0.2f);
    AttackResult result{.adversarial = clean.x};
    result.stages = chunk == 0 ? first : second;
    result.warnings = {"of all chunks", chunk == 0 ? "of the first" : "of the second"};
    books.add(clean, result, clean.x, now, chunk);
  }
  ReportRow row;
  books.fill(row);
  return row;
}

}  // namespace

TEST_CASE("images of every class have 64 partners of others, or all there are") {
  using Counts = std::vector<int64_t>;
  CHECK(partners_of({500, 500}) == Counts{64, 64});
  CHECK(partners_of({40, 40, 40, 40, 40}) == Counts{16, 16, 16, 16, 16});
  CHECK(partners_of({10, 5000}) == Counts{10, 64});  // no need for the rest of the second
  CHECK(partners_of({100, 30, 100}) == Counts{34, 30, 34});
  CHECK(partners_of({3, 4}) == Counts{3, 4});
  CHECK(partners_of({100}) == Counts{64});  // for attacks that ask for no other class
}

TEST_CASE("what an ensemble left standing, and its warnings, are those of all chunks together") {
  ReportRow const row = row_of({{"apgd-ce:eps=0.1", 400}, {"square:eps=0.1", 399}, {"fab-t:eps=0.1", 390}},
                               {{"apgd-ce:eps=0.1", 300}, {"square:eps=0.1", 298}, {"fab-t:eps=0.1", 200}});
  REQUIRE(row.stages.size() == 3);
  CHECK(row.stages[0].standing == 700);
  CHECK(row.stages[1].standing == 697);
  CHECK(row.stages[2].standing == 590);
  CHECK(row.warnings ==
        std::vector<std::string>{"of all chunks", "of the first", "of the second",
                                 "square fooled 3 of 1000 images that the attacks before it left standing: gradients "
                                 "may be masked"});
}

TEST_CASE("what square takes from the attacks before it is a sign of masking above 0.2 points of all images") {
  auto const warned = [](int64_t lowered) {
    return row_of({{"apgd-ce:eps=0.1", 400}, {"square:eps=0.1", 400 - lowered}},
                  {{"apgd-ce:eps=0.1", 300}, {"square:eps=0.1", 300}})
               .warnings.size() > 3;
  };
  CHECK_FALSE(warned(0));
  CHECK_FALSE(warned(2));  // of 500 it would be more than that
  CHECK(warned(3));
  // Alone it is no second opinion.
  CHECK(row_of({{"square:eps=0.1", 0}}, {{"square:eps=0.1", 0}}).warnings.size() == 3);
}

TEST_CASE("8-bit images of an attack without a radius keep their change") {
  Shape const shape{1, 1, 3, 1};
  Tensor const clean = Tensor::from(std::vector<float>{100 / 255.f, 0, 1}, shape),
               adversarial = Tensor::from(std::vector<float>{102.9f / 255, 1.9f / 255, 200.1f / 255}, shape);
  CHECK(quantize_in_ball(adversarial, clean, -1, "linf").to_host<uint8_t>() == std::vector<uint8_t>{102, 1, 201});
  CHECK(quantize_in_ball(adversarial, clean, 0, "linf").to_host<uint8_t>() == std::vector<uint8_t>{100, 0, 255});
}
