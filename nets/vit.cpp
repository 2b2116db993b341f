// The vision transformer (Dosovitskiy et al. 2021), as torchvision builds and names it; reads timm's names too.
#include <algorithm>
#include <array>
#include <cmath>

#include "engine/files/safetensors.h"
#include "engine/nn/attention.h"
#include "engine/nn/initialisation.h"
#include "engine/nn/network.h"
#include "nets/blocks.h"

namespace mith {
namespace {

struct VitLayout {
  int64_t image = 0, patch = 16, layers = 12, heads = 3, hidden = 192, mlp = 768;  ///< image 0: whatever the data has
  double dropout = 0;
  std::vector<int64_t> head = {};
  void fields(Fields& f) {
    f.integer("image", image, "pixels of a side, to be held to the data's; 0: as the data", 0, 4096);
    f.integer("patch", patch, "pixels of a patch's side", 1, 256);
    f.integer("layers", layers, "transformer layers", 1, 96);
    f.integer("heads", heads, "attention heads; they share the hidden width", 1, 64);
    f.integer("hidden", hidden, "width of a token", 1, 8192);
    f.integer("mlp", mlp, "width between the two dense layers of a block", 1, 32768);
    f.number("dropout", dropout, "share of the tokens' elements dropped in training", 0, 0.95);
    head_field(f, head);
  }
};

/// Standard deviation with the variance of Glorot & Bengio 2010.
double glorot(int64_t in, int64_t out) { return std::sqrt(2.0 / static_cast<double>(in + out)); }

Linear::Options dense(int64_t in, int64_t out) { return {.in = in, .out = out, .deviation = glorot(in, out)}; }

/// x + attention(norm(x)), then x + mlp(norm(x)).
class EncoderBlock final : public Module {
 public:
  explicit EncoderBlock(const VitLayout& l)
      : ln_1_(add("ln_1", std::make_unique<LayerNorm>(l.hidden, 1e-6))),
        attention_(add("self_attention", std::make_unique<MultiheadAttention>(l.hidden, l.heads))),
        ln_2_(add("ln_2", std::make_unique<LayerNorm>(l.hidden, 1e-6))),
        mlp_(add("mlp", std::make_unique<Sequential>())),
        dropout_(add("dropout", std::make_unique<Dropout>(l.dropout))) {
    mlp_.then<Linear>(dense(l.hidden, l.mlp));
    mlp_.then(gelu);
    mlp_.then<Dropout>(l.dropout);
    mlp_.then<Linear>(dense(l.mlp, l.hidden));
    mlp_.then<Dropout>(l.dropout);
  }

 protected:
  Tensor forward(const Tensor& x, Context& context) override {
    Tensor const attended = mith::add(x, dropout_(attention_(ln_1_(x, context), context), context));
    Tensor const tokens = reshape(ln_2_(attended, context), {x.dim(0) * x.dim(1), x.dim(2)});
    return mith::add(attended, reshape(mlp_(tokens, context), x.shape()));
  }

 private:
  LayerNorm& ln_1_;
  MultiheadAttention& attention_;
  LayerNorm& ln_2_;
  Sequential& mlp_;
  Dropout& dropout_;
};

/// Adds the positions, then all blocks and a layer norm: [n, s, hidden] -> the same.
class Encoder final : public Module {
 public:
  Encoder(const VitLayout& l, int64_t tokens)
      : position_(add_parameter("pos_embedding", {1, tokens, l.hidden})),
        dropout_(add("dropout", std::make_unique<Dropout>(l.dropout))),
        layers_(add("layers", std::make_unique<Layers>(l))),
        ln_(add("ln", std::make_unique<LayerNorm>(l.hidden, 1e-6))) {}
  const Tensor& position() const { return position_.value; }

 protected:
  Tensor forward(const Tensor& x, Context& context) override {
    Tensor const placed = mith::add(x, expand(position_.value, x.dim(0)));
    return ln_(layers_(dropout_(placed, context), context), context);
  }
  void initialise_own(const DrawKey& key) override { draw_normal(position_, 0.02, key); }

 private:
  struct Layers final : Module {
    explicit Layers(const VitLayout& l) {
      for (int64_t i = 0; i < l.layers; ++i)
        blocks.push_back(&add("encoder_layer_" + std::to_string(i), std::make_unique<EncoderBlock>(l)));
    }
    Tensor forward(const Tensor& x, Context& context) override {
      Tensor y = x;
      for (EncoderBlock* block : blocks) y = (*block)(y, context);
      return y;
    }
    std::vector<EncoderBlock*> blocks;
  };
  Parameter& position_;
  Dropout& dropout_;
  Layers& layers_;
  LayerNorm& ln_;
};

/// What classifies, under the name torchvision gives it.
class Heads final : public Module {
 public:
  Heads(const VitLayout& l, int64_t classes)
      : head_(add("head", classifier_head({.in = l.hidden, .out = classes}, l.head))) {}

