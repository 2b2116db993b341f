#include "apps/common/training.h"

#include <algorithm>

#include "apps/common/command_line.h"
#include "engine/files/files.h"
#include "engine/spec/spec.h"
#include "engine/train/progress.h"

namespace mith {
namespace fs = std::filesystem;
namespace {

/// A key of --net, such as size=N, without consuming it.
std::optional<std::string> net_key(const std::string& net, const std::string& key) {
  if (net.empty()) return std::nullopt;
  return Spec::parse(net).take(key);
}

/// Removes tensors whose first dimension is another number of classes than the network's; returns their names.
std::vector<std::string> drop_other_heads(SafetensorsFile& file, const Network& network, int64_t origin_classes) {
  int64_t const classes = network.network_options().classes;
  std::vector<std::string> dropped;
  for (const StoredTensor& own : state_of(network)) {
    const Tensor* const stored = file.find(own.name);
    if (!stored || stored->shape().rank() == 0 || stored->shape() == own.value.shape()) continue;
    if (own.value.shape()[0] == classes && stored->shape()[0] == origin_classes &&
        stored->shape().with(0, classes) == own.value.shape())
      dropped.push_back(own.name);
  }
  std::erase_if(file.tensors, [&](const StoredTensor& t) {
    return std::find(dropped.begin(), dropped.end(), t.name) != dropped.end();
  });
  return dropped;
}

/// The classes of weights that do not name them: the rows that the network's last linear layer has in the file, or 0.
int64_t classes_in(const SafetensorsFile& file, const Network& network) {
  int64_t classes = 0;
  for (auto const& [name, parameter] : network.parameters()) {
    if (parameter->value.shape().rank() != 2) continue;
    const Tensor* const stored = file.find(name);
    classes = stored && stored->shape().rank() == 2 ? stored->dim(0) : 0;
  }
  return classes;
}

void load_initial_weights(Network& network, const InitialWeights& init) {
  SafetensorsFile file = init.weights;
  network.adapt(file.tensors);
  int64_t const classes = network.network_options().classes;
  int64_t const before = init.origin ? init.origin->network_options().classes : classes_in(file, network);
  auto const replaced = before == classes ? std::vector<std::string>{} : drop_other_heads(file, network, before);
  if (replaced.empty()) {
    load_state(network, file, init.file);
    return;
  }
  LoadReport const report = load_state(network, file, init.file, false);
  auto const difference = [&](const std::string& what, const std::string& name) {
    throw UsageError(cat("--init ", init.file, ": weights of another architecture: ", what, " ", name));
  };
  for (const std::string& name : report.missing)
    if (std::find(replaced.begin(), replaced.end(), name) == replaced.end()) difference("without", name);
  for (const std::string& name : report.unexpected) difference("unexpected", name);
  for (const std::string& name : report.mismatched) difference("other shape of", name);
  std::string names;
  for (const std::string& name : replaced) names += (names.empty() ? "" : ", ") + name;
  say(cat("note: ", init.file, " has ", before, " classes, the data ", classes, ": ", names, " start anew"));
}

}  // namespace

double learning_rate(const TrainOptions& o) {
  if (o.lr > 0) return o.lr;
  return o.init.empty() ? 1e-3 : 5e-4;
}

Json to_json(const TrainOptions& o, int64_t seed) {
  return {{"data", o.data},
          {"net", o.net},
          {"seed", seed},
          {"epochs", o.epochs},
          {"batch", o.batch},
          {"lr", learning_rate(o)},
          {"optimizer", o.optimizer},
          {"patience", o.patience},
          {"size", o.size},
          {"augment", o.augment},
          {"split", o.split},
          {"class-weights", o.class_weights},
          {"init", o.init},
          {"freeze", o.freeze},
          {"unfreeze-after", o.unfreeze_after},
          {"lr-for", o.lr_for},
          {"adversarial", o.adversarial},
          {"adversarial-weight", o.adversarial_weight},
          {"adversarial-data", o.adversarial_data}};
}

std::unique_ptr<InitialWeights> read_initial_weights(const std::string& text) {
  if (text.empty()) return nullptr;
  auto init = std::make_unique<InitialWeights>();
  std::error_code error;
  require(fs::exists(text, error), "--init ", text, ": no such run folder or file");
  init->file = fs::is_directory(text, error) ? (fs::path(text) / "model.safetensors").string() : text;
  init->weights = read_safetensors(init->file);
  auto const net = init->weights.metadata.find("mithridate.net");
  if (net != init->weights.metadata.end()) init->origin = load_network(net->second + "@" + init->file);
  return init;
}

std::string net_spec(const TrainOptions& options, const InitialWeights* init) {
  if (!options.net.empty()) return options.net;
  require(init && init->origin, "--net is missing (--net help lists all)",
          init ? "; " + init->file + " does not say which net it belongs to" : "");
  return init->origin->spec();
}

DataParts load_training_data(const TrainOptions& options, const InitialWeights* init, bool strict) {
  auto const [source, part] = split_data_name(options.data);
  require(part.empty(), "--data ", options.data, ": training takes the whole source, not a part of it");
  DataOptions wanted;
  wanted.split = options.split;
  wanted.strict = strict;
  if (init && init->origin) {
    NetworkOptions const& o = init->origin->network_options();
    wanted.channels = o.channels;
    if (o.height == o.width) wanted.size = o.height;
  }
  if (auto v = net_key(options.net, "size")) wanted.size = parse_integer(*v, "--net size");
  if (auto v = net_key(options.net, "channels")) wanted.channels = parse_integer(*v, "--net channels");
  if (options.size > 0) wanted.size = options.size;
  DataParts parts = load_data(source, wanted);
  require(parts.train.size() > 0 && parts.validation.size() > 0, "--data ", source, ": ", parts.train.size(),
          " training and ", parts.validation.size(), " validation images are too few to train on");
  return parts;
}

std::unique_ptr<Network> build_network(const TrainOptions& options, const InitialWeights* init, const DataParts& parts,
                                       int64_t seed) {
  const ImageSet& train = parts.train;
  NetworkOptions o;
  o.classes = static_cast<int64_t>(train.class_names.size());
  o.class_names = train.class_names;
  o.channels = train.channels;
  o.height = train.height;
  o.width = train.width;
  if (init && init->origin && init->origin->network_options().channels == o.channels) {
    o.normalize = init->origin->network_options().normalize;
    o.mean = init->origin->network_options().mean;
    o.deviation = init->origin->network_options().deviation;
  }
  if (auto v = net_key(options.net, "classes"))
    require(parse_integer(*v, "--net classes") == o.classes, "--net ", options.net, ": the data has ", o.classes,
            " classes");
  if (net_key(options.net, "normalize") == "dataset" || (o.normalize == "dataset" && o.mean.empty())) {
    ChannelStatistics const statistics = channel_statistics(train);
    o.mean = statistics.mean;
    o.deviation = statistics.deviation;
    for (float& d : o.deviation) d = std::max(d, 1e-3f);  // a constant channel must not be blown up
  }
  auto network = make_network(net_spec(options, init), o);
  require(network->network_options().height == train.height && network->network_options().width == train.width,
          "--net ", options.net, ": the images are ", train.height, "x", train.width);
  network->initialise(static_cast<uint64_t>(seed));
  if (init) load_initial_weights(*network, *init);
  return network;
}

std::vector<float> balanced_class_weights(const ImageSet& images) {
  size_t const classes = images.class_names.size();
  std::vector<int64_t> count(classes, 0);
  for (int32_t label : images.labels) ++count[static_cast<size_t>(label)];
  std::vector<float> weights;
  for (size_t c = 0; c < classes; ++c) {
    require(count[c] > 0, images.source, ": class '", images.class_names[c], "' has no training image");
    weights.push_back(static_cast<float>(double(images.size()) / (double(classes) * double(count[c]))));
  }
  return weights;
}

std::vector<size_t> with_prefix(const std::vector<Module::Named>& parameters, const std::string& prefix,
                                const std::string& option) {
  std::vector<size_t> found;
  std::vector<std::string> known;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const std::string& name = parameters[i].name;
    if (name == prefix || name.rfind(prefix + ".", 0) == 0) found.push_back(i);
    for (size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1))
      known.push_back(name.substr(0, dot));
  }
  require(!found.empty(), option, ": no parameter under '", prefix, "'", suggestion(prefix, known));
  return found;
}

