// load_data: picks the reader, checks what it returns and divides it into parts.
#include <algorithm>
#include <new>
#include <unordered_set>

#include "data/hash.h"
#include "data/parallel.h"
#include "data/source.h"
#include "engine/train/progress.h"

namespace mith {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view synthetic_prefix = "synthetic:";

Source read_source(const std::string& data, const DataOptions& options) {
  if (data.starts_with(synthetic_prefix)) return read_synthetic(data.substr(synthetic_prefix.size()), options);
  fs::path const path = data;
  require(fs::exists(path), "data ", data, " does not exist");
  if (fs::is_directory(path)) return read_images(list_folder(path), options);
  if (path.extension() == ".npz") return read_npz(path, options);
  if (path.extension() == ".csv") return read_images(list_csv(path), options);
  throw UsageError(cat("data ", data, " is neither a folder, a .npz, a .csv nor synthetic:NAME"));
}

void check_options(const DataOptions& options) {
  require(options.channels == 0 || options.channels == 1 || options.channels == 3, "channels must be 1 or 3, not ",
          options.channels);
  require(options.size == 0 || (options.size >= 8 && options.size <= 4096), "size must be 8 to 4096, not ",
          options.size);
}

/// At least two classes, each with an image to train on.
void check_classes(const ImageSet& set, const std::string& source, const char* where) {
  require(set.class_names.size() >= 2, source, " has only one class, '", set.class_names[0],
          "'; a classifier needs two");
  std::vector<int64_t> counts(set.class_names.size());
  for (int32_t label : set.labels) ++counts[static_cast<size_t>(label)];
  for (size_t c = 0; c < counts.size(); ++c) {
    require(counts[c] > 0, source, ": class '", set.class_names[c], "' has no images", where);
  }
}

template <class T>
std::vector<T> at(const std::vector<T>& values, const std::vector<int64_t>& positions) {
  std::vector<T> picked;
  picked.reserve(positions.size());
  for (int64_t position : positions) picked.push_back(values[static_cast<size_t>(position)]);
  return picked;
}

std::vector<int64_t> positions_in(const std::vector<Part>& parts, Part wanted) {
  std::vector<int64_t> found;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts[i] == wanted) found.push_back(static_cast<int64_t>(i));
  }
  return found;
}

/// A hash of each image's bytes.
std::vector<uint64_t> hash_images(const ImageSet& set) {
  std::vector<uint64_t> hashes(static_cast<size_t>(set.size()));
  for_each_image(set.size(), [&](int64_t i) {
    hashes[static_cast<size_t>(i)] = hash_bytes(set.image(i), static_cast<size_t>(set.image_bytes()));
  });
  return hashes;
}

/// Splits only the images at these positions; the result holds positions in the whole source.
SplitIndices split_positions(const Source& source, const std::vector<int64_t>& positions,
                             const std::array<double, 3>& fractions, uint64_t seed) {
  ImageSet const pool = subset(source.all, positions);
  std::vector<std::string> const groups = groups_with_duplicates(pool.groups, at(source.hashes, positions));
  SplitIndices split = stratified_split(pool.labels, groups, fractions, seed);
  for (auto* part : {&split.train, &split.validation, &split.test}) {
    for (int64_t& index : *part) index = positions[static_cast<size_t>(index)];
  }
  return split;
}

