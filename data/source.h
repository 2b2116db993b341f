// What the readers of folders, lists, .npz files and phantoms hand to load_data.
#pragma once
#include <optional>

#include "data/dataset.h"

namespace mith {

enum class Part : uint8_t { none, train, validation, test };

/// "train", "val" or "validation", "test" in any case; none for anything else.
Part part_named(const std::string& name);

/// Every image of a source, in the source's order, and the part that the source itself puts it in.
struct Source {
  ImageSet all;
  std::vector<Part> parts;
  std::vector<uint64_t> hashes;  ///< of each image's bytes; load_data fills them in
};

/// One image file of a folder or a list.
struct ListedImage {
  std::filesystem::path path;
  std::string name;  ///< relative to the source; also the key of the cache
  std::string group;
  int32_t label = 0;
  Part part = Part::none;
};

struct Listing {
  std::string source;
  std::vector<std::string> class_names;
  std::vector<ListedImage> images;
};

/// Class folders, or train/val/test folders of class folders. A class folder is searched to any depth.
Listing list_folder(const std::filesystem::path& root);
/// path,label[,group][,split]; paths are relative to the file.
Listing list_csv(const std::filesystem::path& file);
/// The patient (or slide) that a file name tells, or empty; the rules are in docs/data.md.
std::string group_of_name(const std::string& file_name);
/// Class names in order: as numbers if all are numbers, else as text.
void sort_class_names(std::vector<std::string>& names);

/// Decodes what is listed, through the cache. Broken images are named and left out.
Source read_images(const Listing&, const DataOptions&);
Source read_npz(const std::filesystem::path&, const DataOptions&);
/// `text` behind "synthetic:", e.g. "histology:n=500,size=64"; the keys n, size and seed belong to every phantom.
Source read_synthetic(const std::string& text, const DataOptions&);

/// Groups in which images that share a group or all their bytes have one name; an image alone has none.
std::vector<std::string> groups_with_duplicates(const std::vector<std::string>& groups,
                                                const std::vector<uint64_t>& hashes);
/// "80/10/10" as fractions; throws UsageError.
std::array<double, 3> parse_split(const std::string&);

}  // namespace mith
