#include "data/zip.h"

#include <algorithm>
#include <span>

#include "kernels/launch/error.h"

namespace mith {
namespace {

constexpr size_t buffer_bytes = 1 << 16;
constexpr uint64_t most_directory_bytes = 1 << 24;
/// Deflate cannot pack tighter than 1032 to 1 (zlib's technical notes); a declaration beyond it is a bomb or damage.
constexpr uint64_t most_ratio = 1032;
constexpr uint32_t local_signature = 0x04034b50, central_signature = 0x02014b50, end_signature = 0x06054b50;
constexpr uint32_t end64_signature = 0x06064b50, locator64_signature = 0x07064b50;
constexpr size_t local_bytes = 30, central_bytes = 46, end_bytes = 22, locator64_bytes = 20, end64_bytes = 56;

using Bytes = std::span<const uint8_t>;

/// A little-endian number of `count` bytes; the caller has checked the range.
uint64_t number(Bytes b, size_t at, size_t count) {
  uint64_t value = 0;
  for (size_t i = 0; i < count; ++i) value |= uint64_t{b[at + i]} << (8 * i);
  return value;
}

/// Where the central directory lies.
struct Directory {
  uint64_t offset, bytes, entries;
};

class DirectoryReader {
 public:
  DirectoryReader(const std::filesystem::path& path) : path_(path), file_(path, std::ios::binary | std::ios::ate) {
    require(file_.is_open(), path_.string(), " cannot be read");
    auto const end = file_.tellg();
    if (end < 0) damaged("its size is unknown");
    size_ = static_cast<uint64_t>(end);
  }

  std::map<std::string, ZipEntry> entries() {
    Directory const directory = locate();
    if (directory.bytes > most_directory_bytes) damaged("its directory is too large");
    std::vector<uint8_t> const bytes = at(directory.offset, directory.bytes);
    std::map<std::string, ZipEntry> entries;
    Bytes rest(bytes);
    for (uint64_t i = 0; i < directory.entries; ++i) {
      ZipEntry entry = next_entry(rest);
      entries.emplace(entry.name, entry);
    }
    return entries;
  }

 private:
  [[noreturn]] void damaged(const char* why) const {
    throw UsageError(cat(path_.string(), " is no complete zip archive: ", why));
  }

  std::vector<uint8_t> at(uint64_t offset, uint64_t count) {
    if (offset > size_ || count > size_ - offset) damaged("its directory points outside the file");
    std::vector<uint8_t> bytes(count);
    file_.clear();
    file_.seekg(static_cast<std::streamoff>(offset));
    file_.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(count));
    if (!file_) damaged("it cannot be read to its end");
    return bytes;
  }

  /// The end record lies at the end, before a comment of at most 65535 bytes.
  Directory locate() {
    uint64_t const tail_bytes = std::min<uint64_t>(size_, end_bytes + 0xffff);
    std::vector<uint8_t> const tail = at(size_ - tail_bytes, tail_bytes);
    for (size_t back = end_bytes; back <= tail.size(); ++back) {
      Bytes const record = Bytes(tail).subspan(tail.size() - back);
      if (number(record, 0, 4) != end_signature || number(record, 20, 2) != back - end_bytes) continue;
      Directory const plain{number(record, 16, 4), number(record, 12, 4), number(record, 10, 2)};
      bool const needs64 = plain.offset == 0xffffffff || plain.bytes == 0xffffffff || plain.entries == 0xffff;
      return needs64 ? locate64(size_ - back) : plain;
    }
    damaged("the end record is missing");
  }

  Directory locate64(uint64_t end_record) {
    if (end_record < locator64_bytes) damaged("the zip64 locator is missing");
    std::vector<uint8_t> const locator = at(end_record - locator64_bytes, locator64_bytes);
    if (number(locator, 0, 4) != locator64_signature) damaged("the zip64 locator is missing");
    std::vector<uint8_t> const record = at(number(locator, 8, 8), end64_bytes);
    if (number(record, 0, 4) != end64_signature) damaged("the zip64 end record is missing");
    return {number(record, 48, 8), number(record, 40, 8), number(record, 32, 8)};
  }

  /// Parses the entry at the front of `rest` and moves `rest` behind it.
  ZipEntry next_entry(Bytes& rest) const {
    if (rest.size() < central_bytes || number(rest, 0, 4) != central_signature) damaged("its directory is damaged");
    size_t const name_bytes = number(rest, 28, 2), extra_bytes = number(rest, 30, 2);
    size_t const all_bytes = central_bytes + name_bytes + extra_bytes + number(rest, 32, 2);
    if (rest.size() < all_bytes) damaged("its directory is damaged");
    ZipEntry entry;
    entry.name.assign(rest.begin() + central_bytes, rest.begin() + central_bytes + static_cast<ptrdiff_t>(name_bytes));
    if (number(rest, 8, 2) & 1) throw UsageError(cat(path_.string(), ": entry ", entry.name, " is encrypted"));
    entry.method = static_cast<uint16_t>(number(rest, 10, 2));
    entry.crc = static_cast<uint32_t>(number(rest, 16, 4));
    entry.packed_size = number(rest, 20, 4);
    entry.size = number(rest, 24, 4);
    entry.header_offset = number(rest, 42, 4);
    read_zip64(rest.subspan(central_bytes + name_bytes, extra_bytes), entry);
    rest = rest.subspan(all_bytes);
    return entry;
  }

