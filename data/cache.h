// The decoded cache: a file of u8 images that is mapped into memory. It is checked before it is believed, written aside
// and renamed.
#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/pixels.h"

namespace mith {

/// Decoded images in the order of a listing.
struct DecodedSet {
  ImageSize size;
  std::vector<uint8_t> usable;            ///< 0 where an image is broken
  std::shared_ptr<const uint8_t> pixels;  ///< [usable.size(),h,w,c]
};

/// Fills the pixels and the usable flags of every image.
using DecodeInto = std::function<void(const ImageSize&, uint8_t* pixels, uint8_t* usable)>;

/// The set stored under the key in `folder` (empty: $MITH_CACHE, else mithridate under the user's cache folder). If
/// there is none, or it is damaged or foreign, `decode` fills a new one; `size` is asked only then. A folder that
/// cannot be written, or has no room, costs a line and the time of the next run. What `decode` throws passes through.
DecodedSet through_cache(std::filesystem::path folder, uint64_t key, int64_t images, const std::string& source,
                         const std::function<ImageSize()>& size, const DecodeInto& decode);

}  // namespace mith
