#include "data/integrity.h"

#include <zlib.h>

#include <cstdlib>
#include <cstring>

namespace mith {
namespace {

using Bytes = std::span<const uint8_t>;

uint32_t big_u16(Bytes b, size_t at) { return uint32_t{b[at]} << 8 | b[at + 1]; }
uint32_t big_u32(Bytes b, size_t at) { return big_u16(b, at) << 16 | big_u16(b, at + 2); }
uint32_t little_u16(Bytes b, size_t at) { return uint32_t{b[at + 1]} << 8 | b[at]; }
uint32_t little_u32(Bytes b, size_t at) { return little_u16(b, at + 2) << 16 | little_u16(b, at); }

/// Tables of a DHT segment whose length field is at `at`: a class byte, 16 counts of codes, the codes.
bool huffman_tables_fit(Bytes b, size_t at) {
  if (at + 2 > b.size()) return true;
  int64_t left = int64_t{big_u16(b, at)} - 2;
  for (size_t table = at + 2; left > 0 && table < b.size();) {
    uint32_t codes = 0;
    for (size_t i = table + 1; i <= table + 16 && i < b.size(); ++i) codes += b[i];
    if (codes > 256) return false;
    table += 17 + codes;
    left -= 17 + static_cast<int64_t>(codes);
  }
  return true;
}

const char* jpeg_defect(Bytes b) {
  size_t at = 2;
  // Metadata may hold anything, so it is stepped over; behind it, whatever could be taken for a table must be one.
  while (at + 4 <= b.size() && b[at] == 0xff && ((b[at + 1] & 0xf0) == 0xe0 || b[at + 1] == 0xfe)) {
    at += 2 + big_u16(b, at + 2);
  }
  for (; at + 2 <= b.size(); ++at) {
    bool const table = b[at] == 0xff && b[at + 1] == 0xc4;
    if (table && !huffman_tables_fit(b, at + 2)) return "has a Huffman table that is too long";
  }
  return nullptr;
}

const char* png_defect(Bytes b) {
  bool pixels = false;
  for (size_t at = 8; at + 12 <= b.size();) {
    size_t const length = big_u32(b, at);
    if (length > b.size() - at - 12) break;
    Bytes const typed = b.subspan(at + 4, 4 + length);
    if (crc32_z(0, typed.data(), typed.size()) != big_u32(b, at + 8 + length)) return "is damaged: a checksum differs";
    if (std::memcmp(typed.data(), "IEND", 4) == 0) return pixels ? nullptr : "has no pixels";
    if (std::memcmp(typed.data(), "IDAT", 4) == 0) {
      if (length == 0 && !pixels) return "begins its pixels with none";
      pixels = true;
    }
    at += 12 + length;
  }
  return "ends early";
}

const char* bmp_defect(Bytes b) {
  if (b.size() < 30) return "ends early";
  int64_t const offset = little_u32(b, 10), bits = little_u16(b, 28);
  int64_t const width = std::abs(int64_t{static_cast<int32_t>(little_u32(b, 18))});
  int64_t const height = std::abs(int64_t{static_cast<int32_t>(little_u32(b, 22))});
  int64_t const row_bytes = (width * bits + 31) / 32 * 4;
  int64_t const pixel_bytes = static_cast<int64_t>(b.size()) - offset;
  return row_bytes > 0 && height > pixel_bytes / row_bytes ? "ends early" : nullptr;
}

}  // namespace

const char* defect_of(Bytes file) {
  if (file.size() < 8) return "ends early";
  if (file[0] == 0xff && file[1] == 0xd8) return jpeg_defect(file);
  if (std::memcmp(file.data(), "\x89PNG\r\n\x1a\n", 8) == 0) return png_defect(file);
  if (file[0] == 'B' && file[1] == 'M') return bmp_defect(file);
  return "is no JPEG, PNG or BMP";
}

}  // namespace mith
