// A folder that a program writes its results into.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace mith {

/// A folder of results. If the program fails, what this object created is removed again.
class OutputFolder {
 public:
  explicit OutputFolder(std::filesystem::path path);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }
  /// A sub-folder, emptied of the images that an earlier run left.
  std::filesystem::path subfolder(const std::string& name);
  void keep() { kept_ = true; }
  /// From now on a failure removes sub-folders only.
  void keep_folder() { std::erase(created_, path_); }

 private:
  std::filesystem::path path_;
  std::vector<std::filesystem::path> created_;
  bool kept_ = false;
};

}  // namespace mith
