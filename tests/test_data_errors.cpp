// What data must never do: crash, hang, fill the memory or stay silent on files that are broken, hostile or not what
// they seem. Every case ends in a UsageError of one line that names the file, or in a correct load.
#include <doctest/doctest.h>

#include <algorithm>

#include "data/dataset.h"
#include "data/pixels.h"
#include "tests/data_fixtures.h"

using namespace mith;
using namespace mith::fixtures;
namespace fs = std::filesystem;

namespace {

/// The message of the UsageError, or what happened instead.
std::string error_of(const std::string& data, const DataOptions& options = {}) {
  try {
    load_data(data, options);
    return "loaded";
  } catch (const UsageError& error) {
    return error.what();
  } catch (const std::exception& other) {
    return std::string("not a UsageError: ") + other.what();
  }
}

bool names(const std::string& message, const std::string& file, const std::string& reason) {
  bool const one_line = message.find('\n') == std::string::npos;
  return one_line && message.find(file) != std::string::npos && message.find(reason) != std::string::npos;
}

/// Loads, or throws a UsageError that names the file.
bool loads_or_names(const fs::path& file) {
  std::string const message = error_of(file.string());
  return message == "loaded" || names(message, file.filename().string(), "");
}

std::string image_bytes(int64_t n, int64_t each) {
  std::string bytes;
  for (int64_t i = 0; i < n * each; ++i) bytes += static_cast<char>((i * 37 + i / each * 11) % 251);
  return bytes;
}

constexpr int64_t image_count = 12;
std::string good_images() { return npy_bytes("|u1", "(12, 4, 4)", image_bytes(image_count, 16)); }
std::string good_labels() { return npy_bytes("|u1", "(12, 1)", std::string("\0\1\0\1\0\1\0\1\0\1\0\1", 12)); }

std::vector<ZipContent> good_entries(bool deflated = true, bool zip64 = false) {
  return {{"train_images.npy", good_images(), deflated, zip64}, {"train_labels.npy", good_labels(), deflated, zip64}};
}

/// An archive of good images and these labels.
std::string with_labels(const std::string& npy) {
  return zip_bytes({{"train_images.npy", good_images()}, {"train_labels.npy", npy}});
}
std::string with_images(const std::string& npy) {
  return zip_bytes({{"train_images.npy", npy}, {"train_labels.npy", good_labels()}});
}

struct Folder : TemporaryFolder {
  DataOptions options(bool strict = false) const { return {.strict = strict, .cache = *this / "cache"}; }
  std::string set() const { return (*this / "set").string(); }
};

void write_two_classes(const Folder& folder, int64_t each = 10) {
  for (int64_t i = 0; i < each; ++i) {
    write_png(folder / cat("set/a/", i, ".png"), i, 8, 8, 1);
    write_jpeg(folder / cat("set/b/", i, ".jpg"), 100 + i, 8, 8, 1);
  }
}

}  // namespace

TEST_CASE("sources that do not exist or are something else") {
  Folder const folder;
  CHECK(names(error_of("/nowhere/at/all"), "/nowhere/at/all", "does not exist"));
  write_file(folder / "x.txt", "text");
  CHECK(names(error_of((folder / "x.txt").string()), "x.txt", "neither"));
  fs::create_directories(folder / "set");
  CHECK(names(error_of(folder.set()), "set", "no class folders"));
  CHECK(names(error_of("synthetic:"), "", ""));
  CHECK(error_of("synthetic:").find("not a UsageError") == std::string::npos);
  CHECK(names(error_of("synthetic:nonsense"), "nonsense", "unknown phantom"));
  write_two_classes(folder);
  for (const char* split : {"80/10", "80/10/10/0", "80/10/x", "90/20/-10", "0/50/50", "50/20/20", "", "a", "nan/0/0"}) {
    CAPTURE(split);
    DataOptions options = folder.options();
    options.split = split;
    CHECK(names(error_of(folder.set(), options), "split", ""));
  }
  DataOptions options = folder.options();
  options.channels = 2;
  CHECK(names(error_of(folder.set(), options), "channels", "2"));
  options = folder.options();
  options.size = -4;
  CHECK(names(error_of(folder.set(), options), "size", "-4"));
}

