// The decoded cache: a file of u8 images that is mapped into memory. It is checked before it is believed, written aside
// and renamed.
#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "data/pixels.h"

namespace mith {

/// Decoded images in the order of a listing.
struct DecodedSet {
  ImageSize size;
  std::vector<uint8_t> usable;            ///< 0 where an image is broken
  std::shared_ptr<const uint8_t> pixels;  ///< [usable.size(),h,w,c]
};

/// $MITH_CACHE, else mithridate under the user's cache folder; empty if the user has no home.
std::filesystem::path default_cache_folder();

/// The set stored under the key; nothing if there is none or it is damaged, foreign or of another key.
std::optional<DecodedSet> read_cache(const std::filesystem::path& folder, uint64_t key, int64_t images);

/// Lets `decode` fill the pixels and the usable flags straight into a new cache file. Nothing if the folder cannot be
/// written or has no room, with a line saying so; what `decode` throws passes through and leaves no file.
using DecodeInto = std::function<void(uint8_t* pixels, uint8_t* usable)>;
std::optional<DecodedSet> write_cache(const std::filesystem::path& folder, uint64_t key, int64_t images,
                                      const ImageSize&, const DecodeInto& decode);

}  // namespace mith
