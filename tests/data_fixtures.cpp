#include "tests/data_fixtures.h"

#include <unistd.h>
#include <zlib.h>

#include <atomic>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include <stb/stb_image_write.h>  // the engine's report holds its implementation

namespace mith::fixtures {
namespace fs = std::filesystem;
namespace {

std::string little(uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
  return text;
}

std::string deflated(const std::string& content) {
  z_stream stream{};
  std::string packed(compressBound(content.size()) + 64, '\0');
  deflateInit2(&stream, 6, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

/// A callback of stb's writers.
void to_stream(void* stream, void* bytes, int count) {
  static_cast<std::ofstream*>(stream)->write(static_cast<const char*>(bytes), count);
}

void require_written(int written, const fs::path& path) {
  if (!written) throw std::runtime_error("cannot write " + path.string());
}

}  // namespace

TemporaryFolder::TemporaryFolder() {
  static std::atomic<int> count = 0;
  path_ = fs::temp_directory_path() / ("mith-test-" + std::to_string(::getpid()) + "-" + std::to_string(count++));
  fs::create_directories(path_);
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

void write_file(const fs::path& path, const std::string& bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string zip_bytes(const std::vector<ZipContent>& entries) {
  std::string file, directory;
  for (auto const& entry : entries) {
    std::string const packed = entry.deflated ? deflated(entry.content) : entry.content;
    uint64_t const size = entry.declared_size < 0 ? entry.content.size() : static_cast<uint64_t>(entry.declared_size);
    auto const* bytes = reinterpret_cast<const Bytef*>(entry.content.data());
    uint64_t const offset = file.size(), no_number = 0xffffffff;
    std::string const extra =
        entry.zip64 ? little(1, 2) + little(24, 2) + little(size, 8) + little(packed.size(), 8) + little(offset, 8)
                    : "";
    std::string const common = little(20, 2) + little(0, 2) + little(entry.deflated ? 8 : 0, 2) + little(0, 4) +
                               little(crc32(0, bytes, static_cast<uInt>(entry.content.size())), 4) +
                               little(entry.zip64 ? no_number : packed.size(), 4) +
                               little(entry.zip64 ? no_number : size, 4) + little(entry.name.size(), 2);
    file += little(0x04034b50, 4) + common + little(extra.size(), 2) + entry.name + extra + packed;
    directory += little(0x02014b50, 4) + little(20, 2) + common + little(extra.size(), 2) + std::string(10, '\0') +
                 little(entry.zip64 ? no_number : offset, 4) + entry.name + extra;
  }
  std::string const end = little(0x06054b50, 4) + little(0, 4) + little(entries.size(), 2) + little(entries.size(), 2) +
                          little(directory.size(), 4) + little(file.size(), 4) + little(0, 2);
  return file + directory + end;
}

std::string npy_bytes(const std::string& descr, const std::string& shape, const std::string& data,
                      const std::string& fortran, int version) {
  std::string header = "{'descr': '" + descr + "', 'fortran_order': " + fortran + ", 'shape': " + shape + ", }";
  size_t const before = version == 1 ? 10 : 12;
  header += std::string(63 - (before + header.size()) % 64, ' ') + "\n";
  return std::string("\x93NUMPY") + little(static_cast<uint64_t>(version), 2) +
         little(header.size(), version == 1 ? 2 : 4) + header + data;
}

std::vector<uint8_t> made_image(int64_t i, int64_t height, int64_t width, int64_t channels) {
  std::vector<uint8_t> pixels(static_cast<size_t>(height * width * channels));
  for (size_t p = 0; p < pixels.size(); ++p) {
    uint64_t const mixed = (p + 1) * 0x9E3779B97F4A7C15u + static_cast<uint64_t>(i + 1) * 0xD1B54A32D192ED03u;
    pixels[p] = static_cast<uint8_t>((mixed ^ (mixed >> 29)) >> 32);
  }
  return pixels;
}

std::string made_images(int64_t first, int64_t n, int64_t height, int64_t width, int64_t channels) {
  std::string bytes;
  for (int64_t i = first; i < first + n; ++i) {
    auto const image = made_image(i, height, width, channels);
    bytes.append(image.begin(), image.end());
  }
  return bytes;
}

void write_png(const fs::path& path, int64_t i, int64_t height, int64_t width, int64_t channels) {
  fs::create_directories(path.parent_path());
  std::ofstream out(path, std::ios::binary);
  auto const pixels = made_image(i, height, width, channels);
  int const w = static_cast<int>(width), h = static_cast<int>(height), c = static_cast<int>(channels);
  require_written(stbi_write_png_to_func(to_stream, &out, w, h, c, pixels.data(), w * c), path);
}

void write_jpeg(const fs::path& path, int64_t i, int64_t height, int64_t width, int64_t channels) {
  fs::create_directories(path.parent_path());
  std::ofstream out(path, std::ios::binary);
  auto const pixels = made_image(i, height, width, channels);
  int const w = static_cast<int>(width), h = static_cast<int>(height), c = static_cast<int>(channels);
  require_written(stbi_write_jpg_to_func(to_stream, &out, w, h, c, pixels.data(), 90), path);
}

void write_bmp(const fs::path& path, int64_t i, int64_t height, int64_t width) {
  fs::create_directories(path.parent_path());
  std::ofstream out(path, std::ios::binary);
  auto const pixels = made_image(i, height, width, 3);
  require_written(
      stbi_write_bmp_to_func(to_stream, &out, static_cast<int>(width), static_cast<int>(height), 3, pixels.data()),
      path);
}

}  // namespace mith::fixtures
