// Networks as files: weights with enough metadata to build the network again.
#include <algorithm>
#include <cmath>
#include <optional>

#include "engine/files/files.h"
#include "engine/files/network_metadata.h"
#include "engine/files/run_folder.h"
#include "engine/files/safetensors.h"
#include "engine/train/progress.h"

namespace mith {
namespace {

namespace fs = std::filesystem;

constexpr const char* net_key = "mithridate.net";
constexpr const char* normalize_key = "mithridate.normalize";
constexpr const char* classes_key = "mithridate.classes";
constexpr const char* image_key = "mithridate.image";

/// Where the weights are, and what the command line says about them.
struct Source {
  fs::path file;
  std::optional<Spec> spec;
};

Source find_source(const std::string& model) {
  std::error_code error;
  if (fs::is_directory(model, error)) {
    fs::path const file = fs::path(model) / "model.safetensors";
    require(fs::exists(file, error), "'", model, "' is no run folder: it has no model.safetensors");
    return {file, std::nullopt};
  }
  size_t const at = fs::exists(model, error) ? std::string::npos : model.find('@');
  if (at != std::string::npos) return {model.substr(at + 1), Spec::parse(model.substr(0, at))};
  require(fs::exists(model, error), "there is no model '", model,
          "': expected a run folder or NET@weights.safetensors, as in resnet18@weights.safetensors");
  return {model, std::nullopt};
}

/// What a file's metadata says of its network; nothing for files of other origin.
struct Described {
  Spec spec;
  NetworkOptions options;
};

Json metadata_json(const SafetensorsFile& file, const char* key, const fs::path& path) {
  auto const text = file.metadata.find(key);
  require(text != file.metadata.end(), "cannot read ", path, ": its metadata has no ", key);
  return Json::parse(text->second);
}

int64_t size_at(const Json& image, size_t i, const fs::path& path) {
  Json const& size = image.at(i);
  require(size.is_number_unsigned() && size >= 1 && size <= 1 << 16, "cannot read ", path, ": ", image_key, " is ",
          image.dump(), ", not [height, width, channels]");
  return size.get<int64_t>();
}

void refuse_bad_normalization(const NetworkOptions& o, const fs::path& path) {
  // Three for grey images too: those of a network that repeats them.
  bool const per_channel = o.mean.empty() || std::ssize(o.mean) == o.channels || o.mean.size() == 3;
  bool const positive = std::ranges::all_of(o.deviation, [](float d) { return d > 0 && std::isfinite(d); });
  require(per_channel && o.mean.size() == o.deviation.size() && positive, path, ": ", normalize_key,
          " needs a mean and a positive deviation for each channel");
}

std::optional<Described> described(const SafetensorsFile& file, const fs::path& path) {
  auto const net = file.metadata.find(net_key);
  if (net == file.metadata.end()) return std::nullopt;
  try {
    Json const normalize = metadata_json(file, normalize_key, path), image = metadata_json(file, image_key, path);
    Described d{Spec::parse(net->second), {}};
    d.options.class_names = metadata_json(file, classes_key, path).get<std::vector<std::string>>();
    d.options.classes = std::ssize(d.options.class_names);
    d.options.normalize = normalize.at("how").get<std::string>();
    d.options.mean = normalize.at("mean").get<std::vector<float>>();
    d.options.deviation = normalize.at("deviation").get<std::vector<float>>();
    d.options.height = size_at(image, 0, path);
    d.options.width = size_at(image, 1, path);
    d.options.channels = size_at(image, 2, path);
    refuse_bad_normalization(d.options, path);
    return d;
  } catch (const Json::exception& e) {
    throw UsageError(cat("cannot read ", path, ": its mithridate metadata is damaged (", e.what(), ")"));
  }
}

/// The classes of the last linear layer, whose single output would be a binary sigmoid's; nothing if the network ends
/// otherwise.
std::optional<int64_t> infer_classes(const SafetensorsFile& file) {
  for (auto t = file.tensors.rbegin(); t != file.tensors.rend(); ++t)
    if (t->value.shape().rank() == 2 && t->name.ends_with("weight")) return std::max<int64_t>(t->value.dim(0), 2);
  return std::nullopt;
}

/// The first convolution's input channels, if they can be an image's. Files may be sorted by name, which puts
/// inception_v3's auxiliary head first: three input channels anywhere are an image's, a single one may be depthwise.
std::optional<int64_t> infer_channels(const SafetensorsFile& file) {
  std::optional<int64_t> channels;
  for (auto const& [name, value] : file.tensors) {
    if (value.shape().rank() != 4) continue;
    if (value.dim(1) == 3) return 3;
    if (!channels) channels = value.dim(1);
  }
  return channels == 1 ? channels : std::nullopt;
}

bool has_key(const Spec& spec, std::string_view key) {
  return std::ranges::any_of(spec.values, [&](auto& v) { return v.first == key; });
}

/// Options for weights of other origin, as far as the spec's own keys will not say.
NetworkOptions assume_options(const Spec& spec, const SafetensorsFile& file, const fs::path& path) {
  NetworkOptions options;
  bool const published = has_imagenet_weights(spec.name);
  if (is_classifier(spec.name)) {
    auto const classes = infer_classes(file);
    require(classes || has_key(spec, "classes"), path, " does not say how many classes there are: write ", spec.name,
            ":classes=K@", path.string());
    options.classes = classes.value_or(options.classes);
  }
  if (auto const channels = infer_channels(file)) options.channels = *channels;
  if (published) options.height = options.width = spec.name.starts_with("inception") ? 299 : 224;
  require(published || has_key(spec, "size"), path, " does not say how large its images are: write ", spec.name,
          ":size=N@", path.string());
  options.normalize = published && options.channels == 3 ? "imagenet" : "none";
  if (!has_key(spec, "normalize") && options.normalize == "imagenet")
    say(cat("note: ", path.string(), " does not say how images are normalised; assuming normalize=imagenet"));
  return options;
}

/// The metadata's spec with the command line's keys before it.
Spec merge(Spec own, const Spec& given, const fs::path& path) {
  require(own.name == given.name, path, " was made for ", own.name, ", not for ", given.name);
  for (auto const& [key, value] : given.values) {
    own.take(key);
    own.values.emplace_back(key, value);
  }
  return own;
}

void refuse_unknown_statistics(const Spec& spec, const NetworkOptions& options, const fs::path& path) {
  bool const dataset =
      std::ranges::any_of(spec.values, [](auto& v) { return v.first == "normalize" && v.second == "dataset"; });
  require(!dataset || (options.normalize == "dataset" && !options.mean.empty()), path,
          " does not hold the data's mean and deviation, which normalize=dataset needs");
}

}  // namespace

bool has_imagenet_weights(const std::string& net) {
  constexpr std::string_view families[] = {"densenet", "efficientnet", "inception", "mobilenet",
                                           "resnet",   "vgg",          "vit"};
  return std::ranges::any_of(families, [&](std::string_view family) { return net.starts_with(family); });
}

std::map<std::string, std::string> network_metadata(const Network& network) {
  const NetworkOptions& o = network.network_options();
  std::vector<std::string> names = o.class_names;
  for (auto i = static_cast<int64_t>(names.size()); i < o.classes; ++i) names.push_back(std::to_string(i));
  Json const normalize{{"how", o.normalize}, {"mean", o.mean}, {"deviation", o.deviation}};
  return {{"format", "pt"},
          {net_key, network.spec()},
          {normalize_key, json_text(normalize)},
          {classes_key, json_text(names)},
          {image_key, json_text(Json{o.height, o.width, o.channels})}};
}

void save_network(const Network& network, const fs::path& path, const std::map<std::string, std::string>& extra) {
  std::map<std::string, std::string> metadata = network_metadata(network);
  metadata.insert(extra.begin(), extra.end());
  write_safetensors(path, state_of(network), metadata);
}

std::unique_ptr<Network> load_network(const std::string& model) {
  auto const [path, given] = find_source(model);
  SafetensorsFile file = read_safetensors(path);
  std::erase_if(file.tensors, [](auto& t) { return t.name.starts_with(optimizer_prefix); });
  std::optional<Described> const own = described(file, path);
  require(own || given, path, " does not say which network it is for: write NET@", path.string());

  Spec const spec = !own ? *given : given ? merge(own->spec, *given, path) : own->spec;
  NetworkOptions options = own ? own->options : assume_options(spec, file, path);
  refuse_unknown_statistics(spec, options, path);
  std::unique_ptr<Network> network = make_network(spec.str(), options);
  load_state(*network, file, cat(path, own ? " (made for " + own->spec.str() + ")" : " as weights of " + spec.str()));
  return network;
}

}  // namespace mith
