// Sources, splits, the cache and batches. Malformed files of every kind are in test_data_errors.cpp.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "data/dataset.h"
#include "data/source.h"
#include "engine/files/files.h"
#include "tests/data_fixtures.h"

using namespace mith;
using namespace mith::fixtures;
namespace fs = std::filesystem;

namespace {

bool holds_made_image(const ImageSet& set, int64_t position, int64_t made) {
  auto const expected = made_image(made, set.height, set.width, set.channels);
  return std::equal(expected.begin(), expected.end(), set.image(position));
}

std::map<int32_t, int64_t> class_counts(const ImageSet& set) {
  std::map<int32_t, int64_t> counts;
  for (int32_t label : set.labels) ++counts[label];
  return counts;
}

template <class T>
bool disjoint(const std::vector<T>& a, const std::vector<T>& b) {
  std::set<T> const seen(a.begin(), a.end());
  return std::none_of(b.begin(), b.end(), [&](const T& v) { return seen.contains(v); });
}

/// 40 and 20 grey 8x8 PNGs in two class folders.
void write_class_folders(const fs::path& root) {
  for (int64_t i = 0; i < 40; ++i) write_png(root / "benign" / cat("a", 100 + i, ".png"), i, 8, 8, 1);
  for (int64_t i = 0; i < 20; ++i) write_png(root / "malignant" / cat("b", 100 + i, ".png"), 100 + i, 8, 8, 1);
}

}  // namespace

TEST_CASE("npz: the three parts, stored and deflated, every integer label type") {
  TemporaryFolder const folder;
  struct Case {
    std::string descr;
    int bytes;
    bool big_endian, deflated, zip64;
    std::string shape;
    int version;
  };
  for (Case const& c : {Case{"|u1", 1, false, true, false, "(6, 1)", 1}, Case{"<i8", 8, false, false, false, "(6,)", 1},
                        Case{">i4", 4, true, true, true, "(6,)", 2}, Case{"<u2", 2, false, false, true, "(6, 1)", 3}}) {
    CAPTURE(c.descr);
    std::vector<ZipContent> entries;
    int64_t first = 0;
    for (const char* part : {"train", "val", "test"}) {
      std::string labels;
      for (int i = 0; i < 6; ++i) {
        std::string item(static_cast<size_t>(c.bytes), '\0');
        item[c.big_endian ? item.size() - 1 : 0] = static_cast<char>(i % 3);
        labels += item;
      }
      entries.push_back({cat(part, "_images.npy"), npy_bytes("|u1", "(6, 5, 4)", made_images(first, 6, 5, 4, 1)),
                         c.deflated, c.zip64});
      entries.push_back(
          {cat(part, "_labels.npy"), npy_bytes(c.descr, c.shape, labels, "False", c.version), c.deflated, c.zip64});
      first += 6;
    }
    write_file(folder / "set.npz", zip_bytes(entries));
    DataParts const parts = load_data((folder / "set.npz").string(), {});
    CHECK(parts.train.size() == 6);
    CHECK(parts.validation.size() == 6);
    CHECK(parts.test.ids == std::vector<int64_t>{12, 13, 14, 15, 16, 17});
    CHECK(parts.test.height == 5);
    CHECK(parts.test.width == 4);
    CHECK(parts.test.channels == 1);
    CHECK(parts.test.labels == std::vector<int32_t>{0, 1, 2, 0, 1, 2});
    CHECK(parts.test.class_names == std::vector<std::string>{"0", "1", "2"});
    for (int64_t i = 0; i < 6; ++i) CHECK(holds_made_image(parts.test, i, 12 + i));
  }
}

