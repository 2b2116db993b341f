// synthetic:NAME: images drawn by a procedural phantom, no download.
#include "data/parallel.h"
#include "data/pixels.h"
#include "data/source.h"

namespace mith {
namespace {

std::optional<int64_t> take_integer(Spec& spec, const char* key, int64_t low, int64_t high) {
  auto const text = spec.take(key);
  if (!text) return std::nullopt;
  std::string const what = cat("synthetic:", spec.name, " ", key);
  int64_t const value = parse_integer(*text, what);
  require(value >= low && value <= high, what, " is ", value, ", not in [", low, ", ", high, "]");
  return value;
}

}  // namespace

Source read_synthetic(const std::string& text, const DataOptions& options) {
  Spec spec = Spec::parse(text);
  auto const count_given = take_integer(spec, "n", 2, 1000000);
  auto const size_given = take_integer(spec, "size", 8, 4096);
  DrawKey const key{.seed = static_cast<uint64_t>(take_integer(spec, "seed", 0, INT64_MAX).value_or(0)),
                    .purpose = Purpose::phantom};
  std::unique_ptr<Phantom> const phantom = PhantomRegistry::make(spec, "phantom");
  int64_t const count = count_given.value_or(phantom->default_count());
  int64_t const size = size_given.value_or(options.size > 0 ? options.size : phantom->default_size());

  Source source;
  ImageSet& all = source.all;
  all.class_names = phantom->class_names();
  ImageSize const drawn{size, size, phantom->channels()};
  ImageSize kept = drawn;
  if (options.size > 0) kept.height = kept.width = options.size;
  if (options.channels > 0) kept.channels = options.channels;
  all.height = kept.height, all.width = kept.width, all.channels = kept.channels;
  int64_t const classes = static_cast<int64_t>(all.class_names.size());
  auto const pixels = new_pixels(count, kept, "synthetic:" + text);
  all.pixels = pixels;
  for (int64_t i = 0; i < count; ++i) {
    all.labels.push_back(static_cast<int32_t>(i % classes));
    all.ids.push_back(i);
    all.names.push_back(cat(spec.name, "[", i, "]"));
  }
  all.groups.resize(static_cast<size_t>(count));
  source.parts.resize(static_cast<size_t>(count), Part::none);
  for_each_image(count, [&](int64_t i) {
    std::vector<uint8_t> image(static_cast<size_t>(drawn.bytes()));
    phantom->draw(image.data(), size, all.labels[static_cast<size_t>(i)], i, key);
    conform(image.data(), drawn, pixels.get() + i * kept.bytes(), kept);
  });
  return source;
}

}  // namespace mith
