// The denoising U-net of high-level representation guided denoising (HGD, Liao et al. 2018).
#include "engine/nn/network.h"
#include "nets/blocks.h"

namespace mith {
namespace {

struct UnetOptions {
  void fields(Fields&) {}
};

/// The image plus what the U-net makes of it: noise with its sign turned.
class Unet final : public ImageNetwork {
 public:
  Unet(const NetworkOptions& o, const std::string& spec) : ImageNetwork(o, spec) {
    require_image(16);
    constexpr int64_t widths[] = {64, 128, 256, 256, 256}, depths[] = {2, 3, 3, 3, 3};
    int64_t in = o.channels;
    for (size_t i = 0; i < 5; ++i) {
      down_.push_back(&stage("down" + std::to_string(i + 1), in, widths[i], depths[i], i == 0 ? 1 : 2));
      in = widths[i];
    }
    for (size_t i = 4; i-- > 0;) {
      up_.push_back(&stage("up" + std::to_string(i + 1), in + widths[i], widths[i], depths[i], 1));
      in = widths[i];
    }
    final_ = &add("final", std::make_unique<Conv2d>(convolution(in, o.channels, 1)));
  }

 protected:
  Tensor body(const Tensor& images, Context& context) override {
    std::vector<Tensor> skips;
    Tensor x = to_signed(images);
    for (Sequential* stage : down_) skips.push_back(x = (*stage)(x, context));
    skips.pop_back();
    for (Sequential* stage : up_) {
      Tensor const skip = skips.back();
      skips.pop_back();
      x = (*stage)(concat({interpolate(x, skip.dim(1), skip.dim(2), Interpolation::bilinear), skip}), context);
    }
    return mith::add(images, scale((*final_)(x, context), 0.5));  // half of what it is in [-1, 1]
  }

 private:
  /// `depth` times 3x3 convolution, batch norm, ReLU; the stride is the first one's.
  Sequential& stage(const std::string& name, int64_t in, int64_t out, int64_t depth, int64_t stride) {
    Sequential& layers = add(name, std::make_unique<Sequential>());
    for (int64_t i = 0; i < depth; ++i)
      conv_norm_activation(layers, convolution(i == 0 ? in : out, out, 3, i == 0 ? stride : 1), relu);
    return layers;
  }

  std::vector<Sequential*> down_, up_;
  Conv2d* final_ = nullptr;
};

const Registry<Network, NetworkOptions>::Add unet{
    Entry{.name = "unet",
          .summary = "U-net that learns an image's adversarial noise and takes it away",
          .paper =
              "Liao et al. 2018, Defense against adversarial attacks using high-level representation guided denoiser",
          .rule =
              "stages of 2, 3, 3, 3, 3 [conv 3x3, batch norm, ReLU] at 64, 128, 256, 256, 256 channels, each after\n"
              "the first beginning with stride 2; back by bilinear upsampling, concatenation with the stage of that\n"
              "size and 3, 3, 3, 2 convolutions at 256, 256, 128, 64; conv 1x1; plus the image",
          .facts = {{"input", "any size from 16 pixels, 1 or 3 channels"},
                    {"purpose", "denoising images in front of a classifier"}}},
    default_fields<UnetOptions>(), [](const Spec& spec, const NetworkOptions& options) -> std::unique_ptr<Network> {
      return std::make_unique<Unet>(options, spec_text(configure<UnetOptions>(spec, "net unet"), "unet"));
    }};

}  // namespace
}  // namespace mith
