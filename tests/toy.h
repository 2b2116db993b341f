// A small labelled set for tests of training and attacks. Class 1 has a bright spot on the right and a dark one on the
// left, class 0 the other way round: few pixels, but a difference of `contrast` that survives an attack. Faint stripes
// over the whole image, +-`trace` by class, tell the classes apart as well; they are what an attack takes away and what
// adversarial training learns not to trust.
#pragma once
#include <algorithm>
#include <string>
#include <vector>

#include "engine/train/batch_source.h"

namespace mith {

class ToyImages final : public BatchSource {
 public:
  struct Options {
    int64_t n = 32, side = 8;
    float contrast = 0.2f, trace = 0.03f, noise = 0.1f;
    int copies_of_class_1 = 1;
    int64_t first_id = 1000;
  };
  ToyImages() : ToyImages(Options{}) {}
  explicit ToyImages(const Options& o) : o_(o) {
    for (int64_t i = 0; i < o.n; ++i)
      for (int copy = 0; copy < (i % 2 ? o.copies_of_class_1 : 1); ++copy) {
        ids_.push_back(o.first_id + i);
        labels_.push_back(static_cast<int32_t>(i % 2));
      }
  }
  int64_t size() const override { return static_cast<int64_t>(labels_.size()); }
  int64_t classes() const override { return 2; }
  Shape image_shape() const override { return {o_.side, o_.side, 1}; }
  const std::vector<int32_t>& labels() const override { return labels_; }
  const std::vector<std::string>& class_names() const override { return names_; }

  Batch batch(const std::vector<int64_t>& positions, bool augment, const DrawKey& key) const override {
    std::vector<float> pixels;
    std::vector<int32_t> labels;
    std::vector<int64_t> ids;
    for (int64_t p : positions) {
      size_t const at = static_cast<size_t>(p);
      labels.push_back(labels_[at]);
      ids.push_back(ids_[at]);
      bool const flip = augment && uniform(key, static_cast<uint64_t>(ids_[at]), 0) < 0.5f;
      append(pixels, labels_[at], ids_[at], flip);
    }
    int64_t const n = static_cast<int64_t>(labels.size());
    return {Tensor::from(pixels, {n, o_.side, o_.side, 1}), Tensor::from(labels, {n}), Tensor::from(ids, {n})};
  }
  /// All images as one batch.
  Batch all() const {
    std::vector<int64_t> positions;
    for (int64_t i = 0; i < size(); ++i) positions.push_back(i);
    return batch(positions, false, {});
  }

 private:
  void append(std::vector<float>& pixels, int32_t label, int64_t id, bool flip) const {
    DrawKey const key{.seed = 5, .purpose = Purpose::phantom};
    float const sign = label ? 1.f : -1.f;
    auto const near = [&](int64_t place, int64_t centre) { return place == centre || place == centre - 1; };
    for (int64_t row = 0; row < o_.side; ++row)
      for (int64_t column = 0; column < o_.side; ++column) {
        int64_t const r = flip ? o_.side - 1 - row : row;  // upside down: the classes stay what they are
        uint64_t const element = static_cast<uint64_t>(r * o_.side + column);
        float v = 0.5f + o_.noise * (2 * uniform(key, static_cast<uint64_t>(id), element) - 1);
        v += (column % 2 ? sign : -sign) * o_.trace;
        if (near(r, o_.side / 2) && near(column, 3 * o_.side / 4)) v += sign * o_.contrast / 2;
        if (near(r, o_.side / 2) && near(column, o_.side / 4)) v -= sign * o_.contrast / 2;
        pixels.push_back(std::clamp(v, 0.f, 1.f));
      }
  }

  Options o_;
  std::vector<int64_t> ids_;
  std::vector<int32_t> labels_;
  std::vector<std::string> names_{"left", "right"};
};

}  // namespace mith
