// VGG (Simonyan & Zisserman 2015), as torchvision builds and names it.
#include <cmath>

#include "engine/nn/network.h"
#include "nets/blocks.h"

namespace mith {
namespace {

struct VggLayout {
  const char* name;
  std::vector<int64_t> depths;  ///< convolutions before each of the five max-pools
  bool batch_norm = false;
};

struct VggOptions {
  double dropout = 0.5;
  std::vector<int64_t> head;
  void fields(Fields& f) {
    f.number("dropout", dropout, "share of the dense layers' units dropped", 0, 0.95);
    head_field(f, head);
  }
};

class Vgg final : public Network {
 public:
  Vgg(const VggLayout& layout, const VggOptions& options, const NetworkOptions& o, const std::string& spec)
      : Network(o, spec, 3),
        features_(add("features", std::make_unique<Sequential>())),
        classifier_(add("classifier", std::make_unique<Sequential>())) {
    require_image(32);
    constexpr int64_t widths[] = {64, 128, 256, 512, 512};
    int64_t channels = 3;
    for (size_t i = 0; i < layout.depths.size(); ++i) {
      for (int64_t j = 0; j < layout.depths[i]; ++j) {
        add_convolution(channels, widths[i], layout.batch_norm);
        channels = widths[i];
      }
      std::string const name = "block" + std::to_string(i + 1);
      features_.then([name](const Tensor& x, Context& context) {
        context.feature(name, x);
        return max_pool2d(x);
      });
    }
    classifier_.then<Linear>(Linear::Options{.in = 512 * 7 * 7,
                                             .out = 4096,
                                             .activation = Activation::relu,
                                             .layout = {OuterLayout::linear_after_flatten, 512, 7, 7},
                                             .deviation = 0.01});
    classifier_.skip().then<Dropout>(options.dropout);
    classifier_.then<Linear>(
        Linear::Options{.in = 4096, .out = 4096, .activation = Activation::relu, .deviation = 0.01});
    classifier_.then([](const Tensor& x, Context& context) {  // where PyTorch counts the ReLU
      context.feature("penultimate", x);
      return x;
    });
    classifier_.then<Dropout>(options.dropout);
    classifier_.then(classifier_head({.in = 4096, .out = o.classes, .deviation = 0.01}, options.head));
  }

 protected:
  Tensor body(const Tensor& images, Context& context) override {
    Tensor const x = features_(images, context);
    context.feature("features", x);
    return classifier_(flatten(adaptive_avg_pool2d(x, 7, 7)), context);
  }

 private:
  /// 3x3 convolution, batch norm if asked for, ReLU; without batch norm the ReLU runs in the convolution's epilogue.
  void add_convolution(int64_t in, int64_t out, bool batch_norm) {
    Conv2d::Options conv = biased_convolution(in, out, batch_norm ? Activation::none : Activation::relu);
    conv.deviation = std::sqrt(2.0 / static_cast<double>(9 * out));
    features_.then<Conv2d>(conv);
    if (!batch_norm) {
      features_.skip();
      return;
    }
    features_.then<BatchNorm>(out, rectified);
    features_.skip();
  }

  Sequential &features_, &classifier_;
};

using Nets = Registry<Network, NetworkOptions>;

Nets::Add register_vgg(const VggLayout& layout, const std::string& summary) {
  return {
      Entry{.name = layout.name,
            .summary = summary,
            .paper = "Simonyan & Zisserman 2015, Very deep convolutional networks; torchvision's layout and names",
            .rule = "[conv 3x3 ..., max-pool 2] at 64, 128, 256, 512, 512 channels; average pool to 7 x 7; flatten;\n"
                    "linear 4096, ReLU, dropout, twice; linear K",
            .facts = {{"input", "any size from 32 pixels, 1 or 3 channels"}}},
      default_fields<VggOptions>(),
      [layout](const Spec& spec, const NetworkOptions& options) -> std::unique_ptr<Network> {
        auto const o = configure<VggOptions>(spec, cat("net ", layout.name));
        return std::make_unique<Vgg>(layout, o, options, spec_text(o, layout.name));
      }};
}

const Nets::Add vgg16 = register_vgg({"vgg16", {2, 2, 3, 3, 3}}, "13 convolutions of 3x3, three dense layers");
const Nets::Add vgg19 = register_vgg({"vgg19", {2, 2, 4, 4, 4}}, "16 convolutions of 3x3, three dense layers");
const Nets::Add vgg16_bn = register_vgg({"vgg16_bn", {2, 2, 3, 3, 3}, true}, "vgg16 with batch norm");
const Nets::Add vgg19_bn = register_vgg({"vgg19_bn", {2, 2, 4, 4, 4}, true}, "vgg19 with batch norm");

}  // namespace
}  // namespace mith
