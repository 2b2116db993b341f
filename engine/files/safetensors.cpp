// The safetensors container: u64 header length, JSON header, values.
#include "engine/files/safetensors.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <set>

#include "engine/files/byte_file.h"
#include "engine/files/files.h"
#include "engine/files/json.h"

namespace mith {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "files are written as they lie in memory");

constexpr uint64_t longest_header = 100'000'000;  // the limit of the format's own reader
constexpr int deepest_nesting = 4;                // names, their entries, lists in those

/// How an element type is called in a file, and what it becomes here.
struct StoredType {
  std::string_view name;
  size_t size;
  DType held;
};
constexpr StoredType stored_types[] = {{"F32", 4, DType::f32}, {"F64", 8, DType::f64}, {"F16", 2, DType::f32},
                                       {"I32", 4, DType::i32}, {"I64", 8, DType::i64}, {"U8", 1, DType::u8},
                                       {"BF16", 2, DType::f32}};

const StoredType* find_type(std::string_view name) {
  auto const it = std::ranges::find(stored_types, name, &StoredType::name);
  return it == std::end(stored_types) ? nullptr : it;
}

std::string_view stored_name(DType type) {
  if (type == DType::bf16) return "BF16";
  return std::ranges::find(stored_types, type, &StoredType::held)->name;
}

float from_bf16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

/// IEEE 754 binary16: 1 sign, 5 exponent and 10 fraction bits.
float from_f16(uint16_t bits) {
  uint32_t const sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  uint32_t const exponent = bits >> 10 & 0x1f, fraction = bits & 0x3ff;
  if (exponent == 0) {  // zero or subnormal: fraction * 2^-24, exact in f32
    float const magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  uint32_t const wide = exponent == 31 ? 255 : exponent + 127 - 15;
  return std::bit_cast<float>(sign | wide << 23 | fraction << 13);
}

struct TensorEntry {
  std::string name;
  const StoredType* type = nullptr;
  Shape shape;
  uint64_t begin = 0, end = 0;
};

/// JSON in which no object has a key twice.
Json parse_header(const std::string& text, const ByteFile& file) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  auto const watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > deepest_nesting) file.fail("its header is nested too deeply");
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second)
      file.fail(cat("'", parsed.get<std::string>(), "' appears twice in its header"));
    return true;
  };
  try {
    Json header = Json::parse(text, watch);
    if (!header.is_object()) file.fail("its header is not a JSON object");
    return header;
  } catch (const Json::exception&) {
    file.fail("its header is not JSON");
  }
}

std::optional<uint64_t> as_unsigned(const Json& value) {
  return value.is_number_unsigned() ? std::optional(value.get<uint64_t>()) : std::nullopt;
}

std::vector<int64_t> read_dims(const Json& value, const std::string& subject, const ByteFile& file) {
  std::vector<int64_t> dims;
  if (!value.is_array()) file.fail(cat(subject, ": its shape is not a list"));
  for (const Json& d : value) {
    auto const number = as_unsigned(d);
    if (!number || *number > INT64_MAX) file.fail(cat(subject, ": an impossible shape"));
    dims.push_back(static_cast<int64_t>(*number));
  }
  return dims;
}

TensorEntry read_entry(const std::string& name, const Json& value, uint64_t data_size, const ByteFile& file) {
  std::string const subject = "tensor '" + name + "'";
  TensorEntry entry{.name = name};
  bool const complete = value.is_object() && value.contains("dtype") && value.contains("shape") &&
                        value.contains("data_offsets") && value["dtype"].is_string() &&
                        value["data_offsets"].is_array() && value["data_offsets"].size() == 2;
  if (!complete) file.fail(subject + ": dtype, shape or data_offsets is missing or malformed");
  auto const type = value["dtype"].get<std::string>();
  entry.type = find_type(type);
  if (!entry.type) file.fail(cat(subject, ": element type ", type, " is not supported"));
  auto const begin = as_unsigned(value["data_offsets"][0]), end = as_unsigned(value["data_offsets"][1]);
  if (!begin || !end || *begin > *end || *end > data_size) file.fail(subject + ": its offsets lie outside the file");
  entry.begin = *begin;
  entry.end = *end;
  entry.shape = file.checked_shape(read_dims(value["shape"], subject, file), entry.type->size, *end - *begin, subject);
  return entry;
}