TEST_CASE("npz: a file cut anywhere") {
  Folder const folder;
  fs::path const file = folder / "cut.npz";
  for (bool const deflated : {true, false}) {
    std::string const whole = zip_bytes(good_entries(deflated, !deflated));
    write_file(file, whole);
    CHECK(error_of(file.string()) == "loaded");
    for (size_t length = 0; length < whole.size(); ++length) {
      CAPTURE(length);
      write_file(file, whole.substr(0, length));
      CHECK(names(error_of(file.string()), "cut.npz", ""));
    }
  }
}

TEST_CASE("npz: any byte changed") {
  Folder const folder;
  fs::path const file = folder / "changed.npz";
  for (bool const deflated : {true, false}) {
    std::string const whole = zip_bytes(good_entries(deflated, deflated));
    for (size_t at = 0; at < whole.size(); ++at) {
      CAPTURE(at);
      std::string changed = whole;
      changed[at] = static_cast<char>(changed[at] ^ (at % 2 ? 0xff : 0x01));
      write_file(file, changed);
      CHECK(loads_or_names(file));
    }
  }
  // Content is under a checksum: a changed pixel never loads.
  std::string changed = zip_bytes(good_entries(false));
  changed[changed.find(image_bytes(image_count, 16)) + 5] ^= 1;
  write_file(file, changed);
  CHECK(names(error_of(file.string()), "changed.npz", "checksum"));
}

