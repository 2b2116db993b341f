#include "data/cache.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "data/hash.h"
#include "data/parallel.h"
#include "engine/train/progress.h"

namespace mith {
namespace fs = std::filesystem;
namespace {

/// The file: this header, one flag an image, one hash an image, the pixels from `pixels_offset` on.
struct Header {
  std::array<char, 8> magic{'M', 'I', 'T', 'H', 'S', 'E', 'T', '3'};
  uint64_t key = 0;
  int64_t images = 0, height = 0, width = 0, channels = 0;
  uint64_t checksum = 0;  ///< of the flags and the hashes, seeded with the key
};

constexpr int64_t page = 4096;
int64_t flags_offset() { return sizeof(Header); }
int64_t hashes_offset(int64_t images) { return (flags_offset() + images + 7) / 8 * 8; }
int64_t pixels_offset(int64_t images) { return (hashes_offset(images) + 8 * images + page - 1) / page * page; }

fs::path cache_file(const fs::path& folder, uint64_t key) {
  char name[40];
  std::snprintf(name, sizeof name, "decoded-%016llx.mith", static_cast<unsigned long long>(key));
  return folder / name;
}

class Descriptor {
 public:
  Descriptor(const fs::path& path, int flags) : value_(::open(path.c_str(), flags | O_CLOEXEC, 0644)) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int operator*() const { return value_; }

