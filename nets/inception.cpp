// Inception v3 (Szegedy et al. 2016), as torchvision builds and names it.
#include "engine/nn/network.h"
#include "nets/blocks.h"

namespace mith {
namespace {

/// Convolution, batch norm, ReLU. With stride 1 the window is centred ("same"), with stride 2 it is not padded.
struct Step {
  const char* name;
  int64_t out, kernel_h, kernel_w, stride = 1;
};

class BasicConv final : public Module {
 public:
  BasicConv(int64_t in, const Step& s, bool padded = true, double deviation = 0.1)
      : conv_(add("conv", std::make_unique<Conv2d>(
                              Conv2d::Options{.in = in,
                                              .out = s.out,
                                              .kernel_h = s.kernel_h,
                                              .kernel_w = s.kernel_w,
                                              .window = {.stride_h = s.stride,
                                                         .stride_w = s.stride,
                                                         .pad_h = padded && s.stride == 1 ? s.kernel_h / 2 : 0,
                                                         .pad_w = padded && s.stride == 1 ? s.kernel_w / 2 : 0},
                                              .bias = false,
                                              .deviation = deviation}))),
        norm_(add("bn", std::make_unique<BatchNorm>(
                            s.out, BatchNormOptions{.activation = Activation::relu, .epsilon = 1e-3}))) {}

 protected:
  Tensor forward(const Tensor& x, Context& context) override { return norm_(conv_(x, context), context); }

 private:
  Conv2d& conv_;
  BatchNorm& norm_;
};

/// Convolutions one after another; with `fork` the last two both read what comes before them, and their outputs stand
/// side by side.
struct Branch {
  std::vector<Step> steps;
  bool fork = false;
};

/// Branches side by side. The last pools: the average and a 1x1 convolution to `pooled` channels, or, where the block
/// halves the size (pooled = 0), the maximum.
struct BlockLayout {
  std::vector<Branch> branches;
  int64_t pooled = 0;
};

class InceptionBlock final : public Module {
 public:
  InceptionBlock(int64_t in, const BlockLayout& layout) : out(layout.pooled ? layout.pooled : in) {
    for (const Branch& branch : layout.branches) {
      Built built{{}, branch.fork};
      int64_t channels = in;
      size_t const last = branch.steps.size() - 1;
      for (size_t i = 0; i <= last; ++i) {
        const Step& step = branch.steps[i];
        built.steps.push_back(&add(step.name, std::make_unique<BasicConv>(channels, step)));
        bool const forks = branch.fork && i + 1 >= last;
        if (forks || i == last) out += step.out;
        if (!forks) channels = step.out;
      }
      branches_.push_back(built);
    }
    if (layout.pooled) pool_ = &add("branch_pool", std::make_unique<BasicConv>(in, Step{"", layout.pooled, 1, 1}));
  }
  int64_t out;  ///< channels

 protected:
  Tensor forward(const Tensor& x, Context& context) override {
    std::vector<Tensor> outputs;
    for (const Built& branch : branches_) {
      Tensor y = x;
      size_t const chained = branch.steps.size() - (branch.fork ? 2 : 0);
      for (size_t i = 0; i < chained; ++i) y = (*branch.steps[i])(y, context);
      if (!branch.fork) outputs.push_back(y);
      for (size_t i = chained; i < branch.steps.size(); ++i) outputs.push_back((*branch.steps[i])(y, context));
    }
    PoolOptions window{.kernel_h = 3, .kernel_w = 3};
    if (pool_) {
      window.stride_h = window.stride_w = window.pad_h = window.pad_w = 1;
      outputs.push_back((*pool_)(avg_pool2d(x, window), context));
    } else {
      outputs.push_back(max_pool2d(x, window));
    }
    return concat(outputs);
  }