 protected:
  Tensor forward(const Tensor& x, Context& context) override { return head_(x, context); }

 private:
  Module& head_;
};

/// timm's name of a tensor of a vision transformer, or torchvision's of the files it publishes, as torchvision's of
/// today; any other name as it is.
std::string torchvision_name(std::string name) {
  constexpr std::pair<std::string_view, std::string_view> beginnings[] = {{"cls_token", "class_token"},
                                                                          {"pos_embed", "encoder.pos_embedding"},
                                                                          {"patch_embed.proj.", "conv_proj."},
                                                                          {"norm.", "encoder.ln."},
                                                                          {"head.", "heads.head."},
                                                                          {"blocks.", "encoder.layers.encoder_layer_"}};
  constexpr std::pair<std::string_view, std::string_view> parts[] = {
      {".norm1.", ".ln_1."},
      {".attn.qkv.weight", ".self_attention.in_proj_weight"},
      {".attn.qkv.bias", ".self_attention.in_proj_bias"},
      {".attn.proj.", ".self_attention.out_proj."},
      {".norm2.", ".ln_2."},
      {".mlp.fc1.", ".mlp.0."},
      {".mlp.fc2.", ".mlp.3."},
      {".mlp.linear_1.", ".mlp.0."},
      {".mlp.linear_2.", ".mlp.3."}};
  for (auto const& [theirs, ours] : beginnings)
    if (name.starts_with(theirs)) name.replace(0, theirs.size(), ours);
  for (auto const& [theirs, ours] : parts)
    if (size_t const at = name.find(theirs); at != std::string::npos) name.replace(at, theirs.size(), ours);
  return name;
}

/// Weights of the four points around `place` in cubic convolution (Keys 1981 with a = -0.75, PyTorch's choice).
std::array<double, 4> cubic_weights(double t) {
  constexpr double a = -0.75;
  auto const near = [](double x) { return ((a + 2) * x - (a + 3)) * x * x + 1; };
  auto const far = [](double x) { return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a; };
  return {far(t + 1), near(t), near(1 - t), far(2 - t)};
}

/// One direction of a bicubic interpolation whose corners stay: values [outer, from, inner] -> [outer, to, inner].
std::vector<double> interpolate(const std::vector<double>& values, int64_t outer, int64_t from, int64_t to,
                                int64_t inner) {
  std::vector<double> result(static_cast<size_t>(outer * to * inner));
  for (int64_t i = 0; i < to; ++i) {
    double const place = to > 1 ? double(i * (from - 1)) / double(to - 1) : 0;
    auto const first = static_cast<int64_t>(place);
    auto const weights = cubic_weights(place - double(first));
    for (int64_t tap = 0; tap < 4; ++tap) {
      int64_t const row = std::clamp<int64_t>(first + tap - 1, 0, from - 1);
      for (int64_t o = 0; o < outer; ++o)
        for (int64_t c = 0; c < inner; ++c)
          result[static_cast<size_t>((o * to + i) * inner + c)] +=
              weights[static_cast<size_t>(tap)] * values[static_cast<size_t>((o * from + row) * inner + c)];
    }
  }
  return result;
}

/// Position embeddings [1, 1 + from * from, hidden] of a square grid for one of h x w patches; the class token's stays.
Tensor resized_positions(const Tensor& stored, int64_t from, int64_t h, int64_t w) {
  int64_t const hidden = stored.dim(2);
  std::vector<double> all = stored.cast(DType::f64).to_host<double>();
  std::vector<double> grid(all.begin() + hidden, all.end());
  grid = interpolate(interpolate(grid, 1, from, h, from * hidden), h, from, w, hidden);
  all.resize(static_cast<size_t>(hidden));
  all.insert(all.end(), grid.begin(), grid.end());
  return Tensor::from(all, {1, 1 + h * w, hidden}, Device::cpu).cast(stored.dtype());
}

class VisionTransformer final : public Network {
 public:
  VisionTransformer(const VitLayout& l, const NetworkOptions& o, const std::string& spec)
      : Network(o, spec, 3), rows_(o.height / l.patch), columns_(o.width / l.patch), hidden_(l.hidden) {
    require(l.image == 0 || (l.image == o.height && l.image == o.width), spec, ": images of ", o.height, " x ", o.width,
            " pixels for image=", l.image);
    require_image(l.patch);
    require(o.height % l.patch == 0 && o.width % l.patch == 0, spec, ": images of ", o.height, " x ", o.width,
            " pixels do not divide into patches of ", l.patch, " x ", l.patch);
    require(l.hidden % l.heads == 0, spec, ": hidden=", l.hidden, " is no multiple of heads=", l.heads);
    class_token_ = &add_parameter("class_token", {1, 1, l.hidden});
    Conv2d::Options patches{.in = 3, .out = l.hidden, .kernel_h = l.patch, .kernel_w = l.patch};
    patches.window.stride_h = patches.window.stride_w = l.patch;
    patches.deviation = std::sqrt(1.0 / static_cast<double>(3 * l.patch * l.patch));
    conv_proj_ = &add("conv_proj", std::make_unique<Conv2d>(patches));
    encoder_ = &add("encoder", std::make_unique<Encoder>(l, 1 + rows_ * columns_));
    heads_ = &add("heads", std::make_unique<Heads>(l, o.classes));
  }

