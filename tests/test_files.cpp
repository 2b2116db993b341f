// Files: written whole or not at all, read with suspicion. Containers and PyTorch's layouts.
#include <doctest/doctest.h>
#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "engine/files/files.h"
#include "engine/files/safetensors.h"
#include "tests/file_fixtures.h"

using namespace mith;
using namespace mith::test;
namespace fs = std::filesystem;

namespace {

template <class T>
std::string bytes_of(std::vector<T> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

std::string container(const std::string& header, const std::string& data) {
  return bytes_of<uint64_t>({header.size()}) + header + data;
}

/// Every truncation and many single-byte changes of a valid file must be refused with UsageError or read.
template <class Read>
void fuzz(const std::string& valid, Read&& read) {
  Folder const folder;
  fs::path const path = folder / "x";
  int refused = 0, readable = 0;
  auto const attempt = [&](const std::string& bytes) {
    put(path, bytes);
    try {
      read(path);
      ++readable;
    } catch (const UsageError& e) {
      ++refused;
      CHECK(contains(e.what(), path.string()));
    }
  };
  for (size_t length = 0; length < valid.size(); ++length) attempt(valid.substr(0, length));
  for (size_t i = 0; i < valid.size(); ++i)
    for (int flip : {0x01, 0x10, 0x80, 0xff}) {
      std::string bytes = valid;
      bytes[i] = static_cast<char>(bytes[i] ^ flip);
      attempt(bytes);
    }
  CHECK(refused >= static_cast<int>(valid.size()));  // every truncation at least
  CHECK(readable > 0);                               // a changed value is still a file
}

}  // namespace

TEST_CASE("a file appears whole, or the old one stays") {
  Folder const folder;
  write_text(folder / "a.txt", std::string("one\0two", 7));
  CHECK(read_text(folder / "a.txt") == std::string("one\0two", 7));
  CHECK_THROWS_AS(write_atomically(folder / "a.txt",
                                   [](std::ostream& out) {
                                     out << "half";
                                     throw Error("the writer failed");
                                   }),
                  Error);
  CHECK(read_text(folder / "a.txt") == std::string("one\0two", 7));
  write_text(folder / "a.txt", "");
  CHECK(read_text(folder / "a.txt").empty());
  CHECK(folder.entries() == 1);  // no temporary is left
}

TEST_CASE("a full disk is an error that names the file, and leaves the old one") {
  Folder const folder;
  write_text(folder / "a.txt", "old");
  // A limit on file sizes stands in for the full disk: writes past it fail the same way.
  auto const previous = std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
  rlimit const small{4096, before.rlim_max};
  REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  std::string message;
  bool usage = false;
  try {
    write_text(folder / "a.txt", std::string(1 << 20, 'x'));
  } catch (const Error& e) {
    message = e.what();
    usage = dynamic_cast<const UsageError*>(&e) != nullptr;
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, previous);
  CHECK(contains(message, "cannot write"));
  CHECK(contains(message, "a.txt"));
  CHECK_FALSE(usage);
  CHECK(read_text(folder / "a.txt") == "old");
  CHECK(folder.entries() == 1);
}

TEST_CASE("unusable paths are usage errors") {
  Folder const folder;
  put(folder / "file", "x");
  CHECK_THROWS_AS(write_text(folder / "file/below", "x"), UsageError);
  CHECK_THROWS_AS(write_text(folder / "missing/file", "x"), UsageError);
  CHECK_THROWS_AS(write_text(folder.path, "x"), UsageError);
  CHECK_THROWS_AS(read_text(folder / "missing"), UsageError);
  CHECK_THROWS_AS(read_text(folder.path), UsageError);
  CHECK_THROWS_AS(make_writable_folder(folder / "file"), UsageError);
  CHECK_THROWS_AS(make_writable_folder(folder / "file/below"), UsageError);
  make_writable_folder(folder / "a/b/c");
  make_writable_folder(folder / "a/b/c");
  CHECK(fs::is_empty(folder / "a/b/c"));
}

TEST_CASE("npy files are numpy's, byte for byte") {
  Folder const folder;
  write_npy(folder / "a.npy", std::vector<float>{1, 2, 3, 4, 5, 6}, {2, 3});
  std::string const header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
  std::string expected = std::string("\x93NUMPY\x01\x00\x76\x00", 10) + header;
  expected += std::string(127 - expected.size(), ' ') + '\n' + bytes_of<float>({1, 2, 3, 4, 5, 6});
  CHECK(read_text(folder / "a.npy") == expected);
  write_npy(folder / "b.npy", std::vector<int64_t>{7, 8}, {2});
  CHECK(contains(read_text(folder / "b.npy"), "{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }"));
  write_npy(folder / "c.npy", std::vector<uint8_t>{9}, {});
  CHECK(contains(read_text(folder / "c.npy"), "'|u1', 'fortran_order': False, 'shape': (), }"));
  CHECK_THROWS_AS(write_npy(folder / "d.npy", Tensor::empty({1}, DType::bf16)), Error);
}

TEST_CASE_TEMPLATE("npy files come back as they were", T, float, double, int32_t, int64_t, uint8_t) {
  Folder const folder;
  std::vector<T> const values{T(1), T(2), T(3), T(250), T(5), T(6)};
  for (Shape const& shape : {Shape{6}, Shape{2, 3}, Shape{1, 6, 1, 1}}) {
    write_npy(folder / "a.npy", values, shape);
    Tensor const back = read_npy(folder / "a.npy");
    CHECK(back.shape() == shape);
    CHECK(back.to_host<T>() == values);
    CHECK(back.device() == Device::cpu);
  }
  write_npy(folder / "empty.npy", std::vector<T>{}, {0, 3});
  CHECK(read_npy(folder / "empty.npy").shape() == Shape{0, 3});
}

TEST_CASE("malformed npy files are refused") {
  Folder const folder;
  auto const file = [&](const std::string& header, const std::string& data, char version = 1) {
    std::string bytes = std::string("\x93NUMPY") + version + '\0';
    bytes += version == 1 ? bytes_of<uint16_t>({static_cast<uint16_t>(header.size())})
                          : bytes_of<uint32_t>({static_cast<uint32_t>(header.size())});
    put(folder / "x.npy", bytes + header + data);
    return folder / "x.npy";
  };
  std::string const four(4, '\0');
  CHECK(read_npy(file("{'shape': (1,), 'fortran_order': False, 'descr': '<f4'}\n", four)).shape() == Shape{1});
  CHECK(read_npy(file("{\"descr\":\"<f4\",\"fortran_order\":False,\"shape\":(1)}", four, 2)).shape() == Shape{1});
  for (const char* header :
       {"", "{}", "{'descr': '<f4', 'fortran_order': False}", "{'descr': '>f4', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': True, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775808,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"}) {
    CAPTURE(header);
    CHECK(contains(usage_error([&] { read_npy(file(header, four)); }), "x.npy"));
  }
  CHECK_THROWS_AS(read_npy(file("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", four, 9)), UsageError);
  CHECK_THROWS_AS(read_npy(folder / "missing.npy"), UsageError);
  CHECK_THROWS_AS(read_npy(folder.path), UsageError);
}

TEST_CASE("no damage to an npy file gets through") {
  Folder const folder;
  write_npy(folder / "a.npy", std::vector<float>{1, 2, 3}, {3});
  fuzz(read_text(folder / "a.npy"), [](const fs::path& p) { read_npy(p); });
}

TEST_CASE("a safetensors file is written as the format says") {
  Folder const folder;
  write_safetensors(folder / "a.safetensors",
                    {{"b", Tensor::from(std::vector<uint8_t>{1, 2}, {2})},
                     {"a", Tensor::from(std::vector<float>{0.5f}, {1, 1})},
                     {"n", Tensor::from(std::vector<int64_t>{3}, {})}},
                    {{"format", "pt"}});
  std::string const header =
      R"({"__metadata__":{"format":"pt"},"n":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
      R"("a":{"dtype":"F32","shape":[1,1],"data_offsets":[8,12]},"b":{"dtype":"U8","shape":[2],"data_offsets":[12,14]}})";
  std::string const padded = header + std::string((8 - header.size() % 8) % 8, ' ');
  CHECK(read_text(folder / "a.safetensors") ==
        container(padded, bytes_of<int64_t>({3}) + bytes_of<float>({0.5f}) + std::string("\x01\x02")));
}

TEST_CASE("all element types are read, half precision as f32") {
  Folder const folder;
  put(folder / "a.safetensors",
      container(R"({"bf":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]},)"
                R"("h":{"dtype":"F16","shape":[2,4],"data_offsets":[6,22]},)"
                R"("d":{"dtype":"F64","shape":[1],"data_offsets":[22,30]},)"
                R"("i":{"dtype":"I32","shape":[1],"data_offsets":[30,34]},)"
                R"("e":{"dtype":"F32","shape":[0,7],"data_offsets":[34,34]}})",
                bytes_of<uint16_t>({0x3f80, 0xc049, 0x0000}) +
                    // 1, -2, 65504, 2^-24, 2^-14, infinity, NaN, 1/3 rounded: IEEE 754's examples
                    bytes_of<uint16_t>({0x3c00, 0xc000, 0x7bff, 0x0001, 0x0400, 0x7c00, 0x7e00, 0x3555}) +
                    bytes_of<double>({0.1}) + bytes_of<int32_t>({-5})));
  SafetensorsFile const file = read_safetensors(folder / "a.safetensors");
  CHECK(file.find("bf")->to_host<float>() == std::vector<float>{1, -3.140625f, 0});
  auto const half = file.find("h")->to_host<float>();
  CHECK(std::vector<float>(half.begin(), half.begin() + 5) ==
        std::vector<float>{1, -2, 65504, std::ldexp(1.f, -24), std::ldexp(1.f, -14)});
  CHECK(std::isinf(half[5]));
  CHECK(std::isnan(half[6]));
  CHECK(half[7] == 0.333251953125f);
  CHECK(file.find("d")->to_host<double>() == std::vector<double>{0.1});
  CHECK(file.find("i")->to_host<int32_t>() == std::vector<int32_t>{-5});
  CHECK(file.find("e")->shape() == Shape{0, 7});
  CHECK(file.find("none") == nullptr);
  CHECK(file.metadata.empty());
}

TEST_CASE("malicious safetensors headers are refused") {
  Folder const folder;
  std::string const eight(8, '\0');
  auto const error = [&](const std::string& header, const std::string& data) {
    put(folder / "x.safetensors", container(header, data));
    std::string const message = usage_error([&] { read_safetensors(folder / "x.safetensors"); });
    CHECK(contains(message, "x.safetensors"));
    return message;
  };
  auto const entry = [](const std::string& shape, const std::string& offsets) {
    return R"({"a":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  CHECK(contains(error("not json", ""), "not JSON"));
  CHECK(contains(error("[1]", ""), "not a JSON object"));
  CHECK(contains(error(std::string(100000, '['), ""), "nested"));
  CHECK(contains(error("{}", eight), "belong to no tensor"));
  CHECK(contains(error(entry("[3]", "[0,8]"), eight), "needs 12 bytes, there are 8"));
  CHECK(contains(error(entry("[2]", "[0,16]"), eight), "outside the file"));
  CHECK(contains(error(entry("[2]", "[8,0]"), eight), "outside the file"));
  CHECK(contains(error(entry("[2]", "[-8,0]"), eight), "outside the file"));
  CHECK(contains(error(entry("[2]", "[0,18446744073709551615]"), eight), "outside the file"));
  CHECK(contains(error(entry("[2]", "[0]"), eight), "malformed"));
  CHECK(contains(error(entry("[-2]", "[0,8]"), eight), "impossible shape"));
  CHECK(contains(error(entry("[2.0]", "[0,8]"), eight), "impossible shape"));
  CHECK(contains(error(entry("[4611686018427387906,2]", "[0,8]"), eight), "impossible shape"));
  CHECK(contains(error(entry("[0,4611686018427387906,2]", "[0,0]"), ""), "impossible shape"));
  CHECK(contains(error(entry("[1,1,1,1,1,1,2]", "[0,8]"), eight), "7 dimensions"));
  CHECK(contains(error(entry("2", "[0,8]"), eight), "not a list"));
  CHECK(contains(error(R"({"a":{"dtype":"F7","shape":[2],"data_offsets":[0,8]}})", eight), "F7"));
  CHECK(contains(error(R"({"a":{"dtype":"F32","shape":[2]}})", eight), "missing"));
  CHECK(contains(error(R"({"a":7})", eight), "malformed"));
  CHECK(contains(error(R"({"__metadata__":{"a":7}})", ""), "not text"));
  CHECK(contains(error(R"({"__metadata__":[]})", ""), "not an object"));
  std::string const a = R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  CHECK(contains(error("{" + a + "," + a + "}", eight.substr(4)), "twice"));
  CHECK(contains(error("{" + a + R"(,"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", eight.substr(4)),
                 "overlaps"));
  CHECK(contains(error("{" + a + R"(,"b":{"dtype":"U8","shape":[3],"data_offsets":[5,8]}})", eight), "gap"));

  put(folder / "x.safetensors", bytes_of<uint64_t>({~0ull}) + "{}");
  CHECK_THROWS_AS(read_safetensors(folder / "x.safetensors"), UsageError);
  put(folder / "x.safetensors", bytes_of<uint64_t>({3}) + "{}");
  CHECK_THROWS_AS(read_safetensors(folder / "x.safetensors"), UsageError);
  CHECK_THROWS_AS(read_safetensors(folder / "missing"), UsageError);
}

TEST_CASE("no damage to a safetensors file gets through") {
  Folder const folder;
  write_safetensors(folder / "a", {{"fc.weight", counted({2, 3})}, {"fc.bias", counted({2})}}, {{"format", "pt"}});
  fuzz(read_text(folder / "a"), [](const fs::path& p) { read_safetensors(p); });
}

TEST_CASE("outer layouts are PyTorch's") {
  // OHWI with O=2, H=1, W=3, I=2: element (o, h, w, i) is 6 o + 2 w + i; PyTorch's order is (o, i, h, w).
  Tensor const filters = counted({2, 1, 3, 2});
  Tensor const outer = to_outer(filters, {OuterLayout::oihw});
  CHECK(outer.shape() == Shape{2, 2, 1, 3});
  CHECK(outer.to_host<float>() == std::vector<float>{0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11});
  CHECK(to_held(outer, {OuterLayout::oihw}, {2, 1, 3, 2}).to_host<float>() == filters.to_host<float>());

  // One row over a flattened [h=1, w=3, c=2]: held in (w, c) order, stored in (c, w) order.
  OuterLayout const flattened{OuterLayout::linear_after_flatten, 2, 1, 3};
  Tensor const row = counted({1, 6});
  CHECK(to_outer(row, flattened).to_host<float>() == std::vector<float>{0, 2, 4, 1, 3, 5});
  CHECK(to_held(to_outer(row, flattened), flattened, {1, 6}).to_host<float>() == row.to_host<float>());

  // Two columns, whose rows become [h=1, w=3, c=2], and their bias.
  OuterLayout const unfolded{OuterLayout::linear_before_unflatten, 2, 1, 3};
  Tensor const columns = counted({6, 2}), bias = counted({6});
  CHECK(to_outer(columns, unfolded).to_host<float>() == std::vector<float>{0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11});
  CHECK(to_held(to_outer(columns, unfolded), unfolded, {6, 2}).to_host<float>() == columns.to_host<float>());
  CHECK(to_outer(bias, unfolded).to_host<float>() == std::vector<float>{0, 2, 4, 1, 3, 5});

  Tensor const plain = counted({2, 2});
  Tensor copy = to_outer(plain, {});
  copy.fill_zero();
  CHECK(plain.to_host<float>() == std::vector<float>{0, 1, 2, 3});
  CHECK(contains(usage_error([&] {
                   to_held(outer, {OuterLayout::oihw}, {2, 1, 2, 3});
                 }),
                 "[2, 2, 1, 3] where [2, 3, 1, 2]"));
  CHECK_THROWS_AS(to_outer(plain, {OuterLayout::oihw}), Error);
  CHECK_THROWS_AS(to_outer(plain, flattened), Error);
  CHECK_THROWS_AS(to_outer(plain, unfolded), Error);
}

namespace {

/// Convolution, a linear layer after flattening, a batch norm's buffers: C, H and W all differ.
class TinyModule final : public Module {
 public:
  explicit TinyModule(float first) {
    fill(add_parameter("conv.weight", {4, 3, 2, 5}, {OuterLayout::oihw}), first);
    fill(add_parameter("fc.weight", {2, 3 * 2 * 4}, {OuterLayout::linear_after_flatten, 4, 3, 2}), first + 1000);
    fill(add_parameter("fc.bias", {2}), first + 2000);
    add_buffer("bn.running_mean", Tensor::full({4}, first));
    add_buffer("bn.num_batches_tracked", Tensor::from(std::vector<int64_t>{static_cast<int64_t>(first)}, {}));
  }

 protected:
  Tensor forward(const Tensor& x, Context&) override { return x; }

 private:
  static void fill(Parameter& parameter, float first) {
    std::vector<float> values(static_cast<size_t>(parameter.value.numel()));
    for (size_t i = 0; i < values.size(); ++i) values[i] = first + static_cast<float>(i);
    parameter.value = Tensor::from(values, parameter.value.shape());
  }
};

SafetensorsFile stored(const Module& module) { return {{}, state_of(module)}; }

Tensor& tensor_of(SafetensorsFile& file, const std::string& name) {
  for (StoredTensor& t : file.tensors)
    if (t.name == name) return t.value;
  throw Error("no tensor " + name);
}

}  // namespace

TEST_CASE("a module's state survives a file, names and layouts PyTorch's") {
  Folder const folder;
  TinyModule const saved(1);
  TinyModule loaded(500);
  write_safetensors(folder / "a", state_of(saved), {});
  SafetensorsFile const file = read_safetensors(folder / "a");
  CHECK(file.find("conv.weight")->shape() == Shape{4, 5, 3, 2});
  CHECK(file.find("conv.weight")->to_host<float>()[1] == 1 + 5);  // (o, i, h, w) = (0, 0, 0, 1) is held at w=1
  load_state(loaded, file, "a");
  CHECK(values_of(loaded) == values_of(saved));
  CHECK(loaded.parameters().back().parameter->value.to_host<int64_t>() == std::vector<int64_t>{1});
}

TEST_CASE("state that does not fit is refused before anything changes") {
  TinyModule const saved(1);
  TinyModule module(500);
  auto const before = values_of(module);
  auto const error = [&](const SafetensorsFile& file, bool strict = true) {
    std::string const message = usage_error([&] { load_state(module, file, "w.safetensors", strict); });
    CHECK(values_of(module) == before);
    return message;
  };
  SafetensorsFile file = stored(saved);
  tensor_of(file, "fc.bias") = counted({3});
  CHECK(error(file) == "w.safetensors does not fit this network: fc.bias: file [3], network [2]");
  file = stored(saved);
  tensor_of(file, "conv.weight") = counted({4, 3, 2, 5});  // as held, not as PyTorch stores it
  CHECK(contains(error(file), "conv.weight: file [4, 3, 2, 5], network [4, 5, 3, 2]"));
  file = stored(saved);
  file.tensors.erase(file.tensors.begin() + 2);
  CHECK(error(file) == "w.safetensors does not fit this network: it has no fc.bias");
  file = stored(saved);
  file.tensors.push_back({"head.bias", counted({2})});
  CHECK(error(file) == "w.safetensors does not fit this network, which has no head.bias");
  file = stored(saved);
  tensor_of(file, "fc.bias") = Tensor::from(std::vector<int32_t>{1, 2}, {2});
  CHECK(contains(error(file), "fc.bias: file i32, network f32"));
  for (float bad : {NAN, INFINITY}) {
    file = stored(saved);
    tensor_of(file, "fc.bias") = Tensor::from(std::vector<float>{1, bad}, {2});
    CHECK(error(file) == "w.safetensors: fc.bias holds NaN or infinite values");
    CHECK(error(file, false) == "w.safetensors: fc.bias holds NaN or infinite values");
  }
}

TEST_CASE("a loose load takes what fits and reports the rest") {
  TinyModule const saved(1);
  TinyModule module(500);
  SafetensorsFile file = stored(saved);
  tensor_of(file, "fc.bias") = counted({3});
  file.tensors.push_back({"head.bias", counted({2})});
  file.tensors.erase(file.tensors.begin());
  LoadReport const report = load_state(module, file, "w", false);
  CHECK(report.missing == std::vector<std::string>{"conv.weight"});
  CHECK(report.unexpected == std::vector<std::string>{"head.bias"});
  CHECK(report.mismatched == std::vector<std::string>{"fc.bias: file [3], network [2]"});
  CHECK(values_of(module)[0][0] == 500);
  CHECK(values_of(module)[1] == values_of(saved)[1]);
}

TEST_CASE("counts of batches may be missing, and f64 weights become f32") {
  TinyModule const saved(1);
  TinyModule module(500);
  SafetensorsFile file = stored(saved);
  file.tensors.pop_back();
  file.tensors.push_back({"other.num_batches_tracked", Tensor::from(std::vector<int64_t>{3}, {})});
  tensor_of(file, "fc.bias") = Tensor::from(std::vector<double>{0.25, 1e300}, {2});
  CHECK(contains(usage_error([&] { load_state(module, file, "w"); }), "fc.bias holds NaN or infinite"));
  tensor_of(file, "fc.bias") = Tensor::from(std::vector<double>{0.25, 0.5}, {2});
  load_state(module, file, "w");
  CHECK(values_of(module)[2] == std::vector<float>{0.25f, 0.5f});
  CHECK(module.parameters().back().parameter->value.to_host<int64_t>() == std::vector<int64_t>{500});
}