 private:
  int value_;
};

/// The whole file in memory; null if it cannot be mapped. The mapping outlives the descriptor.
std::shared_ptr<uint8_t> map_file(const Descriptor& file, int64_t bytes, int protection) {
  void* const at = ::mmap(nullptr, static_cast<size_t>(bytes), protection, MAP_SHARED, *file, 0);
  if (at == MAP_FAILED) return nullptr;
  return {static_cast<uint8_t*>(at), [bytes](uint8_t* p) { ::munmap(p, static_cast<size_t>(bytes)); }};
}

/// Deletes a half-written file unless it was renamed.
struct Aside {
  fs::path path;
  ~Aside() {
    std::error_code ignored;
    if (!path.empty()) fs::remove(path, ignored);
  }
};

void hash_pixels(const uint8_t* pixels, int64_t images, int64_t image_bytes, uint64_t* hashes) {
  for_each_image(
      images, [&](int64_t i) { hashes[i] = hash_bytes(pixels + i * image_bytes, static_cast<size_t>(image_bytes)); });
}

uint64_t checksum_of(const uint8_t* file, const Header& header) {
  size_t const bytes = static_cast<size_t>(hashes_offset(header.images) + 8 * header.images - flags_offset());
  return hash_bytes(file + flags_offset(), bytes, header.key);
}

bool plausible(const Header& h, uint64_t key, int64_t images, int64_t file_bytes) {
  auto const in_range = [](int64_t v) { return v >= 1 && v <= int64_t{1} << 15; };
  if (h.magic != Header{}.magic || h.key != key || h.images != images) return false;
  if (!in_range(h.height) || !in_range(h.width) || !in_range(h.channels)) return false;
  int64_t all_pixels = 0;
  if (__builtin_mul_overflow(images, h.height * h.width * h.channels, &all_pixels)) return false;
  return pixels_offset(images) == file_bytes - all_pixels;
}

DecodedSet view_of(const std::shared_ptr<uint8_t>& file, const Header& h) {
  const uint8_t* const flags = file.get() + flags_offset();
  return {{h.height, h.width, h.channels},
          {flags, flags + h.images},
          std::shared_ptr<const uint8_t>(file, file.get() + pixels_offset(h.images))};
}

std::nullopt_t unwritable(const fs::path& folder, int error) {
  warn(cat("decoded images are not cached: ", folder.string(), " cannot be written (", std::strerror(error), ")"));
  return std::nullopt;
}

/// $MITH_CACHE, else mithridate under the user's cache folder; empty if the user has no home.
fs::path default_cache_folder() {
  auto const variable = [](const char* name) {
    const char* const value = std::getenv(name);
    return fs::path(value ? value : "");
  };
  if (auto own = variable("MITH_CACHE"); !own.empty()) return own;
  if (auto const shared = variable("XDG_CACHE_HOME"); !shared.empty()) return shared / "mithridate";
  if (auto const home = variable("HOME"); !home.empty()) return home / ".cache" / "mithridate";
  return {};
}

/// The set stored under the key; nothing if there is none or it is damaged, foreign or of another key.
std::optional<DecodedSet> read_cache(const fs::path& folder, uint64_t key, int64_t images) {
  Descriptor const file(cache_file(folder, key), O_RDONLY);
  struct stat status {};
  if (*file < 0 || ::fstat(*file, &status) != 0 || status.st_size < pixels_offset(images)) return std::nullopt;
  auto const bytes = map_file(file, status.st_size, PROT_READ);
  if (!bytes) return std::nullopt;
  Header header;
  std::memcpy(&header, bytes.get(), sizeof header);
  if (!plausible(header, key, images, status.st_size) || header.checksum != checksum_of(bytes.get(), header)) {
    return std::nullopt;
  }
  DecodedSet set = view_of(bytes, header);
  std::vector<uint64_t> hashes(static_cast<size_t>(images));
  hash_pixels(set.pixels.get(), images, set.size.bytes(), hashes.data());
  bool const intact = std::memcmp(hashes.data(), bytes.get() + hashes_offset(images), hashes.size() * 8) == 0;
  return intact ? std::optional(std::move(set)) : std::nullopt;
}

/// Lets `decode` fill a new cache file in place; nothing, and a line saying so, if it cannot be written.
std::optional<DecodedSet> write_cache(const fs::path& folder, uint64_t key, int64_t images, const ImageSize& size,
                                      const DecodeInto& decode) {
  std::error_code failure;
  fs::create_directories(folder, failure);
  if (failure) return unwritable(folder, failure.value());
  Aside aside{cache_file(folder, key) += cat(".", ::getpid())};
  int64_t const file_bytes = pixels_offset(images) + images * size.bytes();
  Descriptor const file(aside.path, O_RDWR | O_CREAT | O_TRUNC);
  if (*file < 0) return unwritable(folder, errno);
  // Reserved, not only sized: a full disk must show here and not as a signal while pixels are written.
  if (int const error = ::posix_fallocate(*file, 0, file_bytes)) return unwritable(folder, error);
  auto const bytes = map_file(file, file_bytes, PROT_READ | PROT_WRITE);
  if (!bytes) return unwritable(folder, errno);

  uint8_t* const pixels = bytes.get() + pixels_offset(images);
  decode(size, pixels, bytes.get() + flags_offset());
  hash_pixels(pixels, images, size.bytes(), reinterpret_cast<uint64_t*>(bytes.get() + hashes_offset(images)));
  Header header{.key = key, .images = images, .height = size.height, .width = size.width, .channels = size.channels};
  header.checksum = checksum_of(bytes.get(), header);
  std::memcpy(bytes.get(), &header, sizeof header);

  // Not synced: after a crash the checks of read_cache find what is missing.
  fs::rename(aside.path, cache_file(folder, key), failure);
  if (failure) return unwritable(folder, failure.value());
  aside.path.clear();
  return view_of(bytes, header);
}

DecodedSet in_memory(int64_t images, const ImageSize& size, const std::string& source, const DecodeInto& decode) {
  DecodedSet set{size, std::vector<uint8_t>(static_cast<size_t>(images)), nullptr};
  auto const pixels = new_pixels(images, size, source);
  decode(size, pixels.get(), set.usable.data());
  set.pixels = pixels;
  return set;
}

}  // namespace

DecodedSet through_cache(fs::path folder, uint64_t key, int64_t images, const std::string& source,
                         const std::function<ImageSize()>& size, const DecodeInto& decode) {
  if (folder.empty()) folder = default_cache_folder();
  if (folder.empty()) return in_memory(images, size(), source, decode);
  if (auto found = read_cache(folder, key, images)) return std::move(*found);
  ImageSize const known = size();
  auto written = write_cache(folder, key, images, known, decode);
  return written ? std::move(*written) : in_memory(images, known, source, decode);
}

}  // namespace mith
