#include "data/pixels.h"

#include <stb/stb_image.h>
#include <stb/stb_image_resize.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <fstream>

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

ImageSize checked_size(bool known, int width, int height, int components) {
  if (!known) throw BrokenImage(cat("is no readable JPEG, PNG or BMP (", stbi_failure_reason(), ")"));
  if (width <= 0 || height <= 0) throw BrokenImage("has no pixels");
  if (int64_t{width} * height > most_pixels) throw BrokenImage(cat("is too large: ", width, "x", height));
  return {height, width, components >= 3 ? 3 : 1};
}

uint32_t little_u32(const uint8_t* p) { return p[0] | p[1] << 8 | p[2] << 16 | uint32_t{p[3]} << 24; }

/// The decoder fills in what a truncated JPEG lacks, so the end marker is looked for: behind the start of the first
/// scan, for segments before it may hold a whole thumbnail.
bool jpeg_is_complete(const std::vector<uint8_t>& b) {
  size_t at = 2;
  while (at + 4 <= b.size() && b[at] == 0xff && b[at + 1] != 0xda) {
    bool const padding = b[at + 1] == 0xff;
    at += padding ? 1 : 2u + (b[at + 2] << 8 | b[at + 3]);
  }
  constexpr std::array<uint8_t, 2> end_of_image{0xff, 0xd9};
  if (at >= b.size()) return false;
  return std::search(b.begin() + static_cast<ptrdiff_t>(at), b.end(), end_of_image.begin(), end_of_image.end()) !=
         b.end();
}

/// The decoder reads zeros behind the end of a BMP; its pixels must all be there.
bool bmp_is_complete(const std::vector<uint8_t>& b, const ImageSize& size) {
  if (b.size() < 30) return false;
  int64_t const offset = little_u32(&b[10]), bits = b[28] | b[29] << 8;
  int64_t const row_bytes = (size.width * bits + 31) / 32 * 4;
  return offset + row_bytes * size.height <= static_cast<int64_t>(b.size());
}

bool is_complete(const std::vector<uint8_t>& b, const ImageSize& size) {
  if (b.size() >= 2 && b[0] == 0xff && b[1] == 0xd8) return jpeg_is_complete(b);
  if (b.size() >= 2 && b[0] == 'B' && b[1] == 'M') return bmp_is_complete(b, size);
  return true;  // the PNG decoder itself fails where the file ends early
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

ImageSize image_file_size(const fs::path& path) {
  int width = 0, height = 0, components = 0;
  int const known = stbi_info(path.c_str(), &width, &height, &components);
  return checked_size(known != 0, width, height, components);
}

DecodedImage decode_image_file(const fs::path& path) {
  std::vector<uint8_t> const bytes = read_bytes(path);
  int const length = static_cast<int>(bytes.size());
  int width = 0, height = 0, components = 0;
  int const known = stbi_info_from_memory(bytes.data(), length, &width, &height, &components);
  ImageSize const size = checked_size(known != 0, width, height, components);
  if (!is_complete(bytes, size)) throw BrokenImage("ends early");
  std::unique_ptr<stbi_uc, StbiFree> const pixels(
      stbi_load_from_memory(bytes.data(), length, &width, &height, &components, static_cast<int>(size.channels)));
  if (!pixels || width != size.width || height != size.height) {
    throw BrokenImage(cat("cannot be decoded (", pixels ? "its size changed" : stbi_failure_reason(), ")"));
  }
  return {size, {pixels.get(), pixels.get() + size.bytes()}};
}

void conform(const uint8_t* from, const ImageSize& from_size, uint8_t* to, const ImageSize& to_size) {
  if (from_size.height == to_size.height && from_size.width == to_size.width) {
    convert_channels(from, from_size.channels, to, to_size.channels, to_size.height * to_size.width);
    return;
  }
  ImageSize const resized_size{to_size.height, to_size.width, from_size.channels};
  std::vector<uint8_t> resized(static_cast<size_t>(resized_size.bytes()));
  int const done = stbir_resize_uint8(from, static_cast<int>(from_size.width), static_cast<int>(from_size.height), 0,
                                      resized.data(), static_cast<int>(to_size.width), static_cast<int>(to_size.height),
                                      0, static_cast<int>(from_size.channels));
  check(done == 1, "resize to ", to_size.width, "x", to_size.height, " ran out of memory");
  convert_channels(resized.data(), from_size.channels, to, to_size.channels, to_size.height * to_size.width);
}

std::shared_ptr<uint8_t> new_pixels(int64_t n, const ImageSize& size, const std::string& what) {
  int64_t const memory = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGE_SIZE);
  // In double: n and the size come from files and may overflow.
  double const needed = static_cast<double>(n) * static_cast<double>(size.height) * static_cast<double>(size.width) *
                        static_cast<double>(size.channels);
  require(needed < static_cast<double>(memory), what, ": ", n, " images of ", size.height, "x", size.width, "x",
          size.channels, " need ", needed / (1 << 30), " GiB, this machine has ", memory / double(1 << 30));
  return std::shared_ptr<uint8_t>(new uint8_t[static_cast<size_t>(n * size.bytes())], std::default_delete<uint8_t[]>());
}

}  // namespace mith
