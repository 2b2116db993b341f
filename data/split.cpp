// Stratified, grouped, seeded splits, and which images belong together.
#include <algorithm>
#include <map>
#include <numeric>
#include <unordered_map>

#include "data/source.h"
#include "engine/files/files.h"
#include "engine/files/json.h"

namespace mith {
namespace {

/// Images that must stay together.
struct Unit {
  std::vector<int64_t> images;
  std::map<int32_t, int64_t> labels;  ///< how many of each class
};

std::vector<Unit> units_of(const std::vector<int32_t>& labels, const std::vector<std::string>& groups) {
  std::vector<Unit> units;
  std::unordered_map<std::string, size_t> unit_of_group;
  for (size_t i = 0; i < labels.size(); ++i) {
    size_t unit = units.size();
    if (!groups[i].empty()) unit = unit_of_group.emplace(groups[i], unit).first->second;
    if (unit == units.size()) units.emplace_back();
    units[unit].images.push_back(static_cast<int64_t>(i));
    ++units[unit].labels[labels[i]];
  }
  return units;
}

/// How many images of one class each part still lacks. A part with a share gets at least one of three or more.
std::array<double, 3> wanted_of(int64_t images, const std::array<double, 3>& fractions) {
  std::array<double, 3> wanted{};
  for (size_t p = 0; p < 3; ++p) {
    wanted[p] = fractions[p] * static_cast<double>(images);
    if (fractions[p] > 0 && images >= 3) wanted[p] = std::max(wanted[p], 1.0);
  }
  wanted[0] = fractions[0] > 0 ? static_cast<double>(images) - wanted[1] - wanted[2] : 0;
  return wanted;
}

/// Union of sets of images, by path halving.
class Forest {
 public:
  explicit Forest(size_t n) : parent_(n) { std::iota(parent_.begin(), parent_.end(), size_t{0}); }
  size_t root(size_t i) {
    while (parent_[i] != i) i = parent_[i] = parent_[parent_[i]];
    return i;
  }
  void join(size_t a, size_t b) {
    size_t const x = root(a), y = root(b);
    parent_[std::max(x, y)] = std::min(x, y);
  }

 private:
  std::vector<size_t> parent_;
};

}  // namespace

SplitIndices stratified_split(const std::vector<int32_t>& labels, const std::vector<std::string>& groups,
                              const std::array<double, 3>& fractions, uint64_t seed) {
  check(groups.size() == labels.size(), groups.size(), " groups for ", labels.size(), " labels");
  std::vector<Unit> const units = units_of(labels, groups);
  std::map<int32_t, int64_t> counts;
  for (int32_t label : labels) ++counts[label];
  std::map<int32_t, std::array<double, 3>> wanted;
  for (auto const& [label, count] : counts) wanted[label] = wanted_of(count, fractions);

  // Random order, then large units first: a late large one could no longer be balanced by small ones.
  std::vector<int64_t> order = shuffled(static_cast<int64_t>(units.size()), {.seed = seed, .purpose = Purpose::split});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return units[static_cast<size_t>(a)].images.size() > units[static_cast<size_t>(b)].images.size();
  });
  std::array<std::vector<int64_t>, 3> parts;
  for (int64_t u : order) {
    Unit const& unit = units[static_cast<size_t>(u)];
    std::array<double, 3> need{};
    for (auto const& [label, count] : unit.labels) {
      for (size_t p = 0; p < 3; ++p) need[p] += static_cast<double>(count) * wanted[label][p];
    }
    size_t part = 0;
    for (size_t p = 1; p < 3; ++p) {
      if (fractions[part] <= 0 || (fractions[p] > 0 && need[p] > need[part])) part = p;
    }
    for (auto const& [label, count] : unit.labels) wanted[label][part] -= static_cast<double>(count);
    parts[part].insert(parts[part].end(), unit.images.begin(), unit.images.end());
  }
  for (auto& part : parts) std::sort(part.begin(), part.end());
  return {parts[0], parts[1], parts[2]};
}

std::vector<std::string> groups_with_duplicates(const std::vector<std::string>& groups,
                                                const std::vector<uint64_t>& hashes) {
  Forest forest(groups.size());
  std::unordered_map<std::string, size_t> first_of_group;
  std::unordered_map<uint64_t, size_t> first_of_hash;
  for (size_t i = 0; i < groups.size(); ++i) {
    if (!groups[i].empty()) forest.join(i, first_of_group.emplace(groups[i], i).first->second);
    forest.join(i, first_of_hash.emplace(hashes[i], i).first->second);
  }
  std::vector<int64_t> members(groups.size());
  for (size_t i = 0; i < groups.size(); ++i) ++members[forest.root(i)];
  std::vector<std::string> merged(groups.size());
  for (size_t i = 0; i < groups.size(); ++i) {
    if (members[forest.root(i)] > 1) merged[i] = std::to_string(forest.root(i));
  }
  return merged;
}

std::array<double, 3> parse_split(const std::string& text) {
  std::vector<std::string> pieces(1);
  for (char c : text) {
    if (c == '/') {
      pieces.emplace_back();
    } else {
      pieces.back() += c;
    }
  }
  std::string const what = "split '" + text + "'";
  require(pieces.size() == 3, what, " must be three percentages, e.g. 80/10/10");
  std::array<double, 3> fractions{};
  for (size_t i = 0; i < 3; ++i) {
    fractions[i] = parse_number(pieces[i], what) / 100;
    require(fractions[i] >= 0, what, " has a negative part");
  }
  double const sum = fractions[0] + fractions[1] + fractions[2];
  require(std::abs(sum - 1) < 1e-6, what, " adds up to ", 100 * sum, ", not 100");
  require(fractions[0] > 0, what, " leaves nothing to train on");
  return fractions;
}

const ImageSet& part_of(const DataParts& parts, const std::string& part) {
  const ImageSet* found = nullptr;
  if (part == "train") found = &parts.train;
  if (part == "val" || part == "validation") found = &parts.validation;
  if (part == "test") found = &parts.test;
  require(found, "unknown part '", part, "'", suggestion(part, {"train", "val", "test"}));
  require(found->size() > 0, parts.train.source, " has no images in its ", part, " part");
  return *found;
}

void write_split(const DataParts& parts, const std::filesystem::path& file) {
  Json json;
  json["source"] = parts.train.source;
  json["split"] = parts.description;
  auto const add = [&](const char* name, const ImageSet& set) {
    json["parts"][name] = {{"ids", set.ids}, {"names", set.names}};
  };
  add("train", parts.train);
  add("val", parts.validation);
  add("test", parts.test);
  write_text(file, json_text(json, 1) + "\n");
}

}  // namespace mith
