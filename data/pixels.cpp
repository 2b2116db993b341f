#include "data/pixels.h"

#define STBI_NO_STDIO
#include <stb/stb_image.h>
#include <stb/stb_image_resize.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <fstream>

#include "data/integrity.h"

namespace mith {
namespace fs = std::filesystem;
namespace {

/// A larger image is a mistake or an attack on memory: 2^26 pixels are 8192 x 8192.
constexpr int64_t most_pixels = int64_t{1} << 26;

struct StbiFree {
  void operator()(stbi_uc* p) const { stbi_image_free(p); }
};

std::vector<uint8_t> read_bytes(const fs::path& path) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) throw BrokenImage("cannot be read");
  std::vector<uint8_t> bytes(static_cast<size_t>(std::max<std::streamoff>(0, in.tellg())));
  if (bytes.size() > INT_MAX) throw BrokenImage("is larger than 2 GiB");
  in.seekg(0).read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!in) throw BrokenImage("cannot be read");
  if (bytes.empty()) throw BrokenImage("is empty");
  return bytes;
}

struct ImageFile {
  std::vector<uint8_t> bytes;
  ImageSize size;
};

/// The file and the size that its header states. Even the header is read only after the file was checked.
ImageFile read_image_file(const fs::path& path) {
  ImageFile file{read_bytes(path), {}};
  if (const char* const defect = defect_of(file.bytes)) throw BrokenImage(defect);
  int width = 0, height = 0, components = 0;
  int const known =
      stbi_info_from_memory(file.bytes.data(), static_cast<int>(file.bytes.size()), &width, &height, &components);
  if (!known) throw BrokenImage(cat("is no readable JPEG, PNG or BMP (", stbi_failure_reason(), ")"));
  if (width <= 0 || height <= 0) throw BrokenImage("has no pixels");
  if (int64_t{width} * height > most_pixels) throw BrokenImage(cat("is too large: ", width, "x", height));
  file.size = {height, width, components >= 3 ? 3 : 1};
  return file;
}

void convert_channels(const uint8_t* from, int64_t from_channels, uint8_t* to, int64_t to_channels, int64_t pixels) {
  if (from_channels == to_channels) {
    std::copy_n(from, pixels * from_channels, to);
  } else if (from_channels == 1) {
    for (int64_t i = 0; i < pixels; ++i) to[3 * i] = to[3 * i + 1] = to[3 * i + 2] = from[i];
  } else {
    for (int64_t i = 0; i < pixels; ++i) {
      int const luminance = 299 * from[3 * i] + 587 * from[3 * i + 1] + 114 * from[3 * i + 2];
      to[i] = static_cast<uint8_t>((luminance + 500) / 1000);
    }
  }
}

}  // namespace

bool is_image_name(const fs::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  constexpr std::array<const char*, 4> known{".jpg", ".jpeg", ".png", ".bmp"};
  return std::find(known.begin(), known.end(), extension) != known.end();
}

ImageSize image_file_size(const fs::path& path) { return read_image_file(path).size; }

DecodedImage decode_image_file(const fs::path& path) {
  ImageFile const file = read_image_file(path);
  int width = 0, height = 0, components = 0;
  std::unique_ptr<stbi_uc, StbiFree> const pixels(
      stbi_load_from_memory(file.bytes.data(), static_cast<int>(file.bytes.size()), &width, &height, &components,
                            static_cast<int>(file.size.channels)));
  if (!pixels || width != file.size.width || height != file.size.height) {
    throw BrokenImage(cat("cannot be decoded (", pixels ? "its size changed" : stbi_failure_reason(), ")"));
  }
  return {file.size, {pixels.get(), pixels.get() + file.size.bytes()}};
}

void conform(const uint8_t* from, const ImageSize& from_size, uint8_t* to, const ImageSize& to_size) {
  if (from_size.height == to_size.height && from_size.width == to_size.width) {
    convert_channels(from, from_size.channels, to, to_size.channels, to_size.height * to_size.width);
    return;
  }
  ImageSize const resized_size{to_size.height, to_size.width, from_size.channels};
  std::vector<uint8_t> resized(static_cast<size_t>(resized_size.bytes()));
  // Catmull-Rom, widened when it shrinks: Pillow's default (BICUBIC). Smoother filters cost accuracy on X-rays.
  int const done = stbir_resize_uint8_generic(
      from, static_cast<int>(from_size.width), static_cast<int>(from_size.height), 0, resized.data(),
      static_cast<int>(to_size.width), static_cast<int>(to_size.height), 0, static_cast<int>(from_size.channels),
      STBIR_ALPHA_CHANNEL_NONE, 0, STBIR_EDGE_CLAMP, STBIR_FILTER_CATMULLROM, STBIR_COLORSPACE_LINEAR, nullptr);
  check(done == 1, "resize to ", to_size.width, "x", to_size.height, " ran out of memory");
  convert_channels(resized.data(), from_size.channels, to, to_size.channels, to_size.height * to_size.width);
}

void require_memory(int64_t n, const ImageSize& size, const std::string& what) {
  int64_t const memory = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGE_SIZE);
  // In double: n and the size come from files and may overflow. Beside its pixels an image has a name, a label, an id,
  // a group and a hash.
  double const image =
      static_cast<double>(size.height) * static_cast<double>(size.width) * static_cast<double>(size.channels);
  double const needed = static_cast<double>(n) * (image + 256);
  require(needed < static_cast<double>(memory), what, ": ", n, " images of ", size.height, "x", size.width, "x",
          size.channels, " need ", needed / (1 << 30), " GiB, this machine has ", memory / double(1 << 30));
}

std::shared_ptr<uint8_t> new_pixels(int64_t n, const ImageSize& size, const std::string& what) {
  require_memory(n, size, what);
  return std::shared_ptr<uint8_t>(new uint8_t[static_cast<size_t>(n * size.bytes())], std::default_delete<uint8_t[]>());
}

}  // namespace mith
