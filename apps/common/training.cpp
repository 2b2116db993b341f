#include "apps/common/training.h"

#include <algorithm>
#include <set>

#include "apps/common/command_line.h"
#include "engine/spec/spec.h"
#include "engine/train/progress.h"
#include "nets/blocks.h"

namespace mith {
namespace {

/// A key of --net, such as size=N, without consuming it.
std::optional<std::string> net_key(const std::string& net, const std::string& key) {
  if (net.empty()) return std::nullopt;
  return Spec::parse(net).take(key);
}

/// --head 256,64 as the key `head` has it, which checks it.
std::string head_text(const std::string& widths) {
  std::string text = widths;
  std::ranges::replace(text, ',', '-');
  std::vector<int64_t> checked;
  Fields key;
  head_field(key, checked);
  key.read({.name = "", .values = {{"head", text}}}, "--head " + widths);
  return text;
}

/// The images as the initial weights were trained on them, unless --net says otherwise.
void take_normalization(NetworkOptions& o, const TrainOptions& options, const InitialWeights& init) {
  if (init.origin && init.origin->network_options().channels == o.channels) {
    o.normalize = init.origin->network_options().normalize;
    o.mean = init.origin->network_options().mean;
    o.deviation = init.origin->network_options().deviation;
  }
  if (init.origin || net_key(options.net, "normalize") || !has_imagenet_weights(options.net)) return;
  o.normalize = "imagenet";
  say(cat("note: ", init.file, " does not say how images are normalised; assuming normalize=imagenet"));
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
          {"schedule", o.schedule},
          {"patience", o.patience},
          {"size", o.size},
          {"augment", o.augment},
          {"split", o.split},
          {"class-weights", o.class_weights},
          {"init", o.init},
          {"freeze", o.freeze},
          {"unfreeze-after", o.unfreeze_after},
          {"fixed-statistics", o.fixed_statistics},
          {"head", o.head},
          {"lr-for", o.lr_for},
          {"adversarial", o.adversarial},
          {"adversarial-weight", o.adversarial_weight},
          {"adversarial-data", o.adversarial_data}};
}

bool takes_head(const std::string& net) {
  auto const& fields = Registry<Network, NetworkOptions>::find(net, "net").fields;
  return std::ranges::any_of(fields, [](const Field& f) { return f.key == "head"; });
}

std::string net_spec(const TrainOptions& options, const InitialWeights* init) {
  std::string const of_weights = init && init->origin ? init->origin->spec() : "";
  require(!options.net.empty() || !of_weights.empty(), "--net is missing (--net help lists all)",
          init ? "; " + init->file + " does not say which net it belongs to" : "");
  Spec spec = Spec::parse(options.net.empty() ? of_weights : options.net);
  if (options.head.empty()) return spec.str();
  require(takes_head(spec.name), "--head: net ", spec.name, " takes no other head");
  spec.take("head");
  spec.values.emplace_back("head", head_text(options.head));
  return spec.str();
}

std::unique_ptr<Network> network_without_data(const TrainOptions& options, const InitialWeights* init) {
  NetworkOptions o{.classes = 1000, .channels = 3, .height = 224, .width = 224};
  if (init && init->origin) o = init->origin->network_options();
  if (options.size > 0) o.height = o.width = options.size;
  auto network = make_network(net_spec(options, init), o);
  require(options.size == 0 || network->network_options().height == options.size, "--net ", options.net, ": --size is ",
          options.size);
  return network;
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
  if (init) take_normalization(o, options, *init);
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
  std::set<std::string> known;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const std::string& name = parameters[i].name;
    if (name == prefix || name.rfind(prefix + ".", 0) == 0) found.push_back(i);
    for (size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1))
      known.insert(name.substr(0, dot));
  }
  require(!found.empty(), option, ": no parameter under '", prefix, "'",
          suggestion(prefix, {known.begin(), known.end()}));
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
