#include "engine/nn/network.h"

#include "engine/ops/ops.h"

namespace mith {

Network::Network(NetworkOptions options, std::string spec, int64_t body_channels)
    : options_(std::move(options)), spec_(std::move(spec)), body_channels_(body_channels) {
  if (body_channels_ == 0) body_channels_ = options_.channels;
  check(options_.channels == 1 || options_.channels == body_channels_, spec_, ": images of ", options_.channels,
        " channels for a first layer of ", body_channels_);
  if (!options_.mean.empty()) check_normalization();
}

void Network::require_image(int64_t least) const {
  require(options_.height >= least && options_.width >= least, spec_, ": images of ", options_.height, " x ",
          options_.width, " pixels are too small; it needs ", least, " x ", least);
}

void Network::check_normalization() const {
  std::vector<float> const &mean = options_.mean, &deviation = options_.deviation;
  auto const fits = [&](int64_t channels) { return std::ssize(mean) == channels && mean.size() == deviation.size(); };
  require(fits(options_.channels) || fits(body_channels_), "normalisation of ", options_.channels, " channels with ",
          mean.size(), " means and ", deviation.size(), " deviations");
  for (float d : deviation) require(d > 0, "a normalisation's deviation must be positive, not ", d);
}

void Network::set_normalization(std::string how, std::vector<float> mean, std::vector<float> deviation) {
  options_.normalize = std::move(how);
  options_.mean = std::move(mean);
  options_.deviation = std::move(deviation);
  check_normalization();
  scale_ = shift_ = Tensor();
}

Tensor Network::forward(const Tensor& images, Context& context) {
  check(images.shape().rank() == 4 && images.dim(3) == options_.channels, spec_, ": images of shape ", images.shape(),
        " for a network of ", options_.channels, " channels");
  // Repeated as late as the normalisation allows: one of three channels needs all three.
  auto const repeated = [&](const Tensor& x) {
    return x.dim(3) == body_channels_ ? x : repeat_channels(x, body_channels_);
  };
  if (options_.mean.empty()) return body(repeated(images), context);
  if (std::ssize(options_.mean) == options_.channels) return body(repeated(normalise(images)), context);
  return body(normalise(repeated(images)), context);
}

Tensor Network::normalise(const Tensor& images) {
  if (!scale_.defined() || scale_.dtype() != images.dtype() || scale_.device() != images.device()) {
    std::vector<double> scale, shift;
    for (size_t i = 0; i < options_.mean.size(); ++i) {
      scale.push_back(1.0 / options_.deviation[i]);
      shift.push_back(-double(options_.mean[i]) / options_.deviation[i]);
    }
    Shape const shape{images.dim(3)};
    scale_ = Tensor::from(scale, shape, images.device()).cast(images.dtype());
    shift_ = Tensor::from(shift, shape, images.device()).cast(images.dtype());
  }
  return channel_affine(images, scale_, shift_);
}

namespace {

NetworkOptions without_normalization(NetworkOptions options, const std::string& spec) {
  require(options.mean.empty() || options.normalize == "dataset", spec,
          ": takes images as they are and scales them itself; normalize=", options.normalize, " is for classifiers");
  options.normalize = "none";
  options.mean.clear();
  options.deviation.clear();
  return options;
}

}  // namespace

ImageNetwork::ImageNetwork(NetworkOptions options, const std::string& spec)
    : Network(without_normalization(std::move(options), spec), spec) {}

namespace {

/// What a net is for that does not classify; empty for a classifier.
std::string purpose_of(const std::string& spec) {
  return Registry<Network, NetworkOptions>::find(Spec::parse(spec).name, "net").entry.fact("purpose");
}

}  // namespace

bool is_classifier(const std::string& spec) { return purpose_of(spec).empty(); }

void require_classifier(const std::string& spec) {
  require(is_classifier(spec), "net ", Spec::parse(spec).name, " is no classifier: it is for ", purpose_of(spec));
}

std::unique_ptr<Network> make_network(const std::string& text, NetworkOptions options) {
  Spec spec = Spec::parse(text);
  if (auto v = spec.take("classes")) options.classes = parse_integer(*v, "net classes");
  if (auto v = spec.take("channels")) options.channels = parse_integer(*v, "net channels");
  if (auto v = spec.take("size")) options.height = options.width = parse_integer(*v, "net size");
  if (auto v = spec.take("normalize")) options.normalize = *v;
  require(options.classes >= 2, "a classifier needs at least two classes, not ", options.classes);
  require(options.channels == 1 || options.channels == 3, "images have 1 or 3 channels, not ", options.channels);
  require(options.height >= 1 && options.width >= 1, "images of ", options.height, " x ", options.width, " pixels");

  size_t const c = static_cast<size_t>(options.channels);
  if (options.normalize == "none") {
    options.mean.clear();
    options.deviation.clear();
  } else if (options.normalize == "half") {
    options.mean.assign(c, 0.5f);
    options.deviation.assign(c, 0.5f);
  } else if (options.normalize == "imagenet") {
    options.mean = {0.485f, 0.456f, 0.406f};
    options.deviation = {0.229f, 0.224f, 0.225f};
  } else {
    require(options.normalize == "dataset", "unknown normalisation '", options.normalize, "'",
            suggestion(options.normalize, {"none", "imagenet", "half", "dataset"}));
  }
  return Registry<Network, NetworkOptions>::make(spec, "net", options);
}

}  // namespace mith