TEST_CASE("npz: what the arrays must be") {
  Folder const folder;
  fs::path const file = folder / "set.npz";
  std::string const labels(12, '\1');
  struct Case {
    std::string bytes, reason;
  };
  std::string const huge = "(999999999999, 999999999999, 999999999999)";
  Case const cases[] = {
      {"PK", "zip"},
      {std::string(100000, 'x'), "zip"},
      {zip_bytes({}), "train_images"},
      {zip_bytes({{"other.npy", good_images()}}), "train_images"},
      {zip_bytes({{"train_images.npy", good_images()}}), "train_labels"},
      {zip_bytes({{"test_images.npy", good_images()}, {"test_labels.npy", good_labels()}}), "train_images"},
      {with_images("not numpy at all"), "npy"},
      {with_images("\x93NUMPY\x09"), "ends early"},
      {with_images(npy_bytes("<f4", "(12, 4, 4)", image_bytes(12, 64))), "'<f4'"},
      {with_images(npy_bytes("|O", "(12, 4, 4)", image_bytes(12, 64))), "element type"},
      {with_images(npy_bytes("|b1", "(12, 4, 4)", image_bytes(12, 16))), "'|b1'"},
      {with_images(npy_bytes("|u1", "(12, 4, 4)", image_bytes(12, 16), "True")), "Fortran"},
      {with_images(npy_bytes("|u1", "(12, 16)", image_bytes(12, 16))), "(12, 16)"},
      {with_images(npy_bytes("|u1", "(12, 4, 4, 4)", image_bytes(12, 64))), "(12, 4, 4, 4)"},
      {with_images(npy_bytes("|u1", "(12, 0, 4)", "")), "0x4"},
      {with_images(npy_bytes("|u1", "(12, 4, -4)", image_bytes(12, 16))), "header"},
      {with_images(npy_bytes("|u1", "(13, 4, 4)", image_bytes(12, 16))), "(13, 4, 4)"},
      {with_images(npy_bytes("|u1", "(11, 4, 4)", image_bytes(12, 16))), "(11, 4, 4)"},
      {with_images(npy_bytes("|u1", huge, image_bytes(12, 16))), "impossible"},
      {with_images(npy_bytes("|u1", "(0, 4, 4)", "")), "12 labels for 0 images"},
      {with_images(npy_bytes("|u1", "(12, 4, 4)", image_bytes(12, 16), "False", 4)), "version 4"},
      {with_images(npy_bytes("|u1'", "(12, 4, 4)", image_bytes(12, 16))), "header"},
      {with_labels(npy_bytes("<f8", "(12,)", std::string(96, '\0'))), "'<f8'"},
      {with_labels(npy_bytes("|u1", "(11,)", std::string(11, '\0'))), "11 labels for 12 images"},
      {with_labels(npy_bytes("|u1", "(6, 2)", labels)), "(6, 2)"},
      {with_labels(npy_bytes("|u1", "()", "\1")), "()"},
      {with_labels(npy_bytes("|i1", "(12,)", std::string(11, '\0') + '\xff')), "label -1 of image 11"},
      {with_labels(npy_bytes("<i8", "(12,)", std::string(88, '\0') + "\xff\xff\xff\xff\xff\xff\xff\x7f")),
       "label 9223"},
      {with_labels(npy_bytes("<u8", "(12,)", std::string(88, '\0') + "\xff\xff\xff\xff\xff\xff\xff\xff")), "label -1"},
      {with_labels(npy_bytes("<u4", "(12,)", std::string(44, '\0') + std::string("\0\0\1\0", 4))), "label 65536"},
      {with_labels(npy_bytes("|u1", "(12,)", std::string(12, '\0'))), "only one class"},
      {with_labels(npy_bytes("|u1", "(12,)", std::string("\0\2\0\2\0\2\0\2\0\2\0\2", 12))), "class '1' has no images"},
      {with_labels(npy_bytes("|u1", "(12,)", labels)), "class '0' has no images"},
  };
  for (Case const& c : cases) {
    CAPTURE(c.reason);
    write_file(file, c.bytes);
    std::string const message = error_of(file.string());
    CAPTURE(message);
    CHECK(names(message, "set.npz", c.reason));
  }
  write_file(file, zip_bytes({{"train_images.npy", good_images()},
                              {"train_labels.npy", good_labels()},
                              {"test_images.npy", npy_bytes("|u1", "(2, 5, 4)", image_bytes(2, 20))},
                              {"test_labels.npy", npy_bytes("|u1", "(2,)", std::string("\0\1", 2))}}));
  CHECK(names(error_of(file.string()), "set.npz", "5x4"));
}

TEST_CASE("npz: bombs and lies about sizes") {
  Folder const folder;
  fs::path const file = folder / "bomb.npz";
  auto const declares = [&](int64_t bytes, const std::string& shape, bool deflated, bool zip64) {
    auto entries = good_entries(deflated, zip64);
    entries[0].content = npy_bytes("|u1", shape, image_bytes(image_count, 16));
    entries[0].declared_size = bytes;
    write_file(file, zip_bytes(entries));
    return error_of(file.string());
  };
  int64_t const header = static_cast<int64_t>(good_images().size()) - 12 * 16;
  CHECK(names(declares(int64_t{1} << 50, "(12, 4, 4)", true, true), "bomb.npz", "than its packed bytes can hold"));
  CHECK(names(declares(3000, "(12, 4, 4)", true, false), "bomb.npz", "needs 192"));
  // The shape and the declaration agree, the content is shorter: inflation stops where the content does.
  CHECK(names(declares(header + 2048 * 16, "(2048, 4, 4)", true, false), "bomb.npz", "12 labels for 2048 images"));
  CHECK(names(declares(header + 12 * 64, "(12, 8, 8)", true, false), "bomb.npz", "ends early"));
  // The content is longer than declared and than the shape: the rest is never inflated, the checksum tells.
  CHECK(names(declares(header + 12 * 4, "(12, 2, 2)", true, false), "bomb.npz", "checksum"));
  CHECK(names(declares(header + 12 * 4, "(12, 2, 2)", false, false), "bomb.npz", "two different sizes"));

  // A megabyte of zeros in a kilobyte, behind a header that asks for twelve tiny images.
  auto entries = good_entries();
  entries[0].content += std::string(1 << 20, '\0');
  write_file(file, zip_bytes(entries));
  CHECK(names(error_of(file.string()), "bomb.npz", "needs 192"));
  entries[0].declared_size = static_cast<int64_t>(good_images().size());
  write_file(file, zip_bytes(entries));
  CHECK(names(error_of(file.string()), "bomb.npz", "checksum"));
}

