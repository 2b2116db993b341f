// numpy's .npy format (NEP 1): "\x93NUMPY", version, header length, a Python dictionary, the raw values.
#include <bit>
#include <cctype>
#include <charconv>
#include <fstream>
#include <optional>

#include "engine/files/byte_file.h"
#include "engine/files/files.h"

namespace mith {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "files are written as they lie in memory");

constexpr std::string_view magic = "\x93NUMPY";
constexpr uint64_t longest_header = 1 << 20;  // numpy's own are 128 bytes or a little more

struct TypeName {
  DType type;
  std::string_view text;
};
constexpr TypeName type_names[] = {
    {DType::f32, "<f4"}, {DType::f64, "<f8"}, {DType::i32, "<i4"}, {DType::i64, "<i8"}, {DType::u8, "|u1"}};

std::optional<DType> type_of(std::string_view text) {
  for (const TypeName& name : type_names)
    if (name.text == text) return name.type;
  return std::nullopt;
}

std::string_view text_of(DType type) {
  for (const TypeName& name : type_names)
    if (name.type == type) return name.text;
  throw Error(cat(".npy files hold no ", name_of(type)));
}

std::string header_of(DType type, const Shape& shape) {
  std::string header = cat("{'descr': '", text_of(type), "', 'fortran_order': False, 'shape': (");
  for (int64_t d : shape.dims()) header += cat(d, shape.rank() == 1 ? "," : ", ");
  if (shape.rank() > 1) header.resize(header.size() - 2);
  header += "), }";
  size_t const before = magic.size() + 4;  // magic, version, length: the values start at a multiple of 64
  header.append(63 - (before + header.size()) % 64, ' ');
  return header + '\n';
}

struct Header {
  std::optional<std::string> type;
  std::optional<bool> fortran_order;
  std::optional<std::vector<int64_t>> shape;
};

/// Reads the header's dictionary: string keys with a string, a boolean or a tuple of integers each.
class HeaderReader {
 public:
  HeaderReader(std::string_view text, const ByteFile& file) : text_(text), file_(file) {}

  Header read() {
    Header header;
    expect('{');
    while (!accept('}')) {
      std::string const key = string();
      expect(':');
      if (key == "descr" && !header.type)
        header.type = string();
      else if (key == "fortran_order" && !header.fortran_order)
        header.fortran_order = boolean();
      else if (key == "shape" && !header.shape)
        header.shape = tuple();
      else
        fail();
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    if (!text_.empty() || !header.type || !header.fortran_order || !header.shape) fail();
    return header;
  }

 private:
  [[noreturn]] void fail() const { file_.fail("its header is not a .npy header"); }
  void skip_space() {
    while (!text_.empty() && std::isspace(static_cast<unsigned char>(text_[0]))) text_.remove_prefix(1);
  }
  bool accept(char c) {
    skip_space();
    if (text_.empty() || text_[0] != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail();
  }
  std::string string() {
    skip_space();
    if (text_.empty() || (text_[0] != '\'' && text_[0] != '"')) fail();
    size_t const end = text_.find(text_[0], 1);
    if (end == std::string_view::npos) fail();
    std::string value(text_.substr(1, end - 1));
    text_.remove_prefix(end + 1);
    return value;
  }
  bool boolean() {
    skip_space();
    for (bool value : {true, false}) {
      std::string_view const word = value ? "True" : "False";
      if (!text_.starts_with(word)) continue;
      text_.remove_prefix(word.size());
      return value;
    }
    fail();
  }
  std::vector<int64_t> tuple() {
    std::vector<int64_t> values;
    expect('(');
    while (!accept(')')) {
      skip_space();
      int64_t value = 0;
      auto const [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), value);
      if (error != std::errc()) fail();
      text_.remove_prefix(static_cast<size_t>(end - text_.data()));
      values.push_back(value);
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return values;
  }

  std::string_view text_;
  const ByteFile& file_;
};

std::string read_header(ByteFile& file) {
  char start[8] = {};
  file.read(start, sizeof start);
  if (std::string_view(start, magic.size()) != magic) file.fail("it is not a .npy file");
  int const version = static_cast<unsigned char>(start[6]);
  if (version < 1 || version > 3) file.fail(cat(".npy version ", version, " is not known"));
  uint32_t length = 0;
  file.read(&length, version == 1 ? 2 : 4);
  if (length > file.left() || length > longest_header) file.fail("its header is longer than the file");
  std::string header(length, '\0');
  file.read(header.data(), header.size());
  return header;
}

}  // namespace

void write_npy(const fs::path& path, const Tensor& tensor) {
  std::string const header = header_of(tensor.dtype(), tensor.shape());
  auto const length = static_cast<uint16_t>(header.size());
  Tensor const values = tensor.to(Device::cpu);
  write_atomically(path, [&](std::ostream& out) {
    out << magic << '\1' << '\0';
    out.write(reinterpret_cast<const char*>(&length), sizeof length);
    out << header;
    out.write(static_cast<const char*>(values.raw()), static_cast<std::streamsize>(values.bytes()));
  });
}

Tensor read_npy(const fs::path& path) {
  ByteFile file(path);
  std::string const text = read_header(file);
  Header const header = HeaderReader(text, file).read();
  std::optional<DType> const type = type_of(*header.type);
  if (!type) file.fail(cat("values of type '", *header.type, "' cannot be read (f4, f8, i4, i8 and u1 can)"));
  if (*header.fortran_order) file.fail("it is in Fortran order; save it with numpy.ascontiguousarray");
  Shape const shape = file.checked_shape(*header.shape, size_of(*type), file.left(), "its values");
  return file.read_tensor(shape, *type);
}

}  // namespace mith
