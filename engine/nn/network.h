// Networks: images in [0, 1] in, logits out, or an image (ImageNetwork); a classifier's normalisation is its first
// layer.
#pragma once
#include <memory>

#include "engine/nn/module.h"
#include "engine/spec/registry.h"

namespace mith {

/// What every network is told when it is built, whatever its architecture.
struct NetworkOptions {
  int64_t classes = 2, channels = 1, height = 28, width = 28;
  std::vector<std::string> class_names;  ///< empty or one a class
  std::string normalize = "dataset";     ///< none | imagenet | half | dataset: how mean and deviation were chosen
  std::vector<float> mean, deviation;    ///< per channel; empty means 0 and 1
};

class Network : public Module {
 public:
  /// `body_channels`: what the architecture's first layer reads; 0: as many channels as the images have. A grey image
  /// is repeated to fill three, so that a perturbation stays one of the grey image.
  Network(NetworkOptions options, std::string spec, int64_t body_channels = 0);
  const NetworkOptions& network_options() const { return options_; }
  /// Canonical spec, e.g. "cnn:dropout=0.3".
  const std::string& spec() const { return spec_; }
  /// Mean and deviation of the first layer, from `normalize` or the training part: one for each channel of the images,
  /// or of what a grey image is repeated to.
  void set_normalization(std::string how, std::vector<float> mean, std::vector<float> deviation);

 protected:
  Tensor forward(const Tensor& images, Context&) final;  ///< body(normalise(images)), of body_channels channels
  virtual Tensor body(const Tensor& x, Context&) = 0;
  /// Throws UsageError naming both sizes unless the images have at least this many pixels each way.
  void require_image(int64_t least) const;

 private:
  void check_normalization() const;
  Tensor normalise(const Tensor& x);
  NetworkOptions options_;
  std::string spec_;
  int64_t body_channels_;
  Tensor scale_, shift_;
};

/// A network that gives an image, not logits: it restores what stands in front of a classifier, or judges it. It has no
/// classes, and scales images itself: the data's statistics do not matter to it, and another normalisation throws
/// UsageError.
class ImageNetwork : public Network {
 public:
  ImageNetwork(NetworkOptions options, const std::string& spec);
};

/// Whether the net gives logits: its entry states no fact "purpose".
bool is_classifier(const std::string& spec);
/// Throws UsageError saying what the net is for if that is not to classify.
void require_classifier(const std::string& spec);

/// Nets register here: Registry<Network>::add("cnn", ...). Specs as "cnn" or "cnn:dropout=0.5"; the keys that every net
/// takes (classes, channels, size, normalize) are read by make_network.
std::unique_ptr<Network> make_network(const std::string& spec, NetworkOptions defaults);

}  // namespace mith
