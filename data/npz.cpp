// MedMNIST's .npz: train_images.npy, train_labels.npy and the same for val and test. Images are u8 (n,h,w) or
// (n,h,w,3), labels integers (n,) or (n,1).
#include <algorithm>
#include <cstring>
#include <map>
#include <regex>

#include "data/parallel.h"
#include "data/pixels.h"
#include "data/source.h"
#include "data/zip.h"

namespace mith {
namespace {

constexpr uint64_t most_header_bytes = 1 << 16;
constexpr int64_t most_classes = 10000;

/// One array of the archive, its header read and its content still to come.
class NpyArray {
 public:
  NpyArray(const ZipArchive& archive, const ZipEntry& entry)
      : what_(archive.path().string() + ": " + entry.name), reader_(archive, entry) {
    uint64_t const header_bytes = read_header();
    uint64_t needed = item_bytes();
    for (int64_t d : shape_) {
      bool const overflow = __builtin_mul_overflow(needed, static_cast<uint64_t>(d), &needed);
      require(!overflow, what_, " has an impossible shape ", shape_text());
    }
    require(needed <= entry.size && entry.size - needed == header_bytes, what_, " holds ", entry.size,
            " bytes, its shape ", shape_text(), " needs ", needed, " behind a header of ", header_bytes);
  }

  const std::string& what() const { return what_; }
  const std::vector<int64_t>& shape() const { return shape_; }
  const std::string& type() const { return type_; }  ///< "|u1", "<i8"
  uint64_t item_bytes() const { return static_cast<uint64_t>(type_[2] - '0'); }
  ZipReader& content() { return reader_; }
  std::string shape_text() const {
    std::string text;
    for (int64_t d : shape_) text += (text.empty() ? "" : ", ") + std::to_string(d);
    return "(" + text + ")";
  }

 private:
  uint64_t read_header() {
    uint8_t start[12];
    reader_.read(start, 10);
    require(std::memcmp(start, "\x93NUMPY", 6) == 0, what_, " is no npy array");
    int const version = start[6];
    require(version >= 1 && version <= 3, what_, " has npy version ", version, ", known are 1 to 3");
    uint64_t bytes = start[8] | start[9] << 8, before = 10;
    if (version > 1) {
      reader_.read(start + 10, 2);
      bytes |= uint64_t{start[10]} << 16 | uint64_t{start[11]} << 24;
      before = 12;
    }
    require(bytes <= most_header_bytes, what_, " has a header of ", bytes, " bytes");
    std::string text(bytes, ' ');
    reader_.read(reinterpret_cast<uint8_t*>(text.data()), bytes);
    parse(text);
    return before + bytes;
  }

  void parse(const std::string& text) {
    static std::regex const form(
        R"(\s*\{\s*'descr':\s*'([^']*)',\s*'fortran_order':\s*(True|False),\s*'shape':\s*\(([0-9, ]*)\),?\s*\}\s*)");
    std::smatch match;
    bool const readable = text.size() < 1024 && std::regex_match(text, match, form);
    require(readable, what_, " has a header that is not numpy's");
    type_ = match[1];
    require(std::regex_match(type_, std::regex("[<>|=][a-zA-Z][1248]")), what_, " has element type '", type_,
            "'; images must be |u1, labels integers");
    require(match[2] == "False", what_, " is in Fortran order; save it in C order");
    std::string const dims = match[3];
    std::regex const digits("[0-9]+");
    for (std::sregex_iterator it(dims.begin(), dims.end(), digits), end; it != end; ++it) {
      require(it->length() <= 12, what_, " has an impossible dimension ", it->str());
      shape_.push_back(std::stoll(it->str()));
    }
  }