 private:
  struct Built {
    std::vector<BasicConv*> steps;
    bool fork;
  };
  std::vector<Built> branches_;
  BasicConv* pool_ = nullptr;
};

// The blocks of the paper's figures 5, 10 (reductions), 6, and 7.

BlockLayout block_a(int64_t pooled) {
  return {{{{{"branch1x1", 64, 1, 1}}},
           {{{"branch5x5_1", 48, 1, 1}, {"branch5x5_2", 64, 5, 5}}},
           {{{"branch3x3dbl_1", 64, 1, 1}, {"branch3x3dbl_2", 96, 3, 3}, {"branch3x3dbl_3", 96, 3, 3}}}},
          pooled};
}

BlockLayout block_b() {
  return {{{{{"branch3x3", 384, 3, 3, 2}}},
           {{{"branch3x3dbl_1", 64, 1, 1}, {"branch3x3dbl_2", 96, 3, 3}, {"branch3x3dbl_3", 96, 3, 3, 2}}}}};
}

BlockLayout block_c(int64_t c) {
  return {{{{{"branch1x1", 192, 1, 1}}},
           {{{"branch7x7_1", c, 1, 1}, {"branch7x7_2", c, 1, 7}, {"branch7x7_3", 192, 7, 1}}},
           {{{"branch7x7dbl_1", c, 1, 1},
             {"branch7x7dbl_2", c, 7, 1},
             {"branch7x7dbl_3", c, 1, 7},
             {"branch7x7dbl_4", c, 7, 1},
             {"branch7x7dbl_5", 192, 1, 7}}}},
          192};
}

BlockLayout block_d() {
  return {{{{{"branch3x3_1", 192, 1, 1}, {"branch3x3_2", 320, 3, 3, 2}}},
           {{{"branch7x7x3_1", 192, 1, 1},
             {"branch7x7x3_2", 192, 1, 7},
             {"branch7x7x3_3", 192, 7, 1},
             {"branch7x7x3_4", 192, 3, 3, 2}}}}};
}

BlockLayout block_e() {
  return {{{{{"branch1x1", 320, 1, 1}}},
           {{{"branch3x3_1", 384, 1, 1}, {"branch3x3_2a", 384, 1, 3}, {"branch3x3_2b", 384, 3, 1}}, true},
           {{{"branch3x3dbl_1", 448, 1, 1},
             {"branch3x3dbl_2", 384, 3, 3},
             {"branch3x3dbl_3a", 384, 1, 3},
             {"branch3x3dbl_3b", 384, 3, 1}},
            true}},
          192};
}

/// The head beside the network: logits from the 17 x 17 features.
class AuxiliaryHead final : public Module {
 public:
  AuxiliaryHead(int64_t in, int64_t classes)
      : conv0_(add("conv0", std::make_unique<BasicConv>(in, Step{"", 128, 1, 1}))),
        conv1_(add("conv1", std::make_unique<BasicConv>(128, Step{"", 768, 5, 5}, false, 0.01))),
        fc_(add("fc", std::make_unique<Linear>(Linear::Options{.in = 768, .out = classes, .deviation = 0.001}))) {}
  /// What its windows need: 5 x 5 outputs of a pooling with windows of 5 and stride 3.
  static constexpr int64_t least = 17;

 protected:
  Tensor forward(const Tensor& x, Context& context) override {
    Tensor const pooled = avg_pool2d(x, {.kernel_h = 5, .kernel_w = 5, .stride_h = 3, .stride_w = 3});
    return fc_(global_avg_pool2d(conv1_(conv0_(pooled, context), context)), context);
  }

