// ResNet (He et al. 2016), as torchvision builds and names it.
#include "engine/nn/network.h"
#include "nets/blocks.h"

namespace mith {
namespace {

struct ResNetLayout {
  const char* name;
  std::vector<int64_t> depths;  ///< residual blocks in each of the four stages
  bool bottleneck = false;
};

struct ResNetOptions {
  std::string stem = "7x7";
  std::vector<int64_t> head;
  void fields(Fields& f) {
    f.text("stem", stem, "first layers: 7x7 stride 2 and max-pool, or 3x3 stride 1 for small images", {"7x7", "3x3"});
    head_field(f, head);
  }
};

/// ReLU(x + branch(x)). The branch is 3x3, 3x3 or, as a bottleneck, 1x1, 3x3, 1x1 to four times the width; each
/// convolution is followed by batch norm, all but the last by ReLU: it runs in the same pass, at the end together with
/// the sum. The stride is that of the first 3x3.
class ResidualBlock final : public Module {
 public:
  ResidualBlock(int64_t in, int64_t width, int64_t stride, bool bottleneck) {
    int64_t const out = bottleneck ? 4 * width : width;
    if (bottleneck) {
      layer(in, width, 1, 1);
      layer(width, width, 3, stride);
      layer(width, out, 1, 1);
    } else {
      layer(in, width, 3, stride);
      layer(width, out, 3, 1);
    }
    if (stride == 1 && in == out) return;
    shortcut_ = &add("downsample", std::make_unique<Sequential>());
    shortcut_->then<Conv2d>(convolution(in, out, 1, stride));
    shortcut_->then<BatchNorm>(out);
  }

 protected:
  Tensor forward(const Tensor& x, Context& context) override {
    Tensor branch = x;
    for (size_t i = 0; i + 1 < layers_.size(); ++i)
      branch = (*layers_[i].norm)((*layers_[i].convolution)(branch, context), context);
    branch = (*layers_.back().convolution)(branch, context);
    return (*layers_.back().norm)(branch, shortcut_ ? (*shortcut_)(x, context) : x, context);
  }

 private:
  struct Layer {
    Conv2d* convolution;
    BatchNorm* norm;
  };
  void layer(int64_t in, int64_t out, int64_t kernel, int64_t stride) {
    std::string const number = std::to_string(layers_.size() + 1);
    Conv2d& conv = add("conv" + number, std::make_unique<Conv2d>(convolution(in, out, kernel, stride)));
    layers_.push_back({&conv, &add("bn" + number, std::make_unique<BatchNorm>(out, rectified))});
  }
  std::vector<Layer> layers_;
  Sequential* shortcut_ = nullptr;
};

class ResNet final : public Network {
 public:
  ResNet(const ResNetLayout& layout, const ResNetOptions& options, const NetworkOptions& o, const std::string& spec)
      : Network(o, spec, 3),
        small_(options.stem == "3x3"),
        conv1_(add("conv1", std::make_unique<Conv2d>(convolution(3, 64, small_ ? 3 : 7, small_ ? 1 : 2)))),
        bn1_(add("bn1", std::make_unique<BatchNorm>(64, rectified))) {
    int64_t channels = 64, width = 64;
    for (size_t i = 0; i < layout.depths.size(); ++i, width *= 2) {
      Sequential& stage = add("layer" + std::to_string(i + 1), std::make_unique<Sequential>());
      for (int64_t block = 0; block < layout.depths[i]; ++block) {
        stage.then<ResidualBlock>(channels, width, block == 0 && i > 0 ? 2 : 1, layout.bottleneck);
        channels = layout.bottleneck ? 4 * width : width;
      }
      stages_.push_back(&stage);
    }
    fc_ = &add("fc", classifier_head({.in = channels, .out = o.classes}, options.head));
  }

 protected:
  Tensor body(const Tensor& images, Context& context) override {
    Tensor x = bn1_(conv1_(images, context), context);
    if (!small_) x = max_pool2d(x, {.kernel_h = 3, .kernel_w = 3, .pad_h = 1, .pad_w = 1});
    for (size_t i = 0; i < stages_.size(); ++i) {
      x = (*stages_[i])(x, context);
      context.feature("layer" + std::to_string(i + 1), x);
    }
    return (*fc_)(pooled_features(x, context), context);
  }

 private:
  bool small_;
  Conv2d& conv1_;
  BatchNorm& bn1_;
  std::vector<Sequential*> stages_;
  Module* fc_;
};

using Nets = Registry<Network, NetworkOptions>;

Nets::Add register_resnet(const ResNetLayout& layout, const std::string& summary) {
  return {Entry{.name = layout.name,
                .summary = summary,
                .paper = "He, Zhang, Ren, Sun 2016, Deep residual learning; torchvision's layout and names",
                .rule = "conv 7x7/2, max-pool 3x3/2 (stem=3x3: conv 3x3); four stages of blocks relu(x + branch(x))\n"
                        "at 64, 128, 256, 512 channels (bottlenecks end with four times as many);\n"
                        "global average pool; linear K",
                .facts = {{"input", "any size, 1 or 3 channels"}}},
          default_fields<ResNetOptions>(),
          [layout](const Spec& spec, const NetworkOptions& options) -> std::unique_ptr<Network> {
            auto const o = configure<ResNetOptions>(spec, cat("net ", layout.name));
            return std::make_unique<ResNet>(layout, o, options, spec_text(o, layout.name));
          }};
}

const Nets::Add resnet18 = register_resnet({"resnet18", {2, 2, 2, 2}}, "residual network of 18 layers, basic blocks");
const Nets::Add resnet34 = register_resnet({"resnet34", {3, 4, 6, 3}}, "residual network of 34 layers, basic blocks");
const Nets::Add resnet50 =
    register_resnet({"resnet50", {3, 4, 6, 3}, true}, "residual network of 50 layers, bottleneck blocks");

}  // namespace
}  // namespace mith