  std::string what_, type_;
  std::vector<int64_t> shape_;
  ZipReader reader_;
};

struct PartNames {
  Part part;
  const char* prefix;
};
constexpr PartNames part_names[] = {{Part::train, "train"}, {Part::validation, "val"}, {Part::test, "test"}};

/// The size of one image; checks type and rank.
ImageSize image_size_of(const NpyArray& images) {
  auto const& shape = images.shape();
  require(images.type() == "|u1", images.what(), " has element type '", images.type(), "'; images must be '|u1'");
  bool const plain = shape.size() == 3, with_channels = shape.size() == 4 && (shape[3] == 1 || shape[3] == 3);
  require(plain || with_channels, images.what(), " has shape ", images.shape_text(),
          "; images must be (n, h, w) or (n, h, w, 3)");
  ImageSize const size{shape[1], shape[2], plain ? 1 : shape[3]};
  require(size.height >= 1 && size.width >= 1 && size.height <= 1 << 15 && size.width <= 1 << 15, images.what(),
          " has images of ", size.height, "x", size.width);
  return size;
}

int64_t integer_at(const uint8_t* bytes, uint64_t count, bool big_endian, bool is_signed) {
  check(count >= 1 && count <= 8, "an integer of ", count, " bytes");
  uint64_t value = 0;
  for (uint64_t i = 0; i < count; ++i) value = value << 8 | bytes[big_endian ? i : count - 1 - i];
  uint64_t const sign_bit = uint64_t{1} << (8 * count - 1);
  if (is_signed && count < 8 && (value & sign_bit)) value |= ~(sign_bit - 1);
  return static_cast<int64_t>(value);  // an unsigned value beyond the signed range turns negative and is refused
}

std::vector<int32_t> read_labels(NpyArray& labels, int64_t images) {
  char const kind = labels.type()[1];
  require(kind == 'i' || kind == 'u', labels.what(), " has element type '", labels.type(),
          "'; labels must be integers");
  auto const& shape = labels.shape();
  require(shape.size() == 1 || (shape.size() == 2 && shape[1] == 1), labels.what(), " has shape ", labels.shape_text(),
          "; labels must be (n,) or (n, 1): one class an image");
  require(shape[0] == images, labels.what(), " has ", shape[0], " labels for ", images, " images");
  std::vector<int32_t> values;
  std::vector<uint8_t> item(labels.item_bytes());
  for (int64_t i = 0; i < shape[0]; ++i) {
    labels.content().read(item.data(), item.size());
    int64_t const value = integer_at(item.data(), item.size(), labels.type()[0] == '>', kind == 'i');
    require(value >= 0 && value < most_classes, labels.what(), ": label ", value, " of image ", i,
            " is no class index (0 to ", most_classes - 1, ")");
    values.push_back(static_cast<int32_t>(value));
  }
  labels.content().finish();
  return values;
}

/// Class names of MedMNIST v2 (Yang et al. 2023), by file name; a file of another size is named like "pathmnist_128".
std::vector<std::string> class_names_of(const std::filesystem::path& path, int64_t classes) {
  static std::vector<std::string> const organs{"bladder",     "femur-left",   "femur-right", "heart",
                                               "kidney-left", "kidney-right", "liver",       "lung-left",
                                               "lung-right",  "pancreas",     "spleen"};
  static std::map<std::string, std::vector<std::string>> const known{
      {"pathmnist",
       {"adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa",
        "cancer-associated stroma", "colorectal adenocarcinoma epithelium"}},
      {"dermamnist",
       {"actinic keratoses", "basal cell carcinoma", "benign keratosis-like lesions", "dermatofibroma", "melanoma",
        "melanocytic nevi", "vascular lesions"}},
      {"octmnist", {"choroidal neovascularization", "diabetic macular edema", "drusen", "normal"}},
      {"pneumoniamnist", {"normal", "pneumonia"}},
      {"breastmnist", {"malignant", "normal or benign"}},
      {"bloodmnist",
       {"basophil", "eosinophil", "erythroblast", "immature granulocyte", "lymphocyte", "monocyte", "neutrophil",
        "platelet"}},
      {"organamnist", organs},
      {"organcmnist", organs},
      {"organsmnist", organs}};
  std::string const stem = path.stem().string();
  auto const it = known.find(stem.substr(0, stem.find('_')));
  if (it != known.end() && static_cast<int64_t>(it->second.size()) == classes) return it->second;
  std::vector<std::string> numbers;
  for (int64_t c = 0; c < classes; ++c) numbers.push_back(std::to_string(c));
  return numbers;
}

/// Reads `n` images one by one into their rows, in the set's size and channels.
void read_pixels(NpyArray& images, int64_t n, const ImageSize& from, uint8_t* to, const ImageSize& to_size) {
  int64_t const chunk = std::max<int64_t>(1, (int64_t{1} << 24) / from.bytes());
  std::vector<uint8_t> buffer(static_cast<size_t>(std::min(n, chunk) * from.bytes()));
  for (int64_t first = 0; first < n; first += chunk) {
    int64_t const count = std::min(chunk, n - first);
    images.content().read(buffer.data(), static_cast<uint64_t>(count * from.bytes()));
    for_each_image(count, [&](int64_t i) {
      conform(buffer.data() + i * from.bytes(), from, to + (first + i) * to_size.bytes(), to_size);
    });
  }
  images.content().finish();
}

/// Sizes and labels of all parts, before any pixel is read.
struct Plan {
  struct Piece {
    PartNames names;
    const ZipEntry* images;
    int64_t count;
  };
  std::vector<Piece> pieces;
  ImageSize size;
  std::vector<int32_t> labels;
};

Plan plan_of(const ZipArchive& archive) {
  Plan plan;
  for (PartNames const names : part_names) {
    std::string const prefix = names.prefix;
    const ZipEntry* const image_entry = archive.find(prefix + "_images.npy");
    const ZipEntry* const label_entry = archive.find(prefix + "_labels.npy");
    require(!image_entry == !label_entry, archive.path().string(), ": ", prefix, "_images and ", prefix,
            "_labels must come together");
    if (!image_entry) continue;
    NpyArray const images(archive, *image_entry);
    ImageSize const size = image_size_of(images);
    require(plan.pieces.empty() || size == plan.size, images.what(), " has images of ", size.height, "x", size.width,
            "x", size.channels, ", the parts before of ", plan.size.height, "x", plan.size.width, "x",
            plan.size.channels);
    plan.size = size;
    require_memory(images.shape()[0], size, images.what());  // before a small file unpacks into many labels
    NpyArray labels(archive, *label_entry);
    std::vector<int32_t> const values = read_labels(labels, images.shape()[0]);
    plan.labels.insert(plan.labels.end(), values.begin(), values.end());
    plan.pieces.push_back({names, image_entry, images.shape()[0]});
  }
  require(!plan.pieces.empty() && plan.pieces[0].names.part == Part::train, archive.path().string(),
          " has no train_images.npy: it is not in MedMNIST's layout");
  require(!plan.labels.empty(), archive.path().string(), " holds no images");
  return plan;
}

}  // namespace

Source read_npz(const std::filesystem::path& path, const DataOptions& options) {
  ZipArchive const archive(path);
  Plan const plan = plan_of(archive);
  ImageSize to = plan.size;
  if (options.size > 0) to.height = to.width = options.size;
  if (options.channels > 0) to.channels = options.channels;

  Source source;
  ImageSet& all = source.all;
  all.height = to.height, all.width = to.width, all.channels = to.channels;
  all.labels = plan.labels;
  all.class_names = class_names_of(path, 1 + *std::max_element(all.labels.begin(), all.labels.end()));
  all.groups.resize(all.labels.size());
  std::shared_ptr<uint8_t> const pixels = new_pixels(all.size(), to, path.string());
  all.pixels = pixels;
  for (auto const& piece : plan.pieces) {
    int64_t const first = static_cast<int64_t>(all.ids.size());
    NpyArray images(archive, *piece.images);
    read_pixels(images, piece.count, plan.size, pixels.get() + first * to.bytes(), to);
    for (int64_t i = 0; i < piece.count; ++i) {
      all.ids.push_back(first + i);
      all.names.push_back(cat(piece.names.prefix, "[", i, "]"));
      source.parts.push_back(piece.names.part);
    }
  }
  return source;
}

}  // namespace mith
