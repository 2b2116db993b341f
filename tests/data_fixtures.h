// Files for the data tests: zip and npz archives byte by byte, small images, temporary folders.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace mith::fixtures {

/// A folder of its own, removed at the end of the test.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

std::string read_file(const std::filesystem::path&);
void write_file(const std::filesystem::path&, const std::string& bytes);

/// One entry of an archive; sizes other than the content's own can be declared.
struct ZipContent {
  std::string name, content;
  bool deflated = true;
  bool zip64 = false;          ///< sizes and offset in a zip64 field
  int64_t declared_size = -1;  ///< -1: the truth
};
std::string zip_bytes(const std::vector<ZipContent>&);

/// An .npy file of the given header values.
std::string npy_bytes(const std::string& descr, const std::string& shape, const std::string& data,
                      const std::string& fortran = "False", int version = 1);

/// Image i of a made set: every byte follows from i.
std::vector<uint8_t> made_image(int64_t i, int64_t height, int64_t width, int64_t channels);
/// Images `first` to `first + n - 1`, byte after byte.
std::string made_images(int64_t first, int64_t n, int64_t height, int64_t width, int64_t channels);
void write_png(const std::filesystem::path&, int64_t i, int64_t height, int64_t width, int64_t channels);
void write_jpeg(const std::filesystem::path&, int64_t i, int64_t height, int64_t width, int64_t channels);
void write_bmp(const std::filesystem::path&, int64_t i, int64_t height, int64_t width);

}  // namespace mith::fixtures