TEST_CASE("folders: broken images are named and skipped, or stop a strict run") {
  Folder const folder;
  write_two_classes(folder);
  std::string const jpeg = read_file(folder / "set/b/0.jpg"), png = read_file(folder / "set/a/0.png");
  write_file(folder / "set/a/broken.png", "not a PNG");
  write_file(folder / "set/a/cut.png", png.substr(0, png.size() / 2));
  write_file(folder / "set/b/cut.jpeg", jpeg.substr(0, jpeg.size() - 20));
  write_file(folder / "set/b/empty.jpg", "");
  for (int run = 0; run < 2; ++run) {  // decoded, then from the cache
    DataParts const parts = load_data(folder.set(), folder.options());
    CHECK(parts.train.size() + parts.validation.size() + parts.test.size() == 20);
    CHECK(names(error_of(folder.set(), folder.options(true)), "broken.png", ""));
  }
  fs::remove(folder / "set/a/broken.png");
  CHECK(names(error_of(folder.set(), folder.options(true)), "cut.png", ""));
  fs::remove(folder / "set/a/cut.png");
  CHECK(names(error_of(folder.set(), folder.options(true)), "cut.jpeg", "cannot be decoded"));
  for (int64_t i = 0; i < 10; ++i) write_file(folder / cat("set/a/", i, ".png"), "broken");
  CHECK(names(error_of(folder.set(), folder.options()), "set", "class 'a' has no images"));
  for (int64_t i = 0; i < 10; ++i) write_file(folder / cat("set/b/", i, ".jpg"), "broken");
  CHECK(names(error_of(folder.set(), folder.options()), "set", "can be read"));
}

TEST_CASE("images: a file cut anywhere is broken, and any byte changed is decoded or refused") {
  Folder const folder;
  write_png(folder / "x.png", 1, 9, 7, 3);
  write_jpeg(folder / "x.jpg", 1, 17, 9, 3);
  write_bmp(folder / "x.bmp", 1, 9, 7);
  for (const char* name : {"x.png", "x.jpg", "x.bmp"}) {
    CAPTURE(name);
    std::string const whole = read_file(folder / name);
    CHECK(decode_image_file(folder / name).size.width > 0);
    fs::path const file = folder / (std::string("y") + name);
    // The last bytes of a PNG are its end chunk, which carries nothing.
    size_t const needed = whole.size() - (std::string(name) == "x.png" ? 12 : 0);
    for (size_t length = 0; length < whole.size(); ++length) {
      CAPTURE(length);
      write_file(file, whole.substr(0, length));
      if (length < needed) {
        CHECK_THROWS_AS(decode_image_file(file), BrokenImage);
      } else {
        CHECK_NOTHROW(try { decode_image_file(file); } catch (const BrokenImage&){});
      }
    }
    for (size_t at = 0; at < whole.size(); ++at) {
      CAPTURE(at);
      std::string changed = whole;
      changed[at] = static_cast<char>(changed[at] ^ (at % 2 ? 0xff : 0x10));
      write_file(file, changed);
      if (std::string(name) == "x.png") {
        CHECK_THROWS_AS(decode_image_file(file), BrokenImage);  // every chunk is under a checksum
      } else {
        CHECK_NOTHROW(try { decode_image_file(file); } catch (const BrokenImage&){});
      }
    }
  }
}

