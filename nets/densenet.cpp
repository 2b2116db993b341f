// DenseNet-BC (Huang et al. 2017), as torchvision builds and names it.
#include <cmath>

#include "engine/files/safetensors.h"
#include "engine/nn/network.h"
#include "nets/blocks.h"

namespace mith {
namespace {

constexpr int64_t growth = 32;

/// As convolution(), with weights normal by fan-in.
Conv2d::Options dense_convolution(int64_t in, int64_t out, int64_t kernel, int64_t stride = 1) {
  Conv2d::Options options = convolution(in, out, kernel, stride);
  options.deviation = std::sqrt(2.0 / static_cast<double>(in * kernel * kernel));
  return options;
}

/// The input with `growth` new channels behind it: batch norm, ReLU, 1x1 to four times the growth, batch norm, ReLU,
/// 3x3.
class DenseLayer final : public Module {
 public:
  explicit DenseLayer(int64_t in)
      : norm1_(add("norm1", std::make_unique<BatchNorm>(in, rectified))),
        conv1_(add("conv1", std::make_unique<Conv2d>(dense_convolution(in, 4 * growth, 1)))),
        norm2_(add("norm2", std::make_unique<BatchNorm>(4 * growth, rectified))),
        conv2_(add("conv2", std::make_unique<Conv2d>(dense_convolution(4 * growth, growth, 3)))) {}

 protected:
  Tensor forward(const Tensor& x, Context& context) override {
    Tensor const narrow = conv1_(norm1_(x, context), context);
    return concat({x, conv2_(norm2_(narrow, context), context)});
  }

 private:
  BatchNorm& norm1_;
  Conv2d& conv1_;
  BatchNorm& norm2_;
  Conv2d& conv2_;
};

class DenseBlock final : public Module {
 public:
  DenseBlock(int64_t in, int64_t depth) {
    for (int64_t i = 0; i < depth; ++i)
      layers_.push_back(&add("denselayer" + std::to_string(i + 1), std::make_unique<DenseLayer>(in + i * growth)));
  }

 protected:
  Tensor forward(const Tensor& x, Context& context) override {
    Tensor y = x;
    for (DenseLayer* layer : layers_) y = (*layer)(y, context);
    return y;
  }

 private:
  std::vector<DenseLayer*> layers_;
};

/// Between dense blocks: half the channels, half the size.
class Transition final : public Module {
 public:
  explicit Transition(int64_t in)
      : norm_(add("norm", std::make_unique<BatchNorm>(in, rectified))),
        conv_(add("conv", std::make_unique<Conv2d>(dense_convolution(in, in / 2, 1)))) {}

 protected:
  Tensor forward(const Tensor& x, Context& context) override { return avg_pool2d(conv_(norm_(x, context), context)); }

 private:
  BatchNorm& norm_;
  Conv2d& conv_;
};

/// Everything before the pooled features, under the name torchvision gives it.
class DenseFeatures final : public Module {
 public:
  explicit DenseFeatures(const std::vector<int64_t>& depths)
      : conv0_(add("conv0", std::make_unique<Conv2d>(dense_convolution(3, 2 * growth, 7, 2)))),
        norm0_(add("norm0", std::make_unique<BatchNorm>(2 * growth, rectified))) {
    channels = 2 * growth;
    for (size_t i = 0; i < depths.size(); ++i) {
      std::string const number = std::to_string(i + 1);
      blocks_.push_back(&add("denseblock" + number, std::make_unique<DenseBlock>(channels, depths[i])));
      channels += depths[i] * growth;
      if (i + 1 == depths.size()) break;
      transitions_.push_back(&add("transition" + number, std::make_unique<Transition>(channels)));
      channels /= 2;
    }
    norm5_ = &add("norm5", std::make_unique<BatchNorm>(channels, rectified));
  }
  int64_t channels;

 protected:
  Tensor forward(const Tensor& images, Context& context) override {
    Tensor x = norm0_(conv0_(images, context), context);
    x = max_pool2d(x, {.kernel_h = 3, .kernel_w = 3, .pad_h = 1, .pad_w = 1});
    for (size_t i = 0; i < blocks_.size(); ++i) {
      x = (*blocks_[i])(x, context);
      context.feature("denseblock" + std::to_string(i + 1), x);
      if (i < transitions_.size()) x = (*transitions_[i])(x, context);
    }
    return (*norm5_)(x, context);
  }

 private:
  Conv2d& conv0_;
  BatchNorm& norm0_;
  std::vector<DenseBlock*> blocks_;
  std::vector<Transition*> transitions_;
  BatchNorm* norm5_;
};

class DenseNet final : public Network {
 public:
  DenseNet(const std::vector<int64_t>& depths, const std::vector<int64_t>& head, const NetworkOptions& o,
           const std::string& spec)
      : Network(o, spec, 3),
        features_(add("features", std::make_unique<DenseFeatures>(depths))),
        classifier_(add("classifier", classifier_head({.in = features_.channels, .out = o.classes}, head))) {
    require_image(29);
  }

  /// The files that torchvision publishes have older names: denselayer1.norm.1.weight for denselayer1.norm1.weight.
  void adapt(std::vector<StoredTensor>& tensors) const override {
    for (StoredTensor& tensor : tensors) {
      size_t const layer = tensor.name.find(".denselayer");
      if (layer == std::string::npos) continue;
      for (std::string const part : {"norm.1.", "norm.2.", "conv.1.", "conv.2."}) {
        size_t const at = tensor.name.find("." + part, layer);
        if (at != std::string::npos) tensor.name.erase(at + part.size() - 2, 1);
      }
    }
  }

 protected:
  Tensor body(const Tensor& images, Context& context) override {
    return classifier_(pooled_features(features_(images, context), context), context);
  }

 private:
  DenseFeatures& features_;
  Module& classifier_;
};

struct DenseNetOptions {
  std::vector<int64_t> head;
  void fields(Fields& f) { head_field(f, head); }
};

using Nets = Registry<Network, NetworkOptions>;

const Nets::Add densenet121{
    Entry{
        .name = "densenet121",
        .summary = "densely connected network of 121 layers: each layer reads all before it in its block",
        .paper =
            "Huang, Liu, van der Maaten, Weinberger 2017, Densely connected networks; torchvision's layout and names",
        .rule =
            "conv 7x7/2, max-pool 3x3/2; dense blocks of 6, 12, 24, 16 layers, each adding 32 channels; between them\n"
            "1x1 to half the channels and average pool 2; global average pool; linear K",
        .facts = {{"input", "any size from 29 pixels, 1 or 3 channels"}}},
    default_fields<DenseNetOptions>(), [](const Spec& spec, const NetworkOptions& options) -> std::unique_ptr<Network> {
      auto const o = configure<DenseNetOptions>(spec, "net densenet121");
      return std::make_unique<DenseNet>(std::vector<int64_t>{6, 12, 24, 16}, o.head, options,
                                        spec_text(o, "densenet121"));
    }};

}  // namespace
}  // namespace mith