std::map<std::string, std::string> read_metadata(const Json& value, const ByteFile& file) {
  if (!value.is_object()) file.fail("__metadata__ is not an object");
  std::map<std::string, std::string> metadata;
  for (auto const& [key, text] : value.items()) {
    if (!text.is_string()) file.fail(cat("__metadata__ '", key, "' is not text"));
    metadata[key] = text.get<std::string>();
  }
  return metadata;
}

/// Sorted by position; tensors must cover the values without a gap or an overlap.
void sort_and_check_cover(std::vector<TensorEntry>& entries, uint64_t data_size, const ByteFile& file) {
  std::ranges::sort(entries, [](auto& a, auto& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  uint64_t position = 0;
  for (const TensorEntry& entry : entries) {
    if (entry.begin < position) file.fail(cat("tensor '", entry.name, "' overlaps another"));
    if (entry.begin > position) file.fail(cat("there is a gap before tensor '", entry.name, "'"));
    position = entry.end;
  }
  if (position != data_size) file.fail(cat(data_size - position, " bytes belong to no tensor"));
}

Tensor read_half_precision(ByteFile& file, const TensorEntry& entry) {
  std::vector<uint16_t> halves(static_cast<size_t>(entry.shape.numel()));
  file.read(halves.data(), halves.size() * sizeof(uint16_t));
  Tensor tensor = Tensor::empty(entry.shape, DType::f32, Device::cpu);
  std::ranges::transform(halves, tensor.data<float>(), entry.type->name == "BF16" ? from_bf16 : from_f16);
  return tensor;
}

std::string header_text(const std::vector<const StoredTensor*>& tensors,
                        const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t position = 0;
  for (const StoredTensor* tensor : tensors) {
    check(!header.contains(tensor->name), "two tensors named ", tensor->name);
    uint64_t const end = position + tensor->value.bytes();
    auto const dims = tensor->value.shape().dims();
    header[tensor->name] = {{"dtype", stored_name(tensor->value.dtype())},
                            {"shape", std::vector<int64_t>(dims.begin(), dims.end())},
                            {"data_offsets", {position, end}}};
    position = end;
  }
  std::string text = json_text(header);
  text.append((8 - text.size() % 8) % 8, ' ');  // values start aligned
  return text;
}

}  // namespace

const Tensor* SafetensorsFile::find(const std::string& name) const {
  auto const it = std::ranges::find(tensors, name, &StoredTensor::name);
  return it == tensors.end() ? nullptr : &it->value;
}

SafetensorsFile read_safetensors(const fs::path& path) {
  ByteFile file(path);
  uint64_t length = 0;
  if (file.left() < sizeof length) file.fail("it is not a safetensors file");
  file.read(&length, sizeof length);
  if (length > longest_header || length > file.left())
    file.fail("it is not a safetensors file: its header is too long");
  std::string text(length, '\0');
  file.read(text.data(), length);

  uint64_t const data_size = file.left();
  SafetensorsFile result;
  std::vector<TensorEntry> entries;
  Json const header = parse_header(text, file);
  for (auto const& [name, value] : header.items())
    if (name == "__metadata__")
      result.metadata = read_metadata(value, file);
    else
      entries.push_back(read_entry(name, value, data_size, file));
  sort_and_check_cover(entries, data_size, file);
  for (const TensorEntry& entry : entries) {
    bool const half = entry.type->size == 2;
    result.tensors.push_back(
        {entry.name, half ? read_half_precision(file, entry) : file.read_tensor(entry.shape, entry.type->held)});
  }
  return result;
}

void write_safetensors(const fs::path& path, const std::vector<StoredTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<const StoredTensor*> ordered;
  ordered.reserve(tensors.size());
  for (const StoredTensor& tensor : tensors) ordered.push_back(&tensor);
  // Wide elements first: then every tensor is aligned for its type.
  std::ranges::stable_sort(ordered, std::greater(), [](auto* t) { return size_of(t->value.dtype()); });
  std::string const header = header_text(ordered, metadata);
  uint64_t const length = header.size();
  write_atomically(path, [&](std::ostream& out) {
    out.write(reinterpret_cast<const char*>(&length), sizeof length);
    out << header;
    for (const StoredTensor* tensor : ordered) {
      Tensor const value = tensor->value.to(Device::cpu);
      out.write(static_cast<const char*>(value.raw()), static_cast<std::streamsize>(value.bytes()));
    }
  });
}

}  // namespace mith
