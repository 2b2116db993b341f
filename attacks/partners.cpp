#include "attacks/partners.h"

#include <algorithm>
#include <numeric>

namespace mith {
namespace {

/// A pool's rows ordered by label, so that those of all classes but one are two stretches.
class ByClass {
 public:
  explicit ByClass(const std::vector<int32_t>& labels) : labels_(labels), rows_(labels.size()) {
    std::iota(rows_.begin(), rows_.end(), int64_t{0});
    std::stable_sort(rows_.begin(), rows_.end(), [&](int64_t a, int64_t b) { return label(a) < label(b); });
  }
  /// One of the rows whose label is not `y`, chosen by 32 random bits; -1: there is none.
  int64_t other_than(int32_t y, uint32_t bits) const {
    auto const first = std::partition_point(rows_.begin(), rows_.end(), [&](int64_t r) { return label(r) < y; });
    auto const end = std::partition_point(first, rows_.end(), [&](int64_t r) { return label(r) <= y; });
    auto const own = static_cast<uint64_t>(end - first), others = rows_.size() - own;
    if (others == 0) return -1;
    uint64_t const at = bits * others >> 32;
    return rows_[at < static_cast<uint64_t>(first - rows_.begin()) ? at : at + own];
  }

 private:
  int32_t label(int64_t row) const { return labels_[static_cast<size_t>(row)]; }
  const std::vector<int32_t>& labels_;
  std::vector<int64_t> rows_;
};

}  // namespace

std::vector<int64_t> draw_partner_rows(const Batch& clean, const Batch& pool, const DrawKey& key, int64_t draws,
                                       PartnerClass wanted) {
  check(pool.y.defined() && pool.size() > 0, "partners of images under attack: no images, or none with labels");
  check(pool.x.shape().with(0, 0) == clean.x.shape().with(0, 0), "partners of images under attack: images of ",
        pool.x.shape(), " for ", clean.x.shape());
  auto const labels = clean.y.to_host<int32_t>(), pool_labels = pool.y.to_host<int32_t>();
  auto const ids = clean.ids.to_host<int64_t>();
  ByClass const by_class(pool_labels);
  std::vector<int64_t> rows;
  for (size_t i = 0; i < labels.size(); ++i) {
    for (int64_t draw = 0; draw < draws; ++draw) {
      uint32_t const bits = random_bits(key, static_cast<uint64_t>(ids[i]), static_cast<uint64_t>(draw));
      rows.push_back(wanted == PartnerClass::any ? static_cast<int64_t>(bits * static_cast<uint64_t>(pool.size()) >> 32)
                                                 : by_class.other_than(labels[i], bits));
    }
  }
  return rows;
}

Partners draw_partners(GradientSource& source, const MomentumStep& step, int64_t draws, PartnerClass wanted) {
  Batch const& pool = source.partners();
  DrawKey const key = step.key.with(Purpose::split);
  std::vector<int64_t> const rows = draw_partner_rows(step.clean, pool, key, draws, wanted);
  int64_t const alone = std::count(rows.begin(), rows.end(), -1) / draws;
  if (alone > 0)
    source.warn(
        cat(alone, alone == 1 ? " image has" : " images have", " no partner of another class and stayed unmixed"));
  return {pool.x.to(step.adv.device()), Tensor::from(rows, {step.adv.dim(0), draws}, step.adv.device())};
}

}  // namespace mith