  void adapt(std::vector<StoredTensor>& tensors) const override {
    for (StoredTensor& tensor : tensors) {
      tensor.name = torchvision_name(tensor.name);
      const Shape& shape = tensor.value.shape();
      if (tensor.name != "encoder.pos_embedding" || shape == encoder_->position().shape()) continue;
      if (shape.rank() != 3 || shape[0] != 1 || shape[1] < 2) continue;
      auto const side = static_cast<int64_t>(std::lround(std::sqrt(static_cast<double>(shape[1] - 1))));
      if (side * side == shape[1] - 1) tensor.value = resized_positions(tensor.value, side, rows_, columns_);
    }
  }

 protected:
  Tensor body(const Tensor& images, Context& context) override {
    int64_t const n = images.dim(0);
    Tensor const patches = reshape((*conv_proj_)(images, context), {n, rows_ * columns_, hidden_});
    Tensor x = (*encoder_)(concat({expand(class_token_->value, n), patches}, 1), context);
    context.feature("features", x);
    x = flatten(narrow(x, 1, 0, 1));
    context.feature("penultimate", x);
    return (*heads_)(x, context);
  }
  void initialise_own(const DrawKey&) override { class_token_->value.fill_zero(); }

 private:
  int64_t rows_, columns_, hidden_;  // of patches; of a token
  Parameter* class_token_;
  Conv2d* conv_proj_;
  Encoder* encoder_;
  Heads* heads_;
};

using Nets = Registry<Network, NetworkOptions>;

/// `Options` has the fields that its name leaves open.
template <class Options>
Nets::Add register_vit(const std::string& name, const std::string& summary) {
  return {Entry{.name = name,
                .summary = summary,
                .paper = "Dosovitskiy et al. 2021, An image is worth 16x16 words; torchvision's layout and names",
                .rule = "patches by convolution; class token; learned positions; layers of x + attention(norm(x)),\n"
                        "x + mlp(norm(x)) with GELU; layer norm; linear K on the class token;\n"
                        "positions of weights for another size are interpolated",
                .facts = {{"input", "any multiple of the patch, 1 or 3 channels"}}},
          default_fields<Options>(),
          [name](const Spec& spec, const NetworkOptions& options) -> std::unique_ptr<Network> {
            auto const o = configure<Options>(spec, "net " + name);
            return std::make_unique<VisionTransformer>(o, options, spec_text(o, name));
          }};
}

/// The published sizes: only the patch may differ.
struct TinyLayout : VitLayout {
  void fields(Fields& f) {
    f.integer("patch", patch, "pixels of a patch's side", 1, 256);
    f.number("dropout", dropout, "share of the tokens' elements dropped in training", 0, 0.95);
    head_field(f, head);
  }
};
struct BaseLayout : TinyLayout {
  BaseLayout() { heads = 12, hidden = 768, mlp = 3072; }
};

const Nets::Add vit = register_vit<VitLayout>("vit", "vision transformer of any size");
const Nets::Add vit_tiny = register_vit<TinyLayout>("vit_tiny", "vision transformer: 12 layers, 3 heads, width 192");
const Nets::Add vit_b_16 = register_vit<BaseLayout>("vit_b_16", "vision transformer: 12 layers, 12 heads, width 768");

}  // namespace
}  // namespace mith