 private:
  BasicConv &conv0_, &conv1_;
  Linear& fc_;
};

struct InceptionOptions {
  double dropout = 0.5, auxiliary = 0.4;
  std::vector<int64_t> head;
  void fields(Fields& f) {
    f.number("dropout", dropout, "share of the last features dropped in training", 0, 0.95);
    f.number("auxiliary", auxiliary, "weight of the auxiliary head's loss, in training on images from 299 pixels", 0,
             1);
    head_field(f, head);
  }
};

class InceptionV3 final : public Network {
 public:
  InceptionV3(const InceptionOptions& options, const NetworkOptions& o, const std::string& spec)
      : Network(o, spec, 3), auxiliary_(options.auxiliary) {
    require_image(75);
    int64_t channels = 3;
    auto const stem = [&](const Step& step, bool padded) {
      stem_.push_back(&add(step.name, std::make_unique<BasicConv>(channels, step, padded)));
      channels = step.out;
    };
    auto const block = [&](const std::string& name, const BlockLayout& layout) {
      blocks_.push_back({name, &add(name, std::make_unique<InceptionBlock>(channels, layout))});
      channels = blocks_.back().block->out;
    };
    stem({"Conv2d_1a_3x3", 32, 3, 3, 2}, false);
    stem({"Conv2d_2a_3x3", 32, 3, 3}, false);
    stem({"Conv2d_2b_3x3", 64, 3, 3}, true);
    stem({"Conv2d_3b_1x1", 80, 1, 1}, false);
    stem({"Conv2d_4a_3x3", 192, 3, 3}, false);
    block("Mixed_5b", block_a(32));
    block("Mixed_5c", block_a(64));
    block("Mixed_5d", block_a(64));
    block("Mixed_6a", block_b());
    block("Mixed_6b", block_c(128));
    block("Mixed_6c", block_c(160));
    block("Mixed_6d", block_c(160));
    block("Mixed_6e", block_c(192));
    auxiliary_head_ = &add("AuxLogits", std::make_unique<AuxiliaryHead>(channels, o.classes));
    block("Mixed_7a", block_d());
    block("Mixed_7b", block_e());
    block("Mixed_7c", block_e());
    dropout_ = &add("dropout", std::make_unique<Dropout>(options.dropout));
    fc_ = &add("fc", classifier_head({.in = channels, .out = o.classes, .deviation = 0.1}, options.head));
  }

 protected:
  Tensor body(const Tensor& images, Context& context) override {
    PoolOptions const window{.kernel_h = 3, .kernel_w = 3};
    Tensor x = images;
    for (size_t i = 0; i < stem_.size(); ++i) {
      x = (*stem_[i])(x, context);
      if (i == 2 || i == 4) x = max_pool2d(x, window);
    }
    for (auto const& [name, block] : blocks_) {
      x = (*block)(x, context);
      context.feature(name, x);
      if (name == "Mixed_6e") listen(x, context);
    }
    return (*fc_)((*dropout_)(pooled_features(x, context), context), context);
  }

 private:
  /// In training, and where the image is large enough for it, the auxiliary head has its say.
  void listen(const Tensor& x, Context& context) {
    bool const fits = std::min(x.dim(1), x.dim(2)) >= AuxiliaryHead::least;
    if (context.training && auxiliary_ > 0 && fits)
      context.auxiliary.push_back({(*auxiliary_head_)(x, context), auxiliary_});
  }

  struct Named {
    std::string name;
    InceptionBlock* block;
  };
  double auxiliary_;
  std::vector<BasicConv*> stem_;
  std::vector<Named> blocks_;
  AuxiliaryHead* auxiliary_head_;
  Dropout* dropout_;
  Module* fc_;
};

using Nets = Registry<Network, NetworkOptions>;

const Nets::Add inception_v3{
    Entry{.name = "inception_v3",
          .summary = "branches of 1x1, 3x3, 5x5 and factorised 7x7 convolutions, with an auxiliary head in training",
          .paper = "Szegedy et al. 2016, Rethinking the Inception architecture; torchvision's layout and names",
          .rule = "stem of five convolutions and two max-pools; 3 blocks at 35 x 35, 5 at 17 x 17, 3 at 8 x 8, each\n"
                  "concatenating its branches; global average pool; dropout; linear K.\n"
                  "Training adds auxiliary * the loss of a head on the last 17 x 17 features",
          .facts = {{"input", "any size from 75 pixels (299 as published), 1 or 3 channels"}}},
    default_fields<InceptionOptions>(),
    [](const Spec& spec, const NetworkOptions& options) -> std::unique_ptr<Network> {
      auto const o = configure<InceptionOptions>(spec, "net inception_v3");
      return std::make_unique<InceptionV3>(o, options, spec_text(o, "inception_v3"));
    }};

}  // namespace
}  // namespace mith
