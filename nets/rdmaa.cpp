// RDMAA: a deep convolutional autoencoder (DCAE) and the three classifiers that start from its encoder. "encoder" has
// the same names in all four: it is what weights of one lend to another.
#include "engine/nn/layers.h"
#include "engine/nn/network.h"
#include "nets/blocks.h"

namespace mith {
namespace {

constexpr int64_t filters = 64;

/// Three times convolution, ReLU and max-pool. The pools keep an odd last row: 52 pixels become 26, 13, 7.
void add_encoder(Sequential& encoder, int64_t channels) {
  for (int i = 0; i < 3; ++i) {
    encoder.then<Conv2d>(biased_convolution(i == 0 ? channels : filters, filters, Activation::relu));
    encoder.skip().then([](const Tensor& x) { return max_pool2d(x, {.ceil_mode = true}); });
  }
}

int64_t encoded(int64_t side) {
  for (int i = 0; i < 3; ++i) side = (side + 1) / 2;
  return side;
}

struct RdmaaLayout {
  const char* name;
  std::vector<int64_t> widths;  ///< of the dense layers before the last
  bool dropout = false;         ///< before the last layer
};

struct RdmaaOptions {
  void fields(Fields&) {}
};

struct RdmaaDropoutOptions {
  double dropout = 0.5;
  void fields(Fields& f) { f.number("dropout", dropout, "share of the last dense layer's units dropped", 0, 0.95); }
};

class Rdmaa final : public Network {
 public:
  Rdmaa(const RdmaaLayout& layout, double dropout, bool sigmoid, const NetworkOptions& o, const std::string& spec)
      : Network(o, spec),
        encoder_(add("encoder", std::make_unique<Sequential>())),
        classifier_(add("classifier", std::make_unique<Sequential>())),
        sigmoid_(sigmoid) {
    require_image(8);
    add_encoder(encoder_, o.channels);
    int64_t const h = encoded(o.height), w = encoded(o.width);
    int64_t in = filters * h * w;
    OuterLayout order{OuterLayout::linear_after_flatten, filters, h, w};
    for (int64_t const width : layout.widths) {
      classifier_.then<Linear>(
          Linear::Options{.in = in, .out = width, .activation = Activation::relu, .layout = order});
      classifier_.skip();
      order = {};
      in = width;
    }
    if (layout.dropout) classifier_.then<Dropout>(dropout);
    classifier_.then<Linear>(Linear::Options{.in = in, .out = sigmoid ? 1 : o.classes});
  }

 protected:
  Tensor body(const Tensor& images, Context& context) override {
    Tensor const code = encoder_(images, context);
    context.feature("features", code);
    Tensor const y = classifier_(flatten(code), context);
    // The softmax of (0, y) is sigmoid(y) for the second class, its cross-entropy the binary one.
    return sigmoid_ ? concat({Tensor::zeros(y.shape(), y.dtype(), y.device()), y}) : y;
  }

 private:
  Sequential &encoder_, &classifier_;
  bool sigmoid_;
};

/// The encoder and its mirror image, which must end at the size it began with: where a side halves to an odd number, as
/// 52 does, the third convolution is 'valid' in that direction.
class Dcae final : public ImageNetwork {
 public:
  Dcae(const NetworkOptions& o, const std::string& spec)
      : ImageNetwork(o, spec),
        encoder_(add("encoder", std::make_unique<Sequential>())),
        decoder_(add("decoder", std::make_unique<Sequential>())) {
    require_image(8);
    add_encoder(encoder_, o.channels);
    auto const convolve = [&](const Conv2d::Options& conv) {
      decoder_.then<Conv2d>(conv);
      decoder_.skip().then([](const Tensor& x) { return upsample_nearest(x, 2); });
    };
    convolve(biased_convolution(filters, filters, Activation::relu));
    convolve(biased_convolution(filters, filters, Activation::relu));
    Conv2d::Options last_but_one = biased_convolution(filters, 16, Activation::relu);
    last_but_one.window.pad_h = halves_to_odd(o.height) ? 0 : 1;
    last_but_one.window.pad_w = halves_to_odd(o.width) ? 0 : 1;
    convolve(last_but_one);
    decoder_.then<Conv2d>(biased_convolution(16, o.channels));
    decoder_.then(sigmoid);
  }

