// Labelled images from class folders, MedMNIST .npz files, CSV lists and procedural phantoms.
#pragma once
#include <array>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/train/batch_source.h"

namespace mith {

/// Images of a source, decoded once, as bytes. Pixels live in a memory map or in memory; the parts of one source share
/// them.
struct ImageSet {
  int64_t height = 0, width = 0, channels = 0;
  std::vector<std::string> class_names;
  std::vector<int32_t> labels;
  std::vector<int64_t> ids;               ///< unique within the source, stable across runs
  std::vector<std::string> groups;        ///< patient or source of augmented copies; empty strings where unknown
  std::vector<std::string> names;         ///< file name or index, for messages and exports
  std::shared_ptr<const uint8_t> pixels;  ///< [rows,h,w,c]
  std::vector<int64_t> rows;              ///< of `pixels`, one an image; empty: image i is row i
  std::string source;                     ///< the DATA text it came from
  int64_t size() const { return static_cast<int64_t>(labels.size()); }
  int64_t image_bytes() const { return height * width * channels; }
  int64_t row(int64_t position) const { return rows.empty() ? position : rows[static_cast<size_t>(position)]; }
  /// The [h,w,c] bytes of one image.
  const uint8_t* image(int64_t position) const { return pixels.get() + row(position) * image_bytes(); }
};

/// The images at these positions, in this order; shares the pixels.
ImageSet subset(const ImageSet&, const std::vector<int64_t>& positions);

/// A source with its parts. Parts given by the source (npz, train/val/test folders) are kept; missing ones are split
/// off.
struct DataParts {
  ImageSet train, validation, test;
  std::string description;  ///< how the split was made, for config.json
};

struct DataOptions {
  int64_t size = 0;                ///< resize to size x size; 0: as they are, and all must share one size
  int64_t channels = 0;            ///< 1 (luminance) or 3; 0: as they are, 3 where a folder mixes grey and colour
  std::string split = "80/10/10";  ///< percent of training, validation and test images
  uint64_t seed = 0;               ///< of the split
  bool strict = false;             ///< a broken image stops the run instead of being named and skipped
  std::filesystem::path cache{};   ///< folder of the decoded cache; empty: $MITH_CACHE, else the user's cache folder
};

/// DATA of the command line: folder | file.npz | file.csv | synthetic:NAME[:n=..,size=..]. A trailing :train, :val or
/// :test is not handled here; see split_data_name. Throws UsageError naming the file.
DataParts load_data(const std::string& data, const DataOptions&);
/// "x.npz:test" -> {"x.npz", "test"}; the part is empty if none is named.
std::pair<std::string, std::string> split_data_name(const std::string& data);
/// One part by name: train, val or test.
const ImageSet& part_of(const DataParts&, const std::string& part);
/// Writes the split (ids and names of each part) beside a run.
void write_split(const DataParts&, const std::filesystem::path& file);

/// Stratified, seeded split of indices into three parts by the given fractions; images of one group stay together.
struct SplitIndices {
  std::vector<int64_t> train, validation, test;
};
SplitIndices stratified_split(const std::vector<int32_t>& labels, const std::vector<std::string>& groups,
                              const std::array<double, 3>& fractions, uint64_t seed);

/// Random changes of training images, drawn per image and epoch, made on the device.
struct Augmentation {
  bool flip = false;  ///< left-right, half of the images
  double rotate = 0;  ///< uniform in [-rotate, rotate] degrees, bilinear, zero outside
  /// "flip,rotate:10"; throws UsageError.
  static Augmentation parse(const std::string&);
  bool any() const { return flip || rotate > 0; }
};

/// An ImageSet as the training loop and the attacks read it.
class ImageSource final : public BatchSource {
 public:
  /// Does not own the set.
  explicit ImageSource(const ImageSet& set, Augmentation augmentation = {}) : set_(set), augmentation_(augmentation) {}
  int64_t size() const override { return set_.size(); }
  int64_t classes() const override { return static_cast<int64_t>(set_.class_names.size()); }
  Shape image_shape() const override { return {set_.height, set_.width, set_.channels}; }
  const std::vector<int32_t>& labels() const override { return set_.labels; }
  const std::vector<std::string>& class_names() const override { return set_.class_names; }
  Batch batch(const std::vector<int64_t>& positions, bool augment, const DrawKey& key) const override;
  const ImageSet& set() const { return set_; }

 private:
  /// The bytes that a device reads, and where in them each position's image lies.
  struct Gathered {
    const uint8_t* pixels;
    std::vector<int64_t> rows;
    Tensor owner;  ///< keeps device memory alive
  };
  Gathered gather(const std::vector<int64_t>& positions) const;
  Gathered staged(const std::vector<int64_t>& positions) const;
  const ImageSet& set_;
  Augmentation augmentation_;
  mutable Tensor resident_;  ///< the whole set on a device with memory of its own, if it is small
};

/// Mean and deviation of each channel over the set, pixels in [0, 1]; a deviation is at least 1/255, so that dividing
/// by it is safe.
struct ChannelStatistics {
  std::vector<float> mean, deviation;
};
ChannelStatistics channel_statistics(const ImageSet&);

/// A procedural phantom; each registers by name.
struct Phantom {
  virtual ~Phantom() = default;
  virtual std::vector<std::string> class_names() const = 0;
  virtual int64_t channels() const = 0;
  virtual int64_t default_size() const = 0;
  virtual int64_t default_count() const = 0;
  /// Draws one image of the class into [size,size,channels] bytes; the key and the id determine it.
  virtual void draw(uint8_t* pixels, int64_t size, int32_t label, int64_t id, const DrawKey& key) const = 0;
};
using PhantomRegistry = Registry<Phantom>;

}  // namespace mith