void freeze(Network& network, const std::string& prefixes) {
  auto const parameters = network.parameters();
  for (const std::string& prefix : split_list(prefixes))
    for (size_t i : with_prefix(parameters, prefix, "--freeze")) parameters[i].parameter->trainable = false;
  require(!network.trainable().empty(), "--freeze ", prefixes, ": nothing is left to train");
}

std::unique_ptr<Optimizer> build_optimizer(Network& network, const TrainOptions& options) {
  auto parameters = network.parameters();
  std::erase_if(parameters, [](const Module::Named& p) { return p.parameter->buffer; });
  auto optimizer = make_optimizer(options.optimizer, parameters, learning_rate(options));
  optimizer->learning_rate_scale.assign(parameters.size(), 1.0);
  for (const std::string& text : options.lr_for) {
    size_t const equals = text.find('=');
    require(equals != std::string::npos, "--lr-for '", text, "': expected PREFIX=X, e.g. conv1=1e-4");
    double const rate = parse_number(text.substr(equals + 1), "--lr-for");
    require(rate >= 0, "--lr-for ", text, ": a learning rate is not negative");
    for (size_t i : with_prefix(parameters, text.substr(0, equals), "--lr-for"))
      optimizer->learning_rate_scale[i] = rate / learning_rate(options);
  }
  return optimizer;
}

}  // namespace mith
