// Reading zip archives: stored and deflated entries, zip64 sizes. The central directory is the authority, and nothing
// it declares is believed before it is checked.
#pragma once
#include <zlib.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

namespace mith {

struct ZipEntry {
  std::string name;
  uint16_t method = 0;         ///< 0 stored, 8 deflated
  uint32_t crc = 0;            ///< CRC-32 of the content
  uint64_t size = 0;           ///< of the content, as declared
  uint64_t packed_size = 0;    ///< in the file
  uint64_t header_offset = 0;  ///< of the local header
};

/// The entries of an archive. Every error is a UsageError that names the file.
class ZipArchive {
 public:
  explicit ZipArchive(std::filesystem::path);
  const std::filesystem::path& path() const { return path_; }
  const ZipEntry* find(const std::string& name) const;

 private:
  std::filesystem::path path_;
  std::map<std::string, ZipEntry> entries_;
};

/// The content of one entry, in order. Never yields more than the declared size.
class ZipReader {
 public:
  ZipReader(const ZipArchive&, const ZipEntry&);
  ~ZipReader();
  ZipReader(const ZipReader&) = delete;
  ZipReader& operator=(const ZipReader&) = delete;
  /// Exactly `count` bytes; UsageError if the entry has fewer left.
  void read(uint8_t* to, uint64_t count);
  /// To be called after the last byte: the content must end there and have its checksum.
  void finish();

 private:
  [[noreturn]] void fail(const std::string& why) const;
  void refill();
  uint64_t inflate_some(uint8_t* to, uint64_t count);
  uint64_t copy_some(uint8_t* to, uint64_t count);

  const ZipArchive& archive_;
  const ZipEntry& entry_;
  std::ifstream file_;
  std::vector<uint8_t> buffer_;
  uint64_t packed_left_;
  uint64_t content_left_;
  uint32_t crc_ = 0;
  z_stream stream_{};
};

}  // namespace mith
