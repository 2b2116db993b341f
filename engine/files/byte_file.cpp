#include "engine/files/byte_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <optional>

namespace mith {

namespace {

/// Elements of a shape times the size of one; nothing if that overflows or a dimension is negative.
std::optional<uint64_t> byte_count(const std::vector<int64_t>& dims, size_t element_size) {
  uint64_t bytes = element_size;
  bool empty = false;
  for (int64_t d : dims) {
    if (d < 0) return std::nullopt;
    empty |= d == 0;
    uint64_t const factor = std::max<uint64_t>(static_cast<uint64_t>(d), 1);
    if (bytes > std::numeric_limits<int64_t>::max() / factor) return std::nullopt;
    bytes *= factor;
  }
  return empty ? 0 : bytes;
}

}  // namespace

namespace fs = std::filesystem;

ByteFile::ByteFile(fs::path path) : path_(std::move(path)) {
  std::error_code error;
  if (fs::is_directory(path_, error)) fail("it is a folder");
  errno = 0;
  in_.open(path_, std::ios::binary);
  if (!in_) fail(std::strerror(errno));
  in_.seekg(0, std::ios::end);
  auto const end = in_.tellg();
  in_.seekg(0);
  if (!in_ || end < 0) fail("its length is unknown");
  size_ = static_cast<uint64_t>(end);
}

void ByteFile::fail(const std::string& why) const { throw UsageError(cat("cannot read ", path_, ": ", why)); }

void ByteFile::read(void* destination, uint64_t bytes) {
  if (bytes > left()) fail("it ends too early");
  in_.read(static_cast<char*>(destination), static_cast<std::streamsize>(bytes));
  if (!in_) fail("reading failed");
  position_ += bytes;
}

Shape ByteFile::checked_shape(const std::vector<int64_t>& dims, size_t element_size, uint64_t bytes,
                              const std::string& subject) const {
  if (dims.size() > Shape::most) fail(cat(subject, ": a shape of ", dims.size(), " dimensions"));
  std::optional<uint64_t> const needed = byte_count(dims, element_size);
  if (!needed) fail(cat(subject, ": an impossible shape"));
  Shape const shape{std::span<const int64_t>(dims)};
  if (*needed != bytes) fail(cat(subject, ": shape ", shape, " needs ", *needed, " bytes, there are ", bytes));
  return shape;
}

Tensor ByteFile::read_tensor(const Shape& shape, DType type) {
  Tensor tensor = Tensor::empty(shape, type, Device::cpu);
  read(tensor.raw(), tensor.bytes());
  return tensor;
}

}  // namespace mith
