// MobileNetV2 (Sandler et al. 2018), as torchvision builds and names it.
#include "engine/nn/network.h"
#include "nets/blocks.h"

namespace mith {
namespace {

/// 1x1 expansion (none at ratio 1), 3x3 depthwise, 1x1 projection without activation; the input is added where sizes
/// agree.
class InvertedResidual final : public Module {
 public:
  InvertedResidual(int64_t in, int64_t out, int64_t stride, int64_t expansion)
      : residual_(stride == 1 && in == out), branch_(add("conv", std::make_unique<Sequential>())) {
    int64_t const hidden = in * expansion;
    if (expansion != 1) conv_norm_activation(branch_, convolution(in, hidden, 1), relu6);
    conv_norm_activation(branch_, convolution(hidden, hidden, 3, stride, hidden), relu6);
    branch_.then<Conv2d>(convolution(hidden, out, 1));
    branch_.then<BatchNorm>(out);
  }

 protected:
  Tensor forward(const Tensor& x, Context& context) override {
    Tensor const y = branch_(x, context);
    return residual_ ? mith::add(x, y) : y;
  }

 private:
  bool residual_;
  Sequential& branch_;
};

struct MobileNetOptions {
  double dropout = 0.2;
  std::vector<int64_t> head;
  void fields(Fields& f) {
    f.number("dropout", dropout, "share of the last features dropped in training", 0, 0.95);
    head_field(f, head);
  }
};

class MobileNetV2 final : public Network {
 public:
  MobileNetV2(const MobileNetOptions& options, const NetworkOptions& o, const std::string& spec)
      : Network(o, spec, 3),
        features_(add("features", std::make_unique<Sequential>())),
        classifier_(add("classifier", std::make_unique<Sequential>())) {
    struct Stage {
      int64_t expansion, channels, depth, stride;
    };
    constexpr Stage stages[] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                                {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
    conv_norm_activation(features_, convolution(3, 32, 3, 2), relu6);
    int64_t channels = 32;
    for (const Stage& stage : stages)
      for (int64_t i = 0; i < stage.depth; ++i) {
        features_.then<InvertedResidual>(channels, stage.channels, i == 0 ? stage.stride : 1, stage.expansion);
        channels = stage.channels;
      }
    conv_norm_activation(features_, convolution(channels, 1280, 1), relu6);
    classifier_.then<Dropout>(options.dropout);
    classifier_.then(classifier_head({.in = 1280, .out = o.classes, .deviation = 0.01}, options.head));
  }

 protected:
  Tensor body(const Tensor& images, Context& context) override {
    return classifier_(pooled_features(features_(images, context), context), context);
  }

 private:
  Sequential &features_, &classifier_;
};

using Nets = Registry<Network, NetworkOptions>;

const Nets::Add mobilenet_v2{
    Entry{.name = "mobilenet_v2",
          .summary = "inverted residuals with depthwise convolutions, for small devices",
          .paper = "Sandler et al. 2018, MobileNetV2; torchvision's layout and names",
          .rule = "conv 3x3/2; 17 blocks x + [1x1 to 6c, ReLU6, 3x3 depthwise, ReLU6, 1x1](x); conv 1x1 to 1280;\n"
                  "batch norm behind every convolution; global average pool; dropout; linear K",
          .facts = {{"input", "any size, 1 or 3 channels"}}},
    default_fields<MobileNetOptions>(),
    [](const Spec& spec, const NetworkOptions& options) -> std::unique_ptr<Network> {
      auto const o = configure<MobileNetOptions>(spec, "net mobilenet_v2");
      return std::make_unique<MobileNetV2>(o, options, spec_text(o, "mobilenet_v2"));
    }};

}  // namespace
}  // namespace mith
