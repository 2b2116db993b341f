#include "apps/common/output_folder.h"

#include "engine/files/files.h"

namespace mith {
namespace fs = std::filesystem;

OutputFolder::OutputFolder(fs::path path) : path_(std::move(path)) {
  std::error_code hidden;
  if (!fs::exists(path_, hidden)) created_.push_back(path_);
  make_writable_folder(path_);
}

OutputFolder::~OutputFolder() {
  std::error_code ignored;
  if (!kept_)
    for (const fs::path& folder : created_) fs::remove_all(folder, ignored);
}

fs::path OutputFolder::subfolder(const std::string& name) {
  fs::path folder = path_ / name;
  std::error_code hidden;
  if (!fs::exists(folder, hidden)) created_.push_back(folder);
  fs::remove_all(folder / "png", hidden);
  make_writable_folder(folder);
  return folder;
}

}  // namespace mith
