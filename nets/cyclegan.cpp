// CycleGAN (Zhu et al. 2017): the residual generator and the PatchGAN discriminator, with its authors' parameter names.
#include "engine/nn/network.h"
#include "nets/blocks.h"

namespace mith {
namespace {

constexpr double deviation = 0.02;  // of all initial weights

Conv2d::Options gan_convolution(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t padding) {
  return {.in = in,
          .out = out,
          .kernel_h = kernel,
          .kernel_w = kernel,
          .window = {.stride_h = stride, .stride_w = stride, .pad_h = padding, .pad_w = padding},
          .deviation = deviation};
}

Tensor plain_instance_norm(const Tensor& x) { return instance_norm(x); }

void add_norm_relu(Sequential& layers) {
  layers.then(plain_instance_norm);
  layers.then(relu);
}

void add_reflection(Sequential& layers, int64_t border) {
  layers.then([border](const Tensor& x, Context&) { return reflection_pad2d(x, {border, border, border, border}); });
}

/// x + two reflected 3x3 convolutions with instance norm, the first with ReLU.
class GeneratorBlock final : public Module {
 public:
  explicit GeneratorBlock(int64_t channels) : branch_(add("conv_block", std::make_unique<Sequential>())) {
    add_reflection(branch_, 1);
    branch_.then<Conv2d>(gan_convolution(channels, channels, 3, 1, 0));
    add_norm_relu(branch_);
    add_reflection(branch_, 1);
    branch_.then<Conv2d>(gan_convolution(channels, channels, 3, 1, 0));
    branch_.then(plain_instance_norm);
  }

 protected:
  Tensor forward(const Tensor& x, Context& context) override { return mith::add(x, branch_(x, context)); }

 private:
  Sequential& branch_;
};

struct GeneratorOptions {
  int64_t blocks = 0;
  void fields(Fields& f) { f.integer("blocks", blocks, "residual blocks; 0: 9 from 180 pixels, else 6", 0, 64); }
};

/// Images whose sides are no multiples of 4 are padded by reflection and cropped again.
class Generator final : public ImageNetwork {
 public:
  Generator(int64_t blocks, const NetworkOptions& o, const std::string& spec)
      : ImageNetwork(o, spec), model_(add("model", std::make_unique<Sequential>())) {
    require_image(8);
    add_reflection(model_, 3);
    model_.then<Conv2d>(gan_convolution(o.channels, 64, 7, 1, 0));
    add_norm_relu(model_);
    for (int64_t const width : {128, 256}) {
      model_.then<Conv2d>(gan_convolution(width / 2, width, 3, 2, 1));
      add_norm_relu(model_);
    }
    for (int64_t i = 0; i < blocks; ++i) model_.then<GeneratorBlock>(256);
    for (int64_t const width : {128, 64}) {
      model_.then<ConvTranspose2d>(ConvTranspose2d::Options{
          .in = 2 * width,
          .out = width,
          .window = {.stride_h = 2, .stride_w = 2, .pad_h = 1, .pad_w = 1, .output_pad_h = 1, .output_pad_w = 1},
          .deviation = deviation});
      add_norm_relu(model_);
    }
    add_reflection(model_, 3);
    model_.then<Conv2d>(gan_convolution(64, o.channels, 7, 1, 0));
    model_.then(mith::tanh);
  }

 protected:
  Tensor body(const Tensor& images, Context& context) override {
    Tensor const made = model_(padded_to_multiple(to_signed(images), 4), context);
    return from_signed(cropped(made, images.dim(1), images.dim(2)));
  }

 private:
  Sequential& model_;
};

struct PatchGanOptions {
  void fields(Fields&) {}
};

/// A map of scores, each for a patch of 70 x 70 pixels.
class PatchGan final : public ImageNetwork {
 public:
  PatchGan(const NetworkOptions& o, const std::string& spec)
      : ImageNetwork(o, spec), model_(add("model", std::make_unique<Sequential>())) {
    require_image(24);
    auto const leaky = [](const Tensor& x) { return leaky_relu(x, 0.2); };
    model_.then<Conv2d>(gan_convolution(o.channels, 64, 4, 2, 1));
    model_.then(leaky);
    for (int64_t const width : {128, 256, 512}) {
      model_.then<Conv2d>(gan_convolution(width / 2, width, 4, width < 512 ? 2 : 1, 1));
      model_.then(plain_instance_norm);
      model_.then(leaky);
    }
    model_.then<Conv2d>(gan_convolution(512, 1, 4, 1, 1));
  }

 protected:
  Tensor body(const Tensor& images, Context& context) override { return model_(to_signed(images), context); }

 private:
  Sequential& model_;
};

using Nets = Registry<Network, NetworkOptions>;

constexpr const char* paper = "Zhu et al. 2017, Unpaired image-to-image translation (CycleGAN); its authors' names";

const Nets::Add generator{
    Entry{.name = "cyclegan_generator",
          .summary = "residual generator with instance norm, from images to images",
          .paper = paper,
          .rule = "reflected conv 7x7 64; conv 3x3/2 at 128, 256; 9 residual blocks (6 below 180 pixels);\n"
                  "transposed conv 3x3/2 at 128, 64, all with instance norm and ReLU; reflected conv 7x7; tanh",
          .facts = {{"input", "any size from 8 pixels, 1 or 3 channels"},
                    {"purpose", "restoring images in front of a classifier"}}},
    default_fields<GeneratorOptions>(),
    [](const Spec& spec, const NetworkOptions& options) -> std::unique_ptr<Network> {
      auto o = configure<GeneratorOptions>(spec, "net cyclegan_generator");
      if (o.blocks == 0) o.blocks = std::min(options.height, options.width) >= 180 ? 9 : 6;
      return std::make_unique<Generator>(o.blocks, options, spec_text(o, "cyclegan_generator"));
    }};

const Nets::Add patchgan{
    Entry{.name = "patchgan",
          .summary = "discriminator that scores patches of 70 x 70 pixels",
          .paper = paper,
          .rule = "conv 4x4/2 64; conv 4x4 at 128 and 256 with stride 2, at 512 with stride 1, with instance norm;\n"
                  "conv 4x4 to one score; leaky ReLU 0.2 between",
          .facts = {{"input", "any size from 24 pixels, 1 or 3 channels"},
                    {"purpose", "telling a generator's images from true ones"}}},
    default_fields<PatchGanOptions>(), [](const Spec& spec, const NetworkOptions& options) -> std::unique_ptr<Network> {
      return std::make_unique<PatchGan>(options,
                                        spec_text(configure<PatchGanOptions>(spec, "net patchgan"), "patchgan"));
    }};

}  // namespace
}  // namespace mith
