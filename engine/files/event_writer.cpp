// TensorBoard event files: TFRecord framing and the handful of protobuf fields that a scalar needs.
#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "engine/files/files.h"
#include "engine/files/run_folder.h"

namespace mith {
namespace {

static_assert(std::endian::native == std::endian::little, "records are written as they lie in memory");

constexpr std::array<uint32_t, 256> crc_table = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = c & 1 ? c >> 1 ^ 0x82f63b78u : c >> 1;
    table[i] = c;
  }
  return table;
}();

template <class T>
std::string bytes_of(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

/// TFRecord stores checksums rotated and shifted, so that a checksum of data holding checksums stays meaningful.
std::string masked_crc(std::string_view bytes) { return bytes_of(std::rotr(crc32c(bytes), 15) + 0xa282ead8u); }

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}

// Protobuf fields: a tag (number << 3 | wire type), then the value.
std::string varint_field(int number, int64_t value) {
  return varint(number << 3) + varint(static_cast<uint64_t>(value));
}
std::string double_field(int number, double value) { return varint(number << 3 | 1) + bytes_of(value); }
std::string float_field(int number, float value) { return varint(number << 3 | 5) + bytes_of(value); }
std::string bytes_field(int number, const std::string& value) {
  return varint(number << 3 | 2) + varint(value.size()) + value;
}

double wall_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string file_name() {
  static std::atomic<int> counter{0};
  char host[256] = "localhost";
  gethostname(host, sizeof host - 1);
  return cat("events.out.tfevents.", static_cast<int64_t>(wall_time()), ".", host, ".", getpid(), ".", counter++);
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (unsigned char byte : bytes) crc = crc >> 8 ^ crc_table[(crc ^ byte) & 0xff];
  return ~crc;
}

EventWriter::EventWriter(const std::filesystem::path& folder) : path_(folder / file_name()) {
  make_writable_folder(folder);
  out_.open(path_, std::ios::binary);
  require(out_.is_open(), "cannot write ", path_, ": ", std::strerror(errno));
  record(double_field(1, wall_time()) + bytes_field(3, "brain.Event:2"));  // Event.wall_time, .file_version
  flush();
}

void EventWriter::record(const std::string& event) {
  std::string const length = bytes_of(static_cast<uint64_t>(event.size()));
  out_ << length << masked_crc(length) << event << masked_crc(event);
  check(out_.good(), "cannot write ", path_, ": is the disk full?");
}

void EventWriter::scalar(const std::string& tag, double value, int64_t step) {
  std::string const summary_value = bytes_field(1, tag) + float_field(2, static_cast<float>(value));
  record(double_field(1, wall_time()) + varint_field(2, step) + bytes_field(5, bytes_field(1, summary_value)));
}

void EventWriter::flush() {
  out_.flush();
  check(out_.good(), "cannot write ", path_, ": is the disk full?");
}

}  // namespace mith