  /// A zip64 field holds, in this order, those of the three numbers that did not fit into 32 bits.
  void read_zip64(Bytes extra, ZipEntry& entry) const {
    while (extra.size() >= 4) {
      size_t const id = number(extra, 0, 2), bytes = number(extra, 2, 2);
      if (extra.size() < 4 + bytes) damaged("its directory is damaged");
      Bytes field = extra.subspan(4, bytes);
      for (uint64_t* value : {&entry.size, &entry.packed_size, &entry.header_offset}) {
        if (id != 1 || *value != 0xffffffff) continue;
        if (field.size() < 8) damaged("a zip64 field is too short");
        *value = number(field, 0, 8);
        field = field.subspan(8);
      }
      extra = extra.subspan(4 + bytes);
    }
  }

  const std::filesystem::path& path_;
  std::ifstream file_;
  uint64_t size_ = 0;
};

}  // namespace

ZipArchive::ZipArchive(std::filesystem::path path) : path_(std::move(path)) {
  entries_ = DirectoryReader(path_).entries();
}

const ZipEntry* ZipArchive::find(const std::string& name) const {
  auto const it = entries_.find(name);
  return it == entries_.end() ? nullptr : &it->second;
}

ZipReader::ZipReader(const ZipArchive& archive, const ZipEntry& entry)
    : archive_(archive),
      entry_(entry),
      file_(archive.path(), std::ios::binary),
      buffer_(buffer_bytes),
      packed_left_(entry.packed_size),
      content_left_(entry.size) {
  if (entry.method != 0 && entry.method != 8) fail("is packed by a method other than stored and deflate");
  if (entry.method == 0 && entry.size != entry.packed_size) fail("declares two different sizes");
  if (entry.size / most_ratio > entry.packed_size) fail("declares more bytes than its packed bytes can hold");
  uint8_t header[local_bytes];
  file_.seekg(static_cast<std::streamoff>(entry.header_offset));
  file_.read(reinterpret_cast<char*>(header), local_bytes);
  if (!file_ || number(header, 0, 4) != local_signature) fail("has no local header");
  file_.seekg(static_cast<std::streamoff>(number(header, 26, 2) + number(header, 28, 2)), std::ios::cur);
  if (entry.method == 8 && inflateInit2(&stream_, -MAX_WBITS) != Z_OK) fail("cannot be inflated: out of memory");
}

ZipReader::~ZipReader() {
  if (entry_.method == 8) inflateEnd(&stream_);
}

void ZipReader::fail(const std::string& why) const {
  throw UsageError(cat(archive_.path().string(), ": entry ", entry_.name, " ", why));
}

void ZipReader::refill() {
  uint64_t const count = std::min<uint64_t>(packed_left_, buffer_.size());
  file_.read(reinterpret_cast<char*>(buffer_.data()), static_cast<std::streamsize>(count));
  if (!file_ || count == 0) fail("ends early");
  packed_left_ -= count;
  stream_.next_in = buffer_.data();
  stream_.avail_in = static_cast<uInt>(count);
}

uint64_t ZipReader::inflate_some(uint8_t* to, uint64_t count) {
  uInt const room = static_cast<uInt>(std::min<uint64_t>(count, 1 << 30));
  if (stream_.avail_in == 0 && packed_left_ > 0) refill();
  stream_.next_out = to;
  stream_.avail_out = room;
  int const status = inflate(&stream_, Z_NO_FLUSH);
  uint64_t const made = room - stream_.avail_out;
  if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR) fail("is damaged");
  bool const stuck = made == 0 && stream_.avail_in == 0 && packed_left_ == 0;
  if (stuck || (status == Z_STREAM_END && made < count)) fail("ends early");
  return made;
}

uint64_t ZipReader::copy_some(uint8_t* to, uint64_t count) {
  file_.read(reinterpret_cast<char*>(to), static_cast<std::streamsize>(count));
  if (!file_) fail("ends early");
  return count;
}

void ZipReader::read(uint8_t* to, uint64_t count) {
  if (count > content_left_) fail("ends early");
  content_left_ -= count;
  while (count > 0) {
    uint64_t const made = entry_.method == 8 ? inflate_some(to, count) : copy_some(to, count);
    crc_ = static_cast<uint32_t>(crc32_z(crc_, to, made));
    to += made;
    count -= made;
  }
}

void ZipReader::finish() {
  if (content_left_ != 0) fail("is longer than its array");
  if (crc_ != entry_.crc) fail("is damaged: its checksum differs");
}

}  // namespace mith
