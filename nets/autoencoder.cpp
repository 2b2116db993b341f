// The autoencoder that purifies images in front of a classifier.
#include "engine/nn/network.h"
#include "nets/blocks.h"

namespace mith {
namespace {

struct AutoencoderOptions {
  int64_t units = 128;
  std::string bottleneck = "dense";
  void fields(Fields& f) {
    f.integer("units", units, "units of the bottleneck, or channels of a spatial one", 1, 4096);
    f.text("bottleneck", bottleneck, "dense over the whole image, or spatial: the same for each of its cells",
           {"dense", "spatial"});
  }
};

/// Images whose sides are no multiples of 16 are padded by reflection and cropped again.
class Autoencoder final : public ImageNetwork {
 public:
  Autoencoder(const AutoencoderOptions& a, const NetworkOptions& o, const std::string& spec)
      : ImageNetwork(o, spec),
        encoder_(add("encoder", std::make_unique<Sequential>())),
        bottleneck_(add("bottleneck", std::make_unique<Sequential>())),
        decoder_(add("decoder", std::make_unique<Sequential>())) {
    require_image(16);
    int64_t in = o.channels;
    for (int64_t const out : {32, 64, 128, 256}) {
      conv_norm_activation(encoder_, convolution(in, out, 3, 2), relu);
      in = out;
    }
    if (a.bottleneck == "dense")
      add_dense(a.units, (o.height + 15) / 16, (o.width + 15) / 16);
    else
      add_spatial(a.units);
    for (int64_t const out : {int64_t{128}, int64_t{64}, int64_t{32}, o.channels}) {
      bool const last = out == o.channels;
      decoder_.then([](const Tensor& x) { return upsample_nearest(x, 2); });
      decoder_.then<Conv2d>(biased_convolution(in, out, last ? Activation::none : Activation::relu));
      if (last)
        decoder_.then(sigmoid);
      else
        decoder_.skip();
      in = out;
    }
  }

 protected:
  Tensor body(const Tensor& images, Context& context) override {
    Tensor const features = encoder_(padded_to_multiple(images, 16), context);
    return cropped(decoder_(bottleneck_(features, context), context), images.dim(1), images.dim(2));
  }

 private:
  static constexpr int64_t deepest = 256;

  void add_dense(int64_t units, int64_t h, int64_t w) {
    int64_t const size = deepest * h * w;
    bottleneck_.then(flatten);
    bottleneck_.then<Linear>(
        Linear::Options{.in = size, .out = units, .layout = {OuterLayout::linear_after_flatten, deepest, h, w}});
    bottleneck_.then<Linear>(Linear::Options{.in = units,
                                             .out = size,
                                             .activation = Activation::relu,
                                             .layout = {OuterLayout::linear_before_unflatten, deepest, h, w}});
    bottleneck_.skip().then([h, w](const Tensor& x, Context&) { return reshape(x, {x.dim(0), h, w, deepest}); });
  }

  void add_spatial(int64_t units) {
    bottleneck_.then<Conv2d>(Conv2d::Options{.in = deepest, .out = units, .kernel_h = 1, .kernel_w = 1});
    bottleneck_.then<Conv2d>(
        Conv2d::Options{.in = units, .out = deepest, .kernel_h = 1, .kernel_w = 1, .activation = Activation::relu});
    bottleneck_.skip();
  }

  Sequential &encoder_, &bottleneck_, &decoder_;
};

const Registry<Network, NetworkOptions>::Add autoencoder{
    Entry{.name = "autoencoder",
          .summary = "convolutional autoencoder with a bottleneck of 128 units",
          .paper = "autoencoder purification, chest X-ray study",
          .rule =
              "[conv 3x3/2, batch norm, ReLU] at 32, 64, 128, 256 channels; flatten; linear 128; linear back, ReLU\n"
              "(bottleneck=spatial: two 1x1 convolutions); [nearest upsampling 2, conv 3x3] at 128, 64, 32\n"
              "channels with ReLU and at the image's with a sigmoid",
          .facts = {{"input", "any size from 16 pixels, 1 or 3 channels"},
                    {"purpose", "purifying images in front of a classifier"}}},
    default_fields<AutoencoderOptions>(),
    [](const Spec& spec, const NetworkOptions& options) -> std::unique_ptr<Network> {
      auto const o = configure<AutoencoderOptions>(spec, "net autoencoder");
      return std::make_unique<Autoencoder>(o, options, spec_text(o, "autoencoder"));
    }};

}  // namespace
}  // namespace mith
