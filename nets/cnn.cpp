// The small CNNs of the lung and colon study: `cnn`, and `cnn-seed000` as published for 180 x 180 x 3 images.
#include "engine/nn/layers.h"
#include "engine/nn/network.h"

namespace mith {
namespace {

/// Convolution, ReLU (in the convolution's epilogue), max-pool 2: `widths.size()` times; then batch norm, flatten,
/// dense + ReLU, dropout, dense.
struct CnnLayout {
  std::vector<int64_t> widths;
  int64_t padding = 1;  ///< 1: 'same' 3 x 3 convolutions, 0: 'valid'
  int64_t dense = 128;
  double dropout = 0.3;
};

class Cnn final : public Network {
 public:
  Cnn(const CnnLayout& layout, const NetworkOptions& o, const std::string& spec) : Network(o, spec) {
    int64_t channels = o.channels, h = o.height, w = o.width;
    for (size_t i = 0; i < layout.widths.size(); ++i) {
      Conv2d::Options conv{.in = channels, .out = layout.widths[i], .activation = Activation::relu};
      conv.window.pad_h = conv.window.pad_w = layout.padding;
      convolutions_.push_back(&add("conv" + std::to_string(i + 1), std::make_unique<Conv2d>(conv)));
      channels = layout.widths[i];
      h = (h + 2 * layout.padding - 2) / 2;
      w = (w + 2 * layout.padding - 2) / 2;
    }
    require(h >= 1 && w >= 1, spec, ": images of ", o.height, " x ", o.width, " pixels are too small for ",
            layout.widths.size(), " rounds of convolution and pooling");
    bn_ = &add("bn", std::make_unique<BatchNorm>(channels));
    fc1_ =
        &add("fc1",
             std::make_unique<Linear>(Linear::Options{.in = h * w * channels,
                                                      .out = layout.dense,
                                                      .activation = Activation::relu,
                                                      .layout = {OuterLayout::linear_after_flatten, channels, h, w}}));
    dropout_ = &add("dropout", std::make_unique<Dropout>(layout.dropout));
    fc2_ = &add("fc2", std::make_unique<Linear>(Linear::Options{.in = layout.dense, .out = o.classes}));
  }

 protected:
  Tensor body(const Tensor& images, Context& context) override {
    Tensor x = images;
    for (size_t i = 0; i < convolutions_.size(); ++i) {
      x = max_pool2d((*convolutions_[i])(x, context));
      context.feature("block" + std::to_string(i + 1), x);
    }
    x = (*fc1_)(flatten((*bn_)(x, context)), context);
    context.feature("penultimate", x);
    return (*fc2_)((*dropout_)(x, context), context);
  }

 private:
  std::vector<Conv2d*> convolutions_;
  BatchNorm* bn_;
  Linear* fc1_;
  Dropout* dropout_;
  Linear* fc2_;
};

struct CnnOptions {
  double dropout = 0.3;
  void fields(Fields& f) {
    f.number("dropout", dropout, "share of the dense layer's units dropped in training", 0, 0.95);
  }
};

using Nets = Registry<Network, NetworkOptions>;

const Nets::Add cnn{
    Entry{.name = "cnn",
          .summary = "small CNN: three blocks of 3x3 convolution, ReLU, max-pool (32, 64, 64), batch norm, dense 128",
          .paper = "after the lung and colon study (LC25000)",
          .rule = "[conv 3x3 same, ReLU, max-pool 2] at 32, 64, 64 channels; batch norm; flatten;\n"
                  "linear 128, ReLU, dropout 0.3; linear K",
          .facts = {{"input", "any size from 8 pixels, 1 or 3 channels"}}},
    default_fields<CnnOptions>(), [](const Spec& spec, const NetworkOptions& options) -> std::unique_ptr<Network> {
      auto const o = configure<CnnOptions>(spec, "net cnn");
      return std::make_unique<Cnn>(CnnLayout{.widths = {32, 64, 64}, .dropout = o.dropout}, options,
                                   spec_text(o, "cnn"));
    }};

struct PublishedOptions {
  void fields(Fields&) {}
};

const Nets::Add cnn_seed000{
    Entry{.name = "cnn-seed000",
          .summary = "the CNN as published: four valid 3x3 convolutions (32, 64, 64, 64) with pooling, dense 64",
          .paper = "lung and colon study (LC25000); 425,669 parameters at 180 x 180 x 3 and 5 classes",
          .rule = "[conv 3x3 valid, ReLU, max-pool 2] at 32, 64, 64, 64 channels; batch norm; flatten;\n"
                  "linear 64, ReLU; linear K",
          .facts = {{"input", "any size from 46 pixels, 1 or 3 channels"}}},
    default_fields<PublishedOptions>(),
    [](const Spec& spec, const NetworkOptions& options) -> std::unique_ptr<Network> {
      auto const o = configure<PublishedOptions>(spec, "net cnn-seed000");
      CnnLayout const layout{.widths = {32, 64, 64, 64}, .padding = 0, .dense = 64, .dropout = 0};
      return std::make_unique<Cnn>(layout, options, spec_text(o, "cnn-seed000"));
    }};

}  // namespace
}  // namespace mith