TEST_CASE("npz: colour, missing validation part, resize, channels and class names") {
  TemporaryFolder const folder;
  std::string labels;
  for (int i = 0; i < 40; ++i) labels += static_cast<char>(i % 2);
  write_file(folder / "pneumoniamnist_12.npz",
             zip_bytes({{"train_images.npy", npy_bytes("|u1", "(40, 12, 12, 3)", made_images(0, 40, 12, 12, 3))},
                        {"train_labels.npy", npy_bytes("|u1", "(40,)", labels)},
                        {"test_images.npy", npy_bytes("|u1", "(4, 12, 12, 3)", made_images(40, 4, 12, 12, 3))},
                        {"test_labels.npy", npy_bytes("|u1", "(4,)", labels.substr(0, 4))}}));
  std::string const file = (folder / "pneumoniamnist_12.npz").string();
  DataParts const parts = load_data(file, {});
  CHECK(parts.train.channels == 3);
  CHECK(parts.train.class_names == std::vector<std::string>{"normal", "pneumonia"});
  // 10 of 80 + 10 percent of what is not the test part.
  CHECK(parts.validation.size() == 4);
  CHECK(parts.train.size() == 36);
  CHECK(parts.test.ids == std::vector<int64_t>{40, 41, 42, 43});
  CHECK(disjoint(parts.train.ids, parts.validation.ids));

  DataParts const grey = load_data(file, {.size = 8, .channels = 1});
  CHECK(grey.test.height == 8);
  CHECK(grey.test.channels == 1);
  DataParts const luminance = load_data(file, {.channels = 1});
  auto const colour = made_image(40, 12, 12, 3);
  for (size_t p = 0; p < 144; ++p) {
    double const exact = 0.299 * colour[3 * p] + 0.587 * colour[3 * p + 1] + 0.114 * colour[3 * p + 2];
    CHECK(std::abs(luminance.test.image(0)[p] - exact) <= 0.5 + 1e-9);  // rounded to the nearest byte
  }
}

TEST_CASE("folders: class folders with a cache, hit, corrupted, foreign and absent") {
  TemporaryFolder const folder;
  write_class_folders(folder / "set");
  DataOptions const options{.cache = folder / "cache"};
  std::string const data = (folder / "set").string();
  auto const cached = [&] {
    std::vector<fs::path> files;
    for (auto const& entry : fs::directory_iterator(folder / "cache")) files.push_back(entry.path());
    return files;
  };
  auto const check_all = [&](const DataParts& parts) {
    CHECK(parts.train.class_names == std::vector<std::string>{"benign", "malignant"});
    CHECK(class_counts(parts.train) == std::map<int32_t, int64_t>{{0, 32}, {1, 16}});
    CHECK(class_counts(parts.validation) == std::map<int32_t, int64_t>{{0, 4}, {1, 2}});
    CHECK(class_counts(parts.test) == std::map<int32_t, int64_t>{{0, 4}, {1, 2}});
    for (const ImageSet* part : {&parts.train, &parts.validation, &parts.test}) {
      for (int64_t i = 0; i < part->size(); ++i) {
        int64_t const id = part->ids[static_cast<size_t>(i)];
        CHECK(holds_made_image(*part, i, id < 40 ? id : 60 + id));
        CHECK(part->names[static_cast<size_t>(i)] ==
              (id < 40 ? cat("benign/a", 100 + id, ".png") : cat("malignant/b", 60 + id, ".png")));
      }
    }
  };
  check_all(load_data(data, options));
  REQUIRE(cached().size() == 1);
  fs::path const file = cached()[0];
  std::string const intact = read_file(file);
  auto const written = fs::last_write_time(file);
  check_all(load_data(data, options));
  CHECK(fs::last_write_time(file) == written);  // a hit writes nothing

  for (size_t at :
       {size_t{0}, size_t{8}, size_t{16}, size_t{24}, size_t{48}, size_t{60}, size_t{130}, intact.size() - 1}) {
    std::string damaged = intact;
    damaged[at] ^= 0x55;
    write_file(file, damaged);
    check_all(load_data(data, options));
    CHECK(read_file(file) == intact);  // rebuilt
  }
  for (size_t length : {size_t{0}, size_t{10}, size_t{4096}, intact.size() - 64}) {
    write_file(file, intact.substr(0, length));
    check_all(load_data(data, options));
    CHECK(read_file(file) == intact);
  }
  load_data(data, {.size = 16, .cache = folder / "cache"});
  CHECK(cached().size() == 2);  // other options, another file

  write_png(folder / "set/benign/a100.png", 0, 8, 8, 1);
  fs::last_write_time(folder / "set/benign/a100.png", written + std::chrono::hours(1));
  load_data(data, options);
  CHECK(cached().size() == 3);  // a changed file, another key

  // A cache that cannot be written costs time, not the run.
  write_file(folder / "file", "");
  check_all(load_data(data, {.cache = folder / "file/cache"}));
}