TEST_CASE("images: tables that would overrun the decoder, and tables that are missing") {
  Folder const folder;
  write_jpeg(folder / "x.jpg", 1, 17, 9, 3);
  std::string const whole = read_file(folder / "x.jpg");
  size_t const table = whole.find("\xff\xc4");
  REQUIRE(table != std::string::npos);
  std::string overlong = whole;
  for (size_t i = 0; i < 16; ++i) overlong[table + 5 + i] = '\xff';
  write_file(folder / "x.jpg", overlong);
  CHECK_THROWS_WITH_AS(decode_image_file(folder / "x.jpg"), "has a Huffman table that is too long", BrokenImage);
  CHECK_THROWS_AS(image_file_size(folder / "x.jpg"), BrokenImage);

  size_t const bytes = 2 + static_cast<uint8_t>(whole[table + 2]) * 256u + static_cast<uint8_t>(whole[table + 3]);
  write_file(folder / "x.jpg", whole.substr(0, table) + whole.substr(table + bytes));
  CHECK_NOTHROW(try { decode_image_file(folder / "x.jpg"); } catch (const BrokenImage&){});
}

TEST_CASE("folders: one class, an empty class, sizes that differ") {
  Folder const folder;
  write_png(folder / "set/only/x.png", 0, 8, 8, 1);
  CHECK(names(error_of(folder.set(), folder.options()), "set", "only one class, 'only'"));
  write_file(folder / "set/scans/x.tif", "not read");
  CHECK(names(error_of(folder.set(), folder.options()), "scans", "x.tif"));
  write_png(folder / "set/scans/y.png", 1, 9, 8, 1);
  std::string const message = error_of(folder.set(), folder.options());
  CHECK(names(message, "only/x.png is 8x8", "--size"));
  CHECK(names(message, "scans/y.png is 8x9", "differ in size"));
  DataOptions resized = folder.options();
  resized.size = 8;
  resized.split = "100/0/0";
  CHECK(error_of(folder.set(), resized) == "loaded");
  CHECK(load_data(folder.set(), resized).train.size() == 2);

  Folder const parts;
  write_png(parts / "set/train/a/x.png", 0, 8, 8, 1);
  write_png(parts / "set/train/b/x.png", 1, 8, 8, 1);
  write_png(parts / "set/val/a/x.png", 2, 8, 8, 1);
  write_png(parts / "set/test/c/x.png", 3, 8, 8, 1);
  CHECK(names(error_of(parts.set(), parts.options()), "set", "class 'c' has no images in the training part"));
  fs::remove_all(parts / "set/train");
  CHECK(names(error_of(parts.set(), parts.options()), "set", "training part"));
}

TEST_CASE("a phantom's unknown keys are refused with the nearest known one") {
  DataOptions const options;
  CHECK(error_of("synthetic:histology:sze=3", options).find("unknown key 'sze'; did you mean 'size'?") !=
        std::string::npos);
}

TEST_CASE("csv: lists that cannot be used") {
  Folder const folder;
  write_png(folder / "x.png", 0, 8, 8, 1);
  fs::path const file = folder / "list.csv";
  std::pair<std::string, std::string> const cases[] = {
      {"", "lists no images"},
      {"path,label\n", "lists no images"},
      {"x.png\n", "line 1: expected path,label"},
      {"x.png,a\ngone.png,b\n", "line 2"},
      {"x.png,a\n,b\n", "line 2"},
      {"x.png,\n", "line 1"},
      {"x.png,\"a\n", "quote"},
      {"path,class\nx.png,a\n", "unknown column 'class'"},
      {"path,group\nx.png,a\n", "no column 'label'"},
      {"x.png,a,,half\n", "split is 'half'"},
      {"x.png,a,,train\nx.png,b\n", "either all or none"},
      {"x.png,a\n", "only one class"},
      {std::string("\0\1\2,\xff\n", 6), "line 1"},
  };
  for (auto const& [text, reason] : cases) {
    CAPTURE(reason);
    write_file(file, text);
    std::string const message = error_of(file.string(), folder.options());
    CAPTURE(message);
    CHECK(names(message, "list.csv", reason));
  }
}
