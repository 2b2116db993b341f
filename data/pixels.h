// Bytes of images: decoding a file, resizing, changing the number of channels, and room for many.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "kernels/launch/error.h"

namespace mith {

struct ImageSize {
  int64_t height = 0, width = 0, channels = 0;
  int64_t bytes() const { return height * width * channels; }
  bool operator==(const ImageSize&) const = default;
};

/// An image file that cannot be used; the message is the reason alone, without the file's name.
struct BrokenImage : Error {
  using Error::Error;
};

struct DecodedImage {
  ImageSize size;  ///< 1 or 3 channels; alpha is dropped
  std::vector<uint8_t> pixels;
};

/// JPEG, PNG or BMP by extension, in any case.
bool is_image_name(const std::filesystem::path&);
/// Size and channels that decoding would give. Throws BrokenImage.
ImageSize image_file_size(const std::filesystem::path&);
/// Throws BrokenImage on what cannot be read, is no image, or ends early.
DecodedImage decode_image_file(const std::filesystem::path&);

/// Writes the image in another size (Catmull-Rom, widened when it shrinks) and channel count (1 to 3 repeats,
/// 3 to 1 takes the luminance 0.299 R + 0.587 G + 0.114 B).
void conform(const uint8_t* from, const ImageSize& from_size, uint8_t* to, const ImageSize& to_size);

/// UsageError naming `what` if n images, with what is kept beside their pixels, are more than the machine's memory.
void require_memory(int64_t n, const ImageSize&, const std::string& what);
/// Room for n images, after require_memory().
std::shared_ptr<uint8_t> new_pixels(int64_t n, const ImageSize&, const std::string& what);

}  // namespace mith