TEST_CASE("folders: given parts, patients, deeper folders, mixed formats and grey beside colour") {
  TemporaryFolder const folder;
  fs::path const root = folder / "set";
  for (int64_t person = 0; person < 30; ++person) {
    for (int64_t shot = 0; shot < 3; ++shot) {
      std::string const name = cat("person", person, "_virus_", shot, ".jpeg");
      write_jpeg(root / "Train/PNEUMONIA" / name, person * 3 + shot, 16, 16, 1);
    }
    write_png(root / "Train/NORMAL/deeper" / cat("IM-0", 100 + person, "-0001.png"), 500 + person, 16, 16, 3);
  }
  write_bmp(root / "test/NORMAL/one.BMP", 900, 16, 16);
  write_png(root / "test/PNEUMONIA/person0_virus_0.png", 901, 16, 16, 4);
  write_file(root / "test/PNEUMONIA/notes.txt", "not an image");
  write_file(root / "Train/.hidden/x.png", "not a class");
  DataParts const parts = load_data(root.string(), {.cache = folder / "cache"});
  CHECK(parts.train.class_names == std::vector<std::string>{"NORMAL", "PNEUMONIA"});
  CHECK(parts.train.channels == 3);
  CHECK(parts.test.size() == 2);
  CHECK(holds_made_image(parts.test, 0, 900));
  CHECK(parts.train.size() + parts.validation.size() == 120);
  CHECK(disjoint(parts.train.groups, parts.validation.groups));
  // A ninth of each class, within one patient of three images.
  CHECK(std::abs(class_counts(parts.validation)[0] - 30 / 9.0) <= 1);
  CHECK(std::abs(class_counts(parts.validation)[1] - 90 / 9.0) <= 3);
}

TEST_CASE("patients from file names") {
  CHECK(group_of_name("person1_virus_6.jpeg") == "person1");
  CHECK(group_of_name("person100_bacteria_475.jpeg") == "person100");
  CHECK(group_of_name("IM-0115-0001.jpeg") == "IM-0115");
  CHECK(group_of_name("IM-0429-0001-0002.jpeg") == "IM-0429");
  CHECK(group_of_name("NORMAL2-IM-0501-0001.jpeg") == "NORMAL2-IM-0501");
  CHECK(group_of_name("00000013_004.png") == "00000013");
  CHECK(group_of_name("SOB_B_A-14-22549AB-40-001.png") == "SOB_B_A-14-22549AB");
  CHECK(group_of_name("lungaca1.jpeg").empty());
  CHECK(group_of_name("26 (62).jpg").empty());
}

TEST_CASE("csv: header, quotes, groups, splits and class order") {
  TemporaryFolder const folder;
  for (int64_t i = 0; i < 12; ++i) write_png(folder / cat("images/x, ", i, ".png"), i, 8, 8, 1);
  std::string list = "\xef\xbb\xbfpath,split,label,group\r\n";
  for (int64_t i = 0; i < 12; ++i) {
    const char* const part = i < 6 ? "train" : i < 9 ? "val" : "test";
    list += cat("\"images/x, ", i, ".png\",", part, ",",
                i % 3 == 0   ? "10"
                : i % 3 == 1 ? "9"
                             : "0",
                ",p", i / 2, "\r\n");
  }
  write_file(folder / "list.csv", list);
  DataParts const parts = load_data((folder / "list.csv").string(), {.cache = folder / "cache"});
  CHECK(parts.train.class_names == std::vector<std::string>{"0", "9", "10"});
  CHECK(parts.train.labels == std::vector<int32_t>{2, 1, 0, 2, 1, 0});
  CHECK(parts.test.ids == std::vector<int64_t>{9, 10, 11});
  CHECK(parts.test.groups == std::vector<std::string>{"p4", "p5", "p5"});
  CHECK(holds_made_image(parts.test, 2, 11));

  std::string plain;
  for (int64_t i = 0; i < 12; ++i) plain += cat("\"images/x, ", i, ".png\",", i % 2 ? "ill" : "\"he\"\"althy\"", "\n");
  write_file(folder / "plain.csv", plain);
  DataParts const split = load_data((folder / "plain.csv").string(), {.cache = folder / "cache"});
  CHECK(split.train.class_names == std::vector<std::string>{"he\"althy", "ill"});
  CHECK(class_counts(split.test) == std::map<int32_t, int64_t>{{0, 1}, {1, 1}});
}

