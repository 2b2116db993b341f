#include "apps/common/inputs.h"

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "apps/common/command_line.h"
#include "engine/files/files.h"
#include "engine/spec/spec.h"
#include "engine/tensor/allocator.h"
#include "engine/train/progress.h"

namespace mith {
namespace fs = std::filesystem;
namespace {

/// mith-train's default.
const std::string default_split = "80/10/10";

/// Phantoms of one name and seed begin with the same images, however many and however large.
bool same_phantom(const std::string& a, const std::string& b) {
  constexpr std::string_view prefix = "synthetic:";
  if (!a.starts_with(prefix) || !b.starts_with(prefix)) return false;
  Spec first = Spec::parse(a.substr(prefix.size())), second = Spec::parse(b.substr(prefix.size()));
  return first.name == second.name && first.take("seed").value_or("0") == second.take("seed").value_or("0");
}

/// The split a model's run made of this source, or the default for any other source.
std::string split_for(const Model& model, const std::string& source) {
  if (!model.configuration.is_object() || !model.configuration.contains("data")) return default_split;
  Json const& data = model.configuration["data"];
  std::string const trained = data.value("path", data.value("source", ""));
  std::string const split = data.value("split", default_split);
  return same_source(trained, source) ? split : default_split;
}

void warn_of_phantom_drawn_again(const Model& model, const std::string& source) {
  if (!model.configuration.is_object() || !model.configuration.contains("data")) return;
  std::string const trained = model.configuration["data"].value("source", "");
  if (trained != source && same_phantom(trained, source))
    warn(model.name + " was trained on " + trained + ", whose images " + source +
         " draws again and may divide otherwise");
}

/// Turns labels into the model's class order when the names say how; refuses data of other classes.
void align_classes(ImageSet& images, const Model& model) {
  NetworkOptions const& network = model.network->network_options();
  std::vector<std::string> const known = network.class_names;
  if (images.class_names == known) return;
  std::vector<int32_t> map;
  for (const std::string& name : images.class_names) {
    auto const found = std::find(known.begin(), known.end(), name);
    if (found == known.end()) break;
    map.push_back(static_cast<int32_t>(found - known.begin()));
  }
  if (map.size() == images.class_names.size()) {
    for (int32_t& label : images.labels) label = map[static_cast<size_t>(label)];
    images.class_names = known;
    return;
  }
  auto const is_known = [&](const std::string& name) {
    return std::find(known.begin(), known.end(), name) != known.end();
  };
  auto const stranger = std::find_if_not(images.class_names.begin(), images.class_names.end(), is_known);
  require(std::none_of(images.class_names.begin(), images.class_names.end(), is_known), images.source,
          " has the class '", *stranger, "', which ", model.name, " does not know (", joined(known), ")");
  require(static_cast<int64_t>(images.class_names.size()) == network.classes, images.source, " has ",
          images.class_names.size(), " classes (", joined(images.class_names), "), ", model.name, " has ",
          network.classes, known.empty() ? "" : " (" + joined(known) + ")");
  if (!known.empty())
    warn("no class of " + images.source + " (" + joined(images.class_names) + ") has a name that " + model.name +
         " knows (" + joined(known) + "): they are taken in that order");
}

}  // namespace

std::string lasting_name(const std::string& source) {
  std::error_code error;
  fs::path const absolute = fs::exists(source, error) ? fs::canonical(source, error) : fs::path(source);
  return error ? source : absolute.string();
}

Json configuration_of(const fs::path& folder) {
  fs::path const file = folder / "config.json";
  std::error_code error;
  if (!fs::exists(file, error)) return nullptr;
  Json parsed = Json::parse(read_text(file), nullptr, false);
  require(!parsed.is_discarded(), file.string(), ": not valid JSON");
  return parsed;
}

bool same_source(const std::string& a, const std::string& b) {
  if (a == b) return true;
  std::error_code error;
  return fs::exists(a, error) && fs::exists(b, error) && fs::equivalent(a, b, error);
}

std::unique_ptr<MixedNetwork> make_mixed(Network& network, const std::string& name) try {
  auto mixed = std::make_unique<MixedNetwork>(network, name);
  mixed->narrow().plan(1);
  mixed->wide().plan(1);
  return mixed;
} catch (const OutOfMemory&) {
  throw;
} catch (const Error& e) {
  throw UsageError(cat("--precision bf16: ", name, " cannot run in it here: ", e.what()));
}

namespace {

std::unique_ptr<FrozenNetwork> frozen_or_null(Network& network, const std::string& name) try {
  auto frozen = std::make_unique<FrozenNetwork>(network, name);
  frozen->plan(1);
  return frozen;
} catch (const OutOfMemory&) {
  throw;
} catch (const Error& e) {
  warn(cat(name, " runs operator by operator: ", e.what()));
  return nullptr;
}

void make_classifier(Model& model, Executor executor) {
  model.executor = executor;
  if (executor == Executor::mixed) model.classifier = make_mixed(*model.network, model.name);
  if (executor == Executor::frozen) model.classifier = frozen_or_null(*model.network, model.name);
  if (model.classifier) return;
  model.executor = Executor::eager;
  model.classifier = std::make_unique<NetworkClassifier>(*model.network, model.name, NetworkClassifier::fixed);
}

}  // namespace

Json executors_of(const std::vector<const Model*>& models, const std::vector<const Model*>& surrogates) {
  Json executors = Json::object();
  for (auto const* all : {&models, &surrogates})
    for (const Model* model : *all) executors[model->name] = name_of(model->executor);
  return executors;
}

Executor executor_for(bool eager, const std::string& precision) {
  if (precision == "f32") return eager ? Executor::eager : Executor::frozen;
  require(precision == "bf16", "--precision ", precision, ": not available yet; available: f32, bf16");
  require(!eager, "--eager: operator by operator there is only f32, not --precision ", precision);
  return Executor::mixed;
}

Model open_model(const std::string& text, Executor executor) {
  std::error_code error;
  size_t const at = fs::exists(text, error) ? std::string::npos : text.find('@');
  if (at != std::string::npos) require_classifier(text.substr(0, at));  // before its weights are asked for more
  if (size_t const plus = text.rfind('+');
      plus != std::string::npos && !fs::exists(text.substr(text.find('@') + 1), error)) {
    require(false, "--model ", text, ": no defence is available yet, so '", text.substr(plus), "' cannot be applied");
  }
  Model model{.name = text, .network = load_network(text), .classifier = nullptr, .configuration = nullptr};
  require_classifier(model.network->spec());
  make_classifier(model, executor);
  if (fs::is_directory(text, error)) model.configuration = configuration_of(text);
  return model;
}

ImageSet open_part(const std::string& data, const Model& model, const PartOptions& options) {
  auto const [source, part] = split_data_name(data);
  NetworkOptions const& network = model.network->network_options();
  DataOptions wanted;
  wanted.channels = network.channels;
  wanted.split = split_for(model, source);
  wanted.strict = options.strict;
  if (network.height == network.width) wanted.size = network.height;
  ImageSet images = part_of(load_data(source, wanted), part.empty() ? options.default_part : part);
  require(images.size() > 0, data, ": the ", part.empty() ? options.default_part : part, " part is empty");
  require(images.height == network.height && images.width == network.width && images.channels == network.channels, data,
          ": images of ", images.height, "x", images.width, "x", images.channels, ", ", model.name, " takes ",
          network.height, "x", network.width, "x", network.channels);
  align_classes(images, model);
  warn_of_phantom_drawn_again(model, source);
  if (options.limit > 0 && options.limit < images.size())
    images = subset(images, stratified_first(images.labels, options.limit));
  return images;
}

void require_same_images(const Model& surrogate, const Model& model) {
  require(surrogate.classifier->image_shape() == model.classifier->image_shape() &&
              surrogate.classifier->classes() == model.classifier->classes(),
          "--surrogate ", surrogate.name, " takes images ", surrogate.classifier->image_shape(), " of ",
          surrogate.classifier->classes(), " classes, ", model.name, " ", model.classifier->image_shape(), " of ",
          model.classifier->classes());
  std::vector<std::string> ours = model.network->network_options().class_names,
                           theirs = surrogate.network->network_options().class_names;
  bool const same_order = ours == theirs;
  std::ranges::sort(ours);
  std::ranges::sort(theirs);
  require(same_order || ours != theirs, "--surrogate ", surrogate.name, " has the classes of ", model.name,
          " in another order");
}

std::vector<int64_t> stratified_first(const std::vector<int32_t>& labels, int64_t limit) {
  int64_t const n = static_cast<int64_t>(labels.size());
  size_t const classes = labels.empty() ? 0 : static_cast<size_t>(*std::max_element(labels.begin(), labels.end())) + 1;
  std::vector<int64_t> count(classes, 0), quota(classes), order(classes);
  for (int32_t label : labels) ++count[static_cast<size_t>(label)];
  int64_t left = std::min(limit, n);
  for (size_t c = 0; c < classes; ++c) left -= quota[c] = count[c] * std::min(limit, n) / n;
  std::iota(order.begin(), order.end(), 0);
  auto const remainder = [&](int64_t c) { return count[static_cast<size_t>(c)] * std::min(limit, n) % n; };
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return remainder(a) > remainder(b); });
  for (int64_t i = 0; i < left; ++i) ++quota[static_cast<size_t>(order[static_cast<size_t>(i)])];

  std::vector<int64_t> positions;
  for (int64_t i = 0; i < n; ++i)
    if (quota[static_cast<size_t>(labels[static_cast<size_t>(i)])]-- > 0) positions.push_back(i);
  return positions;
}

}  // namespace mith
