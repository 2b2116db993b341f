// EfficientNet (Tan & Le 2019), as torchvision builds and names it.
#include "engine/nn/network.h"
#include "nets/blocks.h"

namespace mith {
namespace {

/// Squeeze and excitation (Hu et al. 2018): each channel times sigmoid(W2 SiLU(W1 mean)) of the channels' means.
class SqueezeExcitation final : public Module {
 public:
  SqueezeExcitation(int64_t channels, int64_t squeezed)
      : fc1_(add("fc1", std::make_unique<Conv2d>(biased(channels, squeezed)))),
        fc2_(add("fc2", std::make_unique<Conv2d>(biased(squeezed, channels)))) {}

 protected:
  Tensor forward(const Tensor& x, Context& context) override {
    Tensor const means = reshape(global_avg_pool2d(x), {x.dim(0), 1, 1, x.dim(3)});
    return channel_gate(x, flatten(sigmoid(fc2_(silu(fc1_(means, context)), context))));
  }

 private:
  static Conv2d::Options biased(int64_t in, int64_t out) {
    Conv2d::Options options = convolution(in, out, 1);
    options.bias = true;
    return options;
  }
  Conv2d &fc1_, &fc2_;
};

/// Blocks of one stage; the first has the stride and changes the channels.
struct Stage {
  int64_t expansion, kernel, stride, in, out, depth;
};

/// 1x1 expansion (none at ratio 1), depthwise, squeeze and excitation, 1x1 projection without activation; where sizes
/// agree, the input is added to a branch that training leaves out with probability `drop`.
class MbConv final : public Module {
 public:
  MbConv(const Stage& s, double drop)
      : residual_(s.stride == 1 && s.in == s.out), drop_(drop), branch_(add("block", std::make_unique<Sequential>())) {
    int64_t const hidden = s.in * s.expansion;
    if (s.expansion != 1) conv_norm_activation(branch_, convolution(s.in, hidden, 1), silu);
    conv_norm_activation(branch_, convolution(hidden, hidden, s.kernel, s.stride, hidden), silu);
    branch_.then<SqueezeExcitation>(hidden, s.in / 4);
    conv_norm_activation(branch_, convolution(hidden, s.out, 1), nullptr);
  }

 protected:
  Tensor forward(const Tensor& x, Context& context) override {
    Tensor y = branch_(x, context);
    if (!residual_) return y;
    if (context.training && drop_ > 0)
      y = stochastic_depth(y, drop_, context.ids, context.key.with(Purpose::dropout, context.next_stream++));
    return mith::add(x, y);
  }

 private:
  bool residual_;
  double drop_;
  Sequential& branch_;
};

struct EfficientNetOptions {
  double dropout = 0.2, stochastic_depth = 0.2;
  std::vector<int64_t> head;
  void fields(Fields& f) {
    f.number("dropout", dropout, "share of the last features dropped in training", 0, 0.95);
    f.number("stochastic_depth", stochastic_depth, "probability to leave out the last block; earlier ones less", 0,
             0.95);
    head_field(f, head);
  }
};

class EfficientNet final : public Network {
 public:
  EfficientNet(const EfficientNetOptions& options, const NetworkOptions& o, const std::string& spec)
      : Network(o, spec, 3),
        features_(add("features", std::make_unique<Sequential>())),
        classifier_(add("classifier", std::make_unique<Sequential>())) {
    constexpr Stage stages[] = {{1, 3, 1, 32, 16, 1},  {6, 3, 2, 16, 24, 2},  {6, 5, 2, 24, 40, 2},
                                {6, 3, 2, 40, 80, 3},  {6, 5, 1, 80, 112, 3}, {6, 5, 2, 112, 192, 4},
                                {6, 3, 1, 192, 320, 1}};
    constexpr double blocks = 16;
    conv_norm_activation(features_, convolution(3, 32, 3, 2), silu);
    int64_t index = 0;
    for (Stage stage : stages) {
      Sequential& layers = features_.then<Sequential>();
      for (int64_t i = 0; i < stage.depth; ++i, ++index) {
        layers.then<MbConv>(stage, options.stochastic_depth * static_cast<double>(index) / blocks);
        stage.in = stage.out;
        stage.stride = 1;
      }
    }
    conv_norm_activation(features_, convolution(320, 1280, 1), silu);
    classifier_.then<Dropout>(options.dropout);
    classifier_.then(classifier_head({.in = 1280, .out = o.classes}, options.head));
  }

 protected:
  Tensor body(const Tensor& images, Context& context) override {
    return classifier_(pooled_features(features_(images, context), context), context);
  }

 private:
  Sequential &features_, &classifier_;
};

using Nets = Registry<Network, NetworkOptions>;

const Nets::Add efficientnet_b0{
    Entry{.name = "efficientnet_b0",
          .summary = "inverted residuals with squeeze and excitation, SiLU and stochastic depth",
          .paper = "Tan & Le 2019, EfficientNet; torchvision's layout and names",
          .rule =
              "conv 3x3/2; 16 blocks x + [1x1 to 6c, depthwise 3x3 or 5x5, squeeze-excitation, 1x1](x); conv 1x1 to\n"
              "1280; batch norm behind every convolution, SiLU; global average pool; dropout; linear K",
          .facts = {{"input", "any size, 1 or 3 channels"}}},
    default_fields<EfficientNetOptions>(),
    [](const Spec& spec, const NetworkOptions& options) -> std::unique_ptr<Network> {
      auto const o = configure<EfficientNetOptions>(spec, "net efficientnet_b0");
      return std::make_unique<EfficientNet>(o, options, spec_text(o, "efficientnet_b0"));
    }};

}  // namespace
}  // namespace mith