TEST_CASE("synthetic: size, count and channels; the images do not depend on the count") {
  if (PhantomRegistry::names().empty()) FAIL("no phantom is registered");
  std::string const name = PhantomRegistry::names()[0];
  TemporaryFolder const folder;
  DataParts const few = load_data("synthetic:" + name + ":n=50,size=24", {.cache = folder / "cache"});
  int64_t const classes = static_cast<int64_t>(few.train.class_names.size());
  CHECK(few.train.size() + few.validation.size() + few.test.size() == 50);
  CHECK(few.train.height == 24);
  for (int64_t c = 0; c < classes; ++c) CHECK(class_counts(few.train)[static_cast<int32_t>(c)] >= 50 / classes / 2);
  DataParts const more = load_data("synthetic:" + name + ":n=60,size=24", {.seed = 9, .cache = folder / "cache"});
  std::map<int64_t, const uint8_t*> by_id;
  for (const ImageSet* part : {&more.train, &more.validation, &more.test}) {
    for (int64_t i = 0; i < part->size(); ++i) by_id[part->ids[static_cast<size_t>(i)]] = part->image(i);
  }
  for (int64_t i = 0; i < few.test.size(); ++i) {
    const uint8_t* const pixels = few.test.image(i);
    CHECK(std::equal(pixels, pixels + few.test.image_bytes(), by_id[few.test.ids[static_cast<size_t>(i)]]));
  }
  DataParts const again = load_data("synthetic:" + name + ":n=50,size=24", {.cache = folder / "cache"});
  for (int64_t i = 0; i < few.train.size(); ++i) {
    const uint8_t* const pixels = few.train.image(i);
    CHECK(std::equal(pixels, pixels + few.train.image_bytes(), again.train.image(i)));
  }
  DataParts const grey =
      load_data("synthetic:" + name + ":n=20,size=24", {.size = 16, .channels = 1, .cache = folder / "cache"});
  CHECK(grey.train.width == 16);
  CHECK(grey.train.channels == 1);
  CHECK_THROWS_AS(load_data("synthetic:" + name + ":n=1", {}), UsageError);
  CHECK_THROWS_AS(load_data("synthetic:" + name + ":size=99999", {}), UsageError);
  CHECK_THROWS_AS(load_data("synthetic:nothing_like_this", {}), UsageError);
}

TEST_CASE("stratified_split: shares, groups, seeds and small classes") {
  std::vector<int32_t> labels;
  std::vector<std::string> groups;
  for (int i = 0; i < 1000; ++i) {
    labels.push_back(i % 10 < 7 ? 0 : 1);
    groups.push_back(i % 3 == 0 ? cat("g", i / 30) : "");
  }
  SplitIndices const split = stratified_split(labels, groups, {0.8, 0.1, 0.1}, 3);
  std::vector<int64_t> all = split.train;
  all.insert(all.end(), split.validation.begin(), split.validation.end());
  all.insert(all.end(), split.test.begin(), split.test.end());
  std::sort(all.begin(), all.end());
  std::vector<int64_t> everything(1000);
  std::iota(everything.begin(), everything.end(), 0);
  CHECK(all == everything);
  auto const groups_of = [&](const std::vector<int64_t>& part) {
    std::vector<std::string> found;
    for (int64_t i : part) {
      if (!groups[static_cast<size_t>(i)].empty()) found.push_back(groups[static_cast<size_t>(i)]);
    }
    return found;
  };
  CHECK(disjoint(groups_of(split.train), groups_of(split.test)));
  CHECK(disjoint(groups_of(split.train), groups_of(split.validation)));
  CHECK(disjoint(groups_of(split.validation), groups_of(split.test)));
  auto const ones = [&](const std::vector<int64_t>& part) {
    return std::count_if(part.begin(), part.end(), [&](int64_t i) { return labels[static_cast<size_t>(i)] == 1; });
  };
  // Single images fill what the groups leave, so each class meets its share to within one image.
  CHECK(std::abs(ones(split.test) - 30) <= 1);
  CHECK(std::abs(static_cast<int64_t>(split.test.size()) - 100) <= 2);
  CHECK(stratified_split(labels, groups, {0.8, 0.1, 0.1}, 3).test == split.test);
  CHECK(stratified_split(labels, groups, {0.8, 0.1, 0.1}, 4).test != split.test);

  SplitIndices const small = stratified_split({0, 0, 0, 0, 1, 1, 1}, std::vector<std::string>(7), {0.8, 0.1, 0.1}, 0);
  CHECK(small.train.size() == 3);
  CHECK(small.validation.size() == 2);  // one of each class
  SplitIndices const none = stratified_split({0, 0, 1, 1}, std::vector<std::string>(4), {1, 0, 0}, 0);
  CHECK(none.train.size() == 4);
}

