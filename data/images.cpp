// From a listing to decoded images: sizes, decoding in parallel, the cache, and what is said of broken files.
#include <algorithm>
#include <mutex>

#include "data/cache.h"
#include "data/hash.h"
#include "data/parallel.h"
#include "data/source.h"
#include "engine/train/progress.h"

namespace mith {
namespace fs = std::filesystem;
namespace {

/// Why images are broken, one text an image; empty for good ones.
using Reasons = std::vector<std::string>;

/// Names, sizes, times and what is done to the images: whatever changes the pixels changes the key.
uint64_t cache_key(const Listing& listing, const DataOptions& options) {
  std::string facts = cat(options.size, ' ', options.channels, '\n');
  for (auto const& image : listing.images) {
    std::error_code ignored;  // a file that vanishes is reported when it is decoded
    facts += cat(image.name, '\0', fs::file_size(image.path, ignored), ' ',
                 fs::last_write_time(image.path, ignored).time_since_epoch().count(), '\n');
  }
  return hash_bytes(facts.data(), facts.size());
}

/// The size that all images will have. Reads every header unless the options say everything.
ImageSize common_size(const Listing& listing, const DataOptions& options) {
  if (options.size > 0 && options.channels > 0) return {options.size, options.size, options.channels};
  std::vector<ImageSize> sizes(listing.images.size());
  for_each_image(static_cast<int64_t>(sizes.size()), [&](int64_t i) {
    size_t const at = static_cast<size_t>(i);
    try {
      sizes[at] = image_file_size(listing.images[at].path);
    } catch (const BrokenImage&) {
      sizes[at] = {};  // named when it is decoded
    }
  });
  ImageSize common;
  size_t first = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i].channels == 0) continue;
    if (common.channels == 0) first = i, common = sizes[i];
    bool const same = sizes[i].height == common.height && sizes[i].width == common.width;
    require(same || options.size > 0, listing.source, ": images differ in size (", listing.images[first].name, " is ",
            common.width, "x", common.height, ", ", listing.images[i].name, " is ", sizes[i].width, "x",
            sizes[i].height, "); choose one with --size N");
    common.channels = std::max(common.channels, sizes[i].channels);
  }
  require(common.channels > 0, listing.source, ": none of its ", sizes.size(), " image files can be read");
  if (options.size > 0) common.height = common.width = options.size;
  if (options.channels > 0) common.channels = options.channels;
  return common;
}

/// Decodes every image into its row.
void decode_all(const Listing& listing, const ImageSize& size, uint8_t* pixels, uint8_t* usable, Reasons& reasons) {
  int64_t const n = static_cast<int64_t>(listing.images.size());
  Progress progress("decoding", n);
  std::mutex progress_mutex;
  for_each_image(n, [&](int64_t i) {
    size_t const at = static_cast<size_t>(i);
    try {
      DecodedImage const image = decode_image_file(listing.images[at].path);
      conform(image.pixels.data(), image.size, pixels + i * size.bytes(), size);
      usable[i] = 1;
    } catch (const BrokenImage& broken) {
      std::fill_n(pixels + i * size.bytes(), size.bytes(), uint8_t{0});
      usable[i] = 0;
      reasons[at] = broken.what();
    }
    std::lock_guard const lock(progress_mutex);
    progress.advance(1);
  });
  progress.finish();
}

/// One line a broken image, and their count; with `strict` the first one stops the run.
void report_broken(const Listing& listing, const std::vector<uint8_t>& usable, const Reasons& reasons, bool strict) {
  int64_t broken = 0;
  for (size_t i = 0; i < usable.size(); ++i) {
    if (usable[i]) continue;
    std::string const reason = reasons[i].empty() ? "was broken when the cache was made" : reasons[i];
    std::string const line = cat(listing.images[i].path.string(), " ", reason);
    require(!strict, line);
    warn(line + "; skipped");
    ++broken;
  }
  if (broken > 0) warn(cat(listing.source, ": ", broken, " of ", usable.size(), " images are broken and were skipped"));
}

}  // namespace

Source read_images(const Listing& listing, const DataOptions& options) {
  Reasons reasons(listing.images.size());
  DecodedSet const decoded = through_cache(
      options.cache, cache_key(listing, options), static_cast<int64_t>(listing.images.size()), listing.source,
      [&] { return common_size(listing, options); },
      [&](const ImageSize& size, uint8_t* pixels, uint8_t* usable) {
        decode_all(listing, size, pixels, usable, reasons);
      });
  report_broken(listing, decoded.usable, reasons, options.strict);
  Source source;
  ImageSet& all = source.all;
  all.height = decoded.size.height, all.width = decoded.size.width, all.channels = decoded.size.channels;
  all.class_names = listing.class_names;
  all.pixels = decoded.pixels;
  for (size_t i = 0; i < listing.images.size(); ++i) {
    if (!decoded.usable[i]) continue;
    auto const& image = listing.images[i];
    all.labels.push_back(image.label);
    all.ids.push_back(static_cast<int64_t>(i));
    all.rows.push_back(static_cast<int64_t>(i));
    all.groups.push_back(image.group);
    all.names.push_back(image.name);
    source.parts.push_back(image.part);
  }
  require(all.size() > 0, listing.source, ": none of its ", listing.images.size(), " image files can be read");
  return source;
}

}  // namespace mith