/// Keeps the parts that the source gives and splits the missing ones off the training part.
SplitIndices divide(const Source& source, const DataOptions& options, std::string& description) {
  SplitIndices parts{positions_in(source.parts, Part::train), positions_in(source.parts, Part::validation),
                     positions_in(source.parts, Part::test)};
  std::vector<int64_t> const unassigned = positions_in(source.parts, Part::none);
  size_t const all = source.parts.size();
  require(unassigned.empty() || unassigned.size() == all, source.all.source, ": ", unassigned.size(), " of ", all,
          " images name no part; either all or none must");
  bool const given = unassigned.empty();
  require(!given || !parts.train.empty(), source.all.source, " has no images in its training part");
  bool const has_validation = !parts.validation.empty(), has_test = !parts.test.empty();
  if (has_validation && has_test) {
    description = "train, val and test as given by the source";
    return parts;
  }
  // A part that is given takes no share of what is split.
  std::array<double, 3> fractions = parse_split(options.split);
  if (has_validation) fractions[1] = 0;
  if (has_test) fractions[2] = 0;
  double const sum = fractions[0] + fractions[1] + fractions[2];
  for (double& f : fractions) f /= sum;
  SplitIndices split = split_positions(source, given ? parts.train : unassigned, fractions, options.seed);
  description = cat(has_validation ? "val as given by the source, "
                    : has_test     ? "test as given by the source, "
                                   : "",
                    "the rest split ", options.split, ", stratified by class, images of one patient and duplicates ",
                    "together, seed ", options.seed);
  if (has_validation) split.validation = parts.validation;
  if (has_test) split.test = parts.test;
  return split;
}

/// Parts given by a source may share images; then a test measures memory, which is worth a line.
void report_shared_images(const Source& source, const std::vector<int64_t>& train, const std::vector<int64_t>& other,
                          const char* name) {
  std::vector<uint64_t> const hashes = at(source.hashes, train);
  std::unordered_set<uint64_t> const trained(hashes.begin(), hashes.end());
  int64_t shared = 0;
  for (uint64_t hash : at(source.hashes, other)) shared += trained.contains(hash);
  if (shared == 0) return;
  warn(cat(source.all.source, ": ", shared, " of ", other.size(), " images of the ", name,
           " part are also in the training part"));
}

DataParts divided(const std::string& data, const DataOptions& options) {
  check_options(options);
  Source source = read_source(data, options);
  source.all.source = data;
  source.hashes = hash_images(source.all);
  check_classes(source.all, data, "");
  DataParts result;
  SplitIndices const parts = divide(source, options, result.description);
  result.train = subset(source.all, parts.train);
  result.validation = subset(source.all, parts.validation);
  result.test = subset(source.all, parts.test);
  check_classes(result.train, data, " in the training part");
  report_shared_images(source, parts.train, parts.validation, "validation");
  report_shared_images(source, parts.train, parts.test, "test");
  return result;
}

}  // namespace

ImageSet subset(const ImageSet& all, const std::vector<int64_t>& positions) {
  ImageSet part;
  part.height = all.height, part.width = all.width, part.channels = all.channels;
  part.class_names = all.class_names;
  part.pixels = all.pixels;
  part.source = all.source;
  part.labels = at(all.labels, positions);
  part.ids = at(all.ids, positions);
  part.groups = at(all.groups, positions);
  part.names = at(all.names, positions);
  for (int64_t position : positions) part.rows.push_back(all.row(position));
  return part;
}

DataParts load_data(const std::string& data, const DataOptions& options) {
  try {
    return divided(data, options);
  } catch (const fs::filesystem_error& error) {
    throw UsageError(cat(error.path1().string(), ": ", error.code().message()));
  } catch (const std::bad_alloc&) {
    throw UsageError(cat(data, " does not fit into memory"));
  }
}

std::pair<std::string, std::string> split_data_name(const std::string& data) {
  size_t const colon = data.rfind(':');
  if (colon == std::string::npos) return {data, ""};
  switch (part_named(data.substr(colon + 1))) {
    case Part::train:
      return {data.substr(0, colon), "train"};
    case Part::validation:
      return {data.substr(0, colon), "val"};
    case Part::test:
      return {data.substr(0, colon), "test"};
    case Part::none:
      break;
  }
  std::string const source = data.substr(0, colon), part = data.substr(colon + 1);
  std::error_code error;
  bool const names_part = source.starts_with(synthetic_prefix)
                              ? part.find('=') == std::string::npos
                              : !std::filesystem::exists(data, error) && std::filesystem::exists(source, error);
  require(!names_part, "data ", data, ": unknown part '", part, "'", suggestion(part, {"train", "val", "test"}));
  return {data, ""};
}

}  // namespace mith
