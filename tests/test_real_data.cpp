// What only the real images and weights beside the project can show (../shared/data; every test here has a synthetic
// twin elsewhere). Without them the whole file counts as skipped; MITH_REQUIRE_DATA=1 makes that a failure.
#include <doctest/doctest.h>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include "data/dataset.h"
#include "data/source.h"
#include "engine/files/files.h"
#include "engine/files/run_folder.h"
#include "engine/files/safetensors.h"
#include "tests/data_fixtures.h"

using namespace mith;
using namespace mith::fixtures;
namespace fs = std::filesystem;

namespace {

/// The real data, or an empty path where the test has to be skipped.
fs::path shared_data() {
  fs::path const folder = fs::path(MITH_SOURCE_DIR) / ".." / "shared" / "data";
  if (fs::exists(folder / "pneumoniamnist.npz")) return folder;
  const char* const required = std::getenv("MITH_REQUIRE_DATA");
  if (required && std::string(required) == "1") FAIL("the real data is required but absent: " << folder);
  std::puts("MITH_SKIP_ALL: no real data in ../shared/data");  // ctest looks for this word
  return {};
}

std::map<int32_t, int64_t> class_counts(const ImageSet& set) {
  std::map<int32_t, int64_t> counts;
  for (int32_t label : set.labels) ++counts[label];
  return counts;
}

}  // namespace

TEST_CASE("real data: MedMNIST files") {
  fs::path const folder = shared_data();
  if (folder.empty()) return;
  DataParts const pneumonia = load_data((folder / "pneumoniamnist.npz").string(), {});
  CHECK(pneumonia.train.size() == 4708);
  CHECK(pneumonia.validation.size() == 524);
  CHECK(pneumonia.test.size() == 624);
  CHECK(pneumonia.train.class_names == std::vector<std::string>{"normal", "pneumonia"});
  CHECK(class_counts(pneumonia.train) == std::map<int32_t, int64_t>{{0, 1214}, {1, 3494}});
  CHECK(class_counts(pneumonia.validation) == std::map<int32_t, int64_t>{{0, 135}, {1, 389}});
  CHECK(class_counts(pneumonia.test) == std::map<int32_t, int64_t>{{0, 234}, {1, 390}});
  DataParts const breast = load_data((folder / "breastmnist.npz").string(), {});  // labels of shape (n,)
  CHECK(class_counts(breast.test) == std::map<int32_t, int64_t>{{0, 42}, {1, 114}});
  DataParts const blood = load_data((folder / "bloodmnist_28.npz").string(), {});
  CHECK(blood.train.channels == 3);
  CHECK(blood.train.size() == 11952);
  CHECK(blood.train.class_names.size() == 8);
  CHECK(blood.train.class_names[7] == "platelet");
}

TEST_CASE("real data: the chest X-ray folder") {
  fs::path const folder = shared_data();
  if (folder.empty()) return;
  Listing const listing = list_folder(folder / "chest_xray");
  std::map<std::pair<Part, int32_t>, int64_t> counts;
  std::vector<int32_t> labels;
  std::vector<std::string> groups;
  for (auto const& image : listing.images) {
    ++counts[{image.part, image.label}];
    CHECK_FALSE(image.group.empty());
    if (image.part != Part::train) continue;
    labels.push_back(image.label);
    groups.push_back(image.group);
  }
  CHECK(listing.class_names == std::vector<std::string>{"NORMAL", "PNEUMONIA"});
  CHECK(counts[{Part::train, 0}] == 1341);
  CHECK(counts[{Part::train, 1}] == 3875);
  CHECK(counts[{Part::test, 0}] == 234);
  CHECK(counts[{Part::test, 1}] == 390);
  SplitIndices const split = stratified_split(labels, groups, {0.9, 0.1, 0}, 0);
  // A tenth, to within one patient: no one has more than 30 images, and single ones fill the rest.
  CHECK(std::abs(static_cast<double>(split.validation.size()) - 521.6) <= 2);
  std::set<std::string> in_training;
  for (int64_t i : split.train) in_training.insert(groups[static_cast<size_t>(i)]);
  for (int64_t i : split.validation) CHECK_FALSE(in_training.contains(groups[static_cast<size_t>(i)]));

  TemporaryFolder const temporary;
  DataParts const parts = load_data((folder / "chest_xray" / "test").string(),
                                    {.size = 32, .channels = 1, .strict = true, .cache = temporary / "cache"});
  CHECK(parts.train.size() + parts.validation.size() + parts.test.size() == 624);
  CHECK(parts.train.channels == 1);
}

TEST_CASE("published ImageNet weights load as they are") {
  fs::path const folder = shared_data();
  if (folder.empty()) return;
  SafetensorsFile const file = read_safetensors(folder / "weights" / "mobilenet_v2_imagenet.safetensors");
  CHECK(file.metadata.at("format") == "pt");
  CHECK(file.find("classifier.1.weight")->shape() == Shape{1000, 1280});
  CHECK(file.find("features.0.1.num_batches_tracked")->shape() == Shape{});
  CHECK(file.find("features.0.0.weight")->shape() == Shape{32, 3, 3, 3});

  // Nothing missing and nothing left over: load_network is strict. What is written again is what was read.
  auto const network = load_network("mobilenet_v2:normalize=half@" +
                                    (folder / "weights" / "mobilenet_v2_imagenet.safetensors").string());
  CHECK(network->network_options().classes == 1000);
  auto const state = state_of(*network);
  CHECK(state.size() == file.tensors.size());
  int64_t different = 0;
  for (auto const& [name, value] : state) {
    const Tensor* const stored = file.find(name);
    different += !stored || stored->shape() != value.shape() ||
                 (value.dtype() == DType::f32 && stored->to_host<float>() != value.to_host<float>());
  }
  CHECK(different == 0);
}