TEST_CASE("exact duplicates stay in one part, also across patients") {
  CHECK(groups_with_duplicates({"a", "b", "", "", "b"}, {1, 2, 1, 3, 4}) ==
        std::vector<std::string>{"0", "1", "0", "", "1"});
  CHECK(groups_with_duplicates({"a", "a", "b", "b"}, {1, 2, 2, 3}) == std::vector<std::string>{"0", "0", "0", "0"});
  TemporaryFolder const folder;
  for (int64_t i = 0; i < 60; ++i) {
    // Each image three times under unrelated names, as PNG and BMP.
    write_bmp(folder / cat("set/", i % 2 ? "odd" : "even", "/x", i, ".bmp"), i, 8, 8);
    write_png(folder / cat("set/", i % 2 ? "odd" : "even", "/y", 200 - i, ".png"), i, 8, 8, 3);
    write_png(folder / cat("set/", i % 2 ? "odd" : "even", "/z", (7 * i) % 60, ".png"), i, 8, 8, 3);
  }
  DataParts const parts = load_data((folder / "set").string(), {.cache = folder / "cache"});
  auto const contents = [](const ImageSet& set) {
    std::vector<std::string> all;
    for (int64_t i = 0; i < set.size(); ++i) all.emplace_back(set.image(i), set.image(i) + set.image_bytes());
    return all;
  };
  CHECK(parts.test.size() > 0);
  CHECK(disjoint(contents(parts.train), contents(parts.test)));
  CHECK(disjoint(contents(parts.train), contents(parts.validation)));
  CHECK(disjoint(contents(parts.validation), contents(parts.test)));
}

TEST_CASE("names of parts, part_of and write_split") {
  CHECK(split_data_name("x.npz:test") == std::pair<std::string, std::string>{"x.npz", "test"});
  CHECK(split_data_name("x.npz") == std::pair<std::string, std::string>{"x.npz", ""});
  CHECK(split_data_name("synthetic:mri:n=5:validation") ==
        std::pair<std::string, std::string>{"synthetic:mri:n=5", "val"});
  CHECK(split_data_name("xrays:Testing").second == "test");
  CHECK(split_data_name("xrays:valid").second == "val");
  CHECK(split_data_name("xrays:TRAINING").second == "train");
  CHECK(split_data_name("synthetic:mri").second.empty());
  TemporaryFolder const folder;
  write_class_folders(folder / "set");
  DataParts parts = load_data((folder / "set").string(), {.split = "70/30/0", .cache = folder / "cache"});
  CHECK(&part_of(parts, "train") == &parts.train);
  CHECK(part_of(parts, "val").size() == 18);
  CHECK_THROWS_AS(part_of(parts, "test"), UsageError);
  CHECK_THROWS_AS(part_of(parts, "tset"), UsageError);
  parts.validation.names[0] = "not \xff UTF-8";
  write_split(parts, folder / "split.json");
  auto const json = nlohmann::json::parse(read_text(folder / "split.json"));
  CHECK(json["parts"]["train"]["ids"].get<std::vector<int64_t>>() == parts.train.ids);
  CHECK(json["parts"]["train"]["names"].get<std::vector<std::string>>() == parts.train.names);
  CHECK(json["parts"]["val"]["ids"].size() == 18);
  CHECK(json["parts"]["test"]["ids"].empty());
}
