#include "engine/nn/network.h"

#include "engine/ops/arithmetic.h"

namespace mith {

void Network::set_normalization(std::string how, std::vector<float> mean, std::vector<float> deviation) {
  size_t const c = static_cast<size_t>(options_.channels);
  require(mean.size() == c && deviation.size() == c, "normalisation of ", c, " channels with ", mean.size(),
          " means and ", deviation.size(), " deviations");
  for (float d : deviation) require(d > 0, "a normalisation's deviation must be positive, not ", d);
  options_.normalize = std::move(how);
  options_.mean = std::move(mean);
  options_.deviation = std::move(deviation);
  scale_ = shift_ = Tensor();
}

Tensor Network::forward(const Tensor& images, Context& context) {
  check(images.shape().rank() == 4 && images.dim(3) == options_.channels, spec_, ": images of shape ", images.shape(),
        " for a network of ", options_.channels, " channels");
  if (options_.mean.empty()) return body(images, context);
  if (!scale_.defined() || scale_.dtype() != images.dtype() || scale_.device() != images.device()) {
    std::vector<double> scale, shift;
    for (size_t i = 0; i < options_.mean.size(); ++i) {
      scale.push_back(1.0 / options_.deviation[i]);
      shift.push_back(-double(options_.mean[i]) / options_.deviation[i]);
    }
    Shape const shape{options_.channels};
    scale_ = Tensor::from(scale, shape, images.device()).cast(images.dtype());
    shift_ = Tensor::from(shift, shape, images.device()).cast(images.dtype());
  }
  return body(channel_affine(images, scale_, shift_), context);
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
    require(c == 3, "normalize=imagenet needs 3 channels, not ", c);
    options.mean = {0.485f, 0.456f, 0.406f};
    options.deviation = {0.229f, 0.224f, 0.225f};
  } else {
    require(options.normalize == "dataset", "unknown normalisation '", options.normalize, "'",
            suggestion(options.normalize, {"none", "imagenet", "half", "dataset"}));
  }
  return Registry<Network, NetworkOptions>::make(spec, "net", options);
}

}  // namespace mith