 protected:
  Tensor body(const Tensor& images, Context& context) override {
    Tensor const code = encoder_(padded_to_multiple(images, 4), context);
    context.feature("features", code);
    return cropped(decoder_(code, context), images.dim(1), images.dim(2));
  }

 private:
  /// Whether the side, padded to a multiple of four, is no multiple of eight.
  static bool halves_to_odd(int64_t side) { return (side + 3) / 4 % 2 != 0; }
  Sequential &encoder_, &decoder_;
};

using Nets = Registry<Network, NetworkOptions>;

constexpr const char* study = "Robust detection model against adversarial attacks (RDMAA), X-ray, MRI and smear study";

template <class Options>
Nets::Add register_rdmaa(const RdmaaLayout& layout, bool binary, const std::string& summary, const std::string& dense,
                         const std::string& published) {
  return {Entry{.name = layout.name,
                .summary = summary,
                .paper = study,
                .rule = cat("[conv 3x3 64, ReLU, max-pool 2] three times; flatten; ", dense),
                .facts = {{"input", "any size from 8 pixels, 1 or 3 channels"},
                          {"published at", published},
                          {"shares", "encoder"}}},
          default_fields<Options>(),
          [layout, binary](const Spec& spec, const NetworkOptions& options) -> std::unique_ptr<Network> {
            auto const o = configure<Options>(spec, cat("net ", layout.name));
            double dropout = 0;
            if constexpr (requires { o.dropout; }) dropout = o.dropout;
            return std::make_unique<Rdmaa>(layout, dropout, binary && options.classes == 2, options,
                                           spec_text(o, layout.name));
          }};
}

const Nets::Add lung = register_rdmaa<RdmaaOptions>(
    {"rdmaa-lung", {128, 64}}, true, "three convolutions of the DCAE, dense 128, 64; one sigmoid for two classes",
    "linear 128, ReLU, linear 64, ReLU;\nlinear 1 with a sigmoid for two classes, linear K for more", "52 x 52 x 1");
const Nets::Add leukemia = register_rdmaa<RdmaaDropoutOptions>(
    {"rdmaa-leukemia", {256, 128, 64}, true}, false, "three convolutions of the DCAE, dense 256, 128, 64, dropout",
    "linear 256, 128, 64,\neach with ReLU; dropout; linear K", "64 x 64 x 3, four classes");
const Nets::Add brain =
    register_rdmaa<RdmaaOptions>({"rdmaa-brain", {128}}, false, "three convolutions of the DCAE, dense 128",
                                 "linear 128, ReLU; linear K", "64 x 64 x 3, three classes");

const Nets::Add dcae{
    Entry{.name = "dcae",
          .summary = "convolutional autoencoder whose encoder the rdmaa nets start from",
          .paper = study,
          .rule = "[conv 3x3 64, ReLU, max-pool 2] three times; [conv 3x3, ReLU, nearest upsampling 2] at 64, 64, 16\n"
                  "channels, the third 'valid' where a side is an odd multiple of four; conv 3x3; sigmoid",
          .facts = {{"input", "any size from 8 pixels, 1 or 3 channels"},
                    {"purpose", "pre-training the encoder of the rdmaa nets"},
                    {"shares", "encoder"}}},
    default_fields<RdmaaOptions>(), [](const Spec& spec, const NetworkOptions& options) -> std::unique_ptr<Network> {
      return std::make_unique<Dcae>(options, spec_text(configure<RdmaaOptions>(spec, "net dcae"), "dcae"));
    }};

}  // namespace
}  // namespace mith
