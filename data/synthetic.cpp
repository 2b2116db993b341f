// synthetic:NAME: images drawn by a procedural phantom, no download.
#include "data/cache.h"
#include "data/hash.h"
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

/// What is drawn, and the first image of each class: a phantom that comes to draw differently finds no older images.
uint64_t cache_key(const Phantom& phantom, const std::string& what, int64_t size, const DrawKey& key) {
  std::string facts = what;
  std::vector<char> image(static_cast<size_t>(size * size * phantom.channels()));
  for (size_t label = 0; label < phantom.class_names().size(); ++label) {
    phantom.draw(reinterpret_cast<uint8_t*>(image.data()), size, static_cast<int32_t>(label),
                 static_cast<int64_t>(label), key);
    facts.append(image.begin(), image.end());
  }
  return hash_bytes(facts.data(), facts.size());
}

}  // namespace

Source read_synthetic(const std::string& text, const DataOptions& options) {
  Spec spec = Spec::parse(text);
  auto const count_given = take_integer(spec, "n", 2, 1000000);
  auto const size_given = take_integer(spec, "size", 8, 4096);
  DrawKey const key{.seed = static_cast<uint64_t>(take_integer(spec, "seed", 0, INT64_MAX).value_or(0)),
                    .purpose = Purpose::phantom};
  std::unique_ptr<Phantom> const phantom = PhantomRegistry::make(spec, "phantom");
  if (!spec.values.empty()) {
    std::string const& key_given = spec.values[0].first;
    throw UsageError(
        cat("synthetic:", spec.name, ": unknown key '", key_given, "'", suggestion(key_given, {"n", "size", "seed"})));
  }
  int64_t const count = count_given.value_or(phantom->default_count());
  int64_t const size = size_given.value_or(options.size > 0 ? options.size : phantom->default_size());

  ImageSize const drawn{size, size, phantom->channels()};
  ImageSize kept = drawn;
  if (options.size > 0) kept.height = kept.width = options.size;
  if (options.channels > 0) kept.channels = options.channels;
  int64_t const classes = static_cast<int64_t>(phantom->class_names().size());
  auto const draw_all = [&](const ImageSize&, uint8_t* pixels, uint8_t* usable) {
    for_each_image(count, [&](int64_t i) {
      std::vector<uint8_t> image(static_cast<size_t>(drawn.bytes()));
      phantom->draw(image.data(), size, static_cast<int32_t>(i % classes), i, key);
      conform(image.data(), drawn, pixels + i * kept.bytes(), kept);
      usable[i] = 1;
    });
  };
  std::string const what = cat("synthetic:", text, ' ', count, ' ', size, ' ', kept.height, ' ', kept.channels);
  DecodedSet const decoded = through_cache(
      options.cache, cache_key(*phantom, what, size, key), count, "synthetic:" + text, [&] { return kept; }, draw_all);

  Source source;
  ImageSet& all = source.all;
  all.height = kept.height, all.width = kept.width, all.channels = kept.channels;
  all.class_names = phantom->class_names();
  all.pixels = decoded.pixels;
  for (int64_t i = 0; i < count; ++i) {
    all.labels.push_back(static_cast<int32_t>(i % classes));
    all.ids.push_back(i);
    all.names.push_back(cat(spec.name, "[", i, "]"));
  }
  all.groups.resize(static_cast<size_t>(count));
  source.parts.resize(static_cast<size_t>(count), Part::none);
  return source;
}

}  // namespace mith
