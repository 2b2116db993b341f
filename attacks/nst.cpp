#include "attacks/nst.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <optional>

#include "attacks/adam.h"
#include "attacks/attack_books.h"
#include "attacks/draws.h"
#include "attacks/ensemble.h"
#include "attacks/partners.h"
#include "attacks/passes.h"
#include "attacks/steps.h"
#include "engine/files/files.h"
#include "engine/ops/ops.h"

namespace mith {
namespace {

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts{""};
  for (char c : text) {
    if (c == at)
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

/// L and its gradient for one batch. Features, content and style belong to the same number of images.
class Objective {
 public:
  Objective(Classifier& model, const Nst& config, const NstLayers& layers, const Batch& clean, const Tensor& style)
      : model_(model), config_(config), layers_(layers), clean_(clean) {
    wanted_ = layers.style;
    if (std::find(wanted_.begin(), wanted_.end(), layers.content) == wanted_.end()) wanted_.push_back(layers.content);
    content_ = features(clean.x).at(layers.content);
    auto const of_style = features(style);
    for (const std::string& layer : layers.style) grams_.push_back(gram(of_style.at(layer)));
  }

  /// [n].
  Tensor loss(const Tensor& images) const {
    return loss_of_outputs(
        model_.evaluate({images, clean_.y, clean_.ids}, Loss{}, {.logits = true, .features = wanted_}));
  }
  Tensor gradient(const Tensor& images) const {
    OnOutputs const slopes{[this](const Outputs& out) { return differentiate(out); }};
    return model_.evaluate({images, clean_.y, clean_.ids}, slopes, {.input_gradient = true, .features = wanted_})
        .input_gradient;
  }

 private:
  std::map<std::string, Tensor> features(const Tensor& images) const {
    return model_.evaluate({images, clean_.y, clean_.ids}, Loss{}, {.features = wanted_}).features;
  }
  /// Over the number of pixels, so that layers of all sizes count alike.
  static Tensor gram(const Tensor& f) { return gram_matrix(f, 1 / static_cast<double>(f.dim(1) * f.dim(2))); }

  Tensor loss_of_outputs(const Outputs& out) const {
    Tensor total = scale(mse_loss(out.features.at(layers_.content), content_), config_.content_weight);
    for (size_t i = 0; i < grams_.size(); ++i)
      total = add(total, scale(mse_loss(gram(out.features.at(layers_.style[i])), grams_[i]), config_.style_weight / 4));
    if (config_.adversarial_weight != 0)
      total = add(total, scale(loss_of(out.logits, Loss{.labels = clean_.y}), -config_.adversarial_weight));
    return total;
  }

  std::map<std::string, Tensor> differentiate(const Outputs& out) const {
    Tape tape;
    std::vector<std::string> names = wanted_;
    std::vector<Tensor> values;
    for (const std::string& name : wanted_) values.push_back(out.features.at(name));
    if (config_.adversarial_weight != 0) {
      names.emplace_back("logits");
      values.push_back(out.logits);
    }
    for (const Tensor& value : values) tape.watch(value);
    Tensor const total = loss_of_outputs(out);
    auto const slopes = tape.gradients(total, Tensor::full(total.shape(), 1, DType::f32, total.device()), values);
    std::map<std::string, Tensor> weights;
    for (size_t i = 0; i < names.size(); ++i) weights[names[i]] = slopes[i];
    return weights;
  }

  Classifier& model_;
  const Nst& config_;
  const NstLayers& layers_;
  Batch clean_;
  std::vector<std::string> wanted_;
  Tensor content_;
  std::vector<Tensor> grams_;
};

/// Waves in two directions, another phase in each channel: [1,h,w,c].
Tensor wave_texture(const Shape& image) {
  std::vector<float> values;
  for (int64_t row = 0; row < image[0]; ++row)
    for (int64_t column = 0; column < image[1]; ++column)
      for (int64_t k = 0; k < image[2]; ++k) {
        double const y = static_cast<double>(row), x = static_cast<double>(column), phase = static_cast<double>(k);
        values.push_back(
            static_cast<float>(0.5 + 0.25 * std::sin(0.8 * (y + 2 * x) + phase) + 0.25 * std::sin(0.6 * (3 * y - x))));
      }
  return Tensor::from(values, {1, image[0], image[1], image[2]});
}

/// An .npy file [h,w,c] or [h,w], f32 in [0, 1] or u8.
Tensor image_from_file(const std::string& path, const Shape& image) {
  Tensor const read = read_npy(path);
  require(read.numel() == image.numel() && read.shape()[0] == image[0], "attack nst: style_image=", path, " holds ",
          read.shape(), "; the images are ", image);
  std::vector<float> values;
  if (read.dtype() == DType::u8) {
    for (uint8_t v : read.to_host<uint8_t>()) values.push_back(static_cast<float>(v) / 255);
  } else {
    require(read.dtype() == DType::f32, "attack nst: style_image=", path, " holds ", name_of(read.dtype()),
            "; it takes f32 or u8");
    values = read.to_host<float>();
  }
  for (float v : values)
    require(v >= 0 && v <= 1, "attack nst: style_image=", path, " holds ", v, "; pixels lie in [0, 1]");
  return Tensor::from(values, {1, image[0], image[1], image[2]});
}

class NstAttack final : public Attack {
 public:
  explicit NstAttack(Nst config) : config_(std::move(config)) {}
  Threat threat() const override { return {.norm = "linf", .eps = config_.eps}; }
  std::string spec() const override { return spec_text(config_, Nst::name); }
  AttackResult run(Classifier&, const Batch&, const AttackOptions&) const override;

 private:
  Nst config_;
};

AttackResult NstAttack::run(Classifier& model, const Batch& batch, const AttackOptions& options) const {
  AttackResult result{.adversarial = batch.x.clone()};
  if (batch.size() == 0) return result;
  check(batch.y.defined() && batch.ids.defined(), "attack nst: a batch without labels or ids");
  check_goals(Nst::name, batch, -1, model.classes());
  NstLayers const layers = nst_layers(model, config_);
  Passes const passes(model, options.batch);
  std::optional<AttackBooks> books;  // in evaluation
  std::vector<int64_t> open(static_cast<size_t>(batch.size()));
  std::iota(open.begin(), open.end(), int64_t{0});
  if (options.evaluation) {
    books.emplace(Nst::name, batch, -1, model.classes());
    books->open(passes.logits(batch), Tensor::zeros({batch.size()}), 1, 0);
    open = books->open_rows();
  }

  // Features are not padded by Passes: a part is filled up here, and stays together for all steps.
  int64_t const at_once = options.batch > 0 ? options.batch : std::max<int64_t>(static_cast<int64_t>(open.size()), 1);
  int64_t const total = (static_cast<int64_t>(open.size()) + at_once - 1) / at_once * config_.steps;
  int64_t done = 0;
  Tensor nan_count = Tensor::zeros({1}, DType::i64, batch.x.device());
  for (size_t first = 0; first < open.size(); first += static_cast<size_t>(at_once)) {
    size_t const count = std::min(static_cast<size_t>(at_once), open.size() - first);
    std::vector<int64_t> rows;
    for (size_t i = 0; i < static_cast<size_t>(at_once); ++i) rows.push_back(open[first + i % count]);
    Batch const clean = select(batch, rows);
    Tensor const style = nst_style_images(config_, clean, batch, options);
    Objective const objective(model, config_, layers, clean, style);
    Tensor adv = clean.x.clone();
    Adam adam{.rate = config_.rate};
    for (int t = 0; t < config_.steps; ++t) {
      adam.descend(adv, objective.gradient(adv), 0, 1, nan_count);
      if (config_.eps < 1) project_linf(adv, clean.x, config_.eps);
      if (options.progress) options.progress({.done = ++done, .total = total});
    }
    rows.resize(count);
    Batch const last = slice({adv, clean.y, clean.ids}, 0, static_cast<int64_t>(count));
    if (books) {
      auto loss = objective.loss(adv).to_host<float>();
      for (float& v : loss) v = -v;
      books->count(rows, config_.steps + 4, config_.steps);  // content, style, L in the end, the prediction
      books->enter(rows, last.x, passes.logits(last), loss, false);
    } else {
      scatter_rows(result.adversarial, last.x, rows);
    }
  }
  if (books) result = std::move(books->result());
  result.nan_gradients = nan_count.to_host<int64_t>().front();
  check(!options.strict || result.nan_gradients == 0, "attack nst: the gradient is NaN at ", result.nan_gradients,
        " pixels");
  return result;
}

}  // namespace

NstLayers nst_layers(Classifier& model, const Nst& config) {
  require(!dynamic_cast<EnsembleClassifier*>(&model), "attack nst: it takes the features of one network, and ",
          model.name(), " has several");
  Shape const image = model.image_shape();
  Batch const probe{Tensor::full({1, image[0], image[1], image[2]}, 0.5), Tensor::from(std::vector<int32_t>{0}, {1}),
                    Tensor::from(std::vector<int64_t>{0}, {1})};
  struct Layer {
    int64_t pixels;
    std::string name;
  };
  std::vector<Layer> known;
  for (auto const& [name, value] : model.evaluate(probe, Loss{}, {.features = {all_features}}).features)
    if (value.shape().rank() == 4) known.push_back({value.dim(1) * value.dim(2), name});
  // The last stage once more, under the name that all networks have for it.
  if (known.size() > 1) std::erase_if(known, [](const Layer& l) { return l.name == "features"; });
  require(!known.empty(), "attack nst: ", model.name(), " has no features [n,h,w,c] to take content and style from");
  std::stable_sort(known.begin(), known.end(), [](const Layer& a, const Layer& b) { return a.pixels > b.pixels; });

  std::string names;
  for (const Layer& l : known) names += (names.empty() ? "" : ", ") + l.name;
  auto const check_name = [&](const char* field, const std::string& wanted) {
    require(std::any_of(known.begin(), known.end(), [&](const Layer& l) { return l.name == wanted; }),
            "attack nst: ", field, "=", wanted, ": ", model.name(), " has the features ", names);
  };
  NstLayers layers{.content = config.content, .style = split(config.style, '+')};
  if (config.content == "auto") layers.content = known.back().name;
  if (config.style == "auto") {
    layers.style.clear();
    for (size_t i = 0; i < known.size(); ++i)
      if (i == 0 || known[i].pixels != known[i - 1].pixels) layers.style.push_back(known[i].name);
  }
  check_name("content", layers.content);
  for (const std::string& layer : layers.style) check_name("style", layer);
  return layers;
}

std::vector<float> nst_loss(Classifier& model, const Nst& config, const Batch& clean, const Tensor& images,
                            const Tensor& style) {
  NstLayers const layers = nst_layers(model, config);
  return Objective(model, config, layers, clean, style).loss(images).to_host<float>();
}

Tensor nst_style_images(const Nst& config, const Batch& clean, const Batch& whole, const AttackOptions& options) {
  Shape const image{clean.x.dim(1), clean.x.dim(2), clean.x.dim(3)};
  if (config.style_image != "partner") {
    Tensor const one =
        config.style_image == "texture" ? wave_texture(image) : image_from_file(config.style_image, image);
    return gather_rows(one.to(clean.x.device()), std::vector<int64_t>(static_cast<size_t>(clean.size()), 0));
  }
  Batch const& pool = options.partners.x.defined() ? options.partners : whole;
  DrawKey const key = draw_key(Nst::name, options, Purpose::split, 0, 0);
  std::vector<int64_t> const rows = draw_partner_rows(clean, pool, key, 1, PartnerClass::other);
  require(std::find(rows.begin(), rows.end(), -1) == rows.end(),
          "attack nst: style_image=partner needs clean images of another class");
  return gather_rows(pool.x, rows).to(clean.x.device());
}

void Nst::fields(Fields& f) {
  f.integer("steps", steps, "steps of Adam", 0, 1000000);
  f.number("rate", rate, "Adam's learning rate, in pixel units", 0, 1);
  f.number("content_weight", content_weight, "weight of the distance to the image's own features", 0, 1e12);
  f.number("style_weight", style_weight, "weight of the distance to the style's gram matrices", 0, 1e12);
  f.number("adversarial_weight", adversarial_weight, "weight of the cross-entropy, which is made large", 0, 1e12);
  f.number("eps", eps, "L-infinity bound, in pixel units; 1: none", 0, 1);
  f.text("content", content, "feature that is kept; auto: the network's last stage");
  f.text("style", style, "features that are restyled, joined by +; auto: the first of each size");
  f.text("style_image", style_image, "texture (waves), partner (a clean image of another class) or an .npy file");
}

namespace {

const AttackRegistry::Add nst(
    {
        .name = Nst::name,
        .summary = "neural style transfer: the image keeps its content and takes on another image's style",
        .paper = "Gatys, Ecker & Bethge, Image style transfer using convolutional neural networks, CVPR 2016, eq. (1) "
                 "to (7)",
        .rule = "minimise by Adam from x on, limited to [0, 1]:\n"
                "L = w_c |F_c(x') - F_c(x)|^2 / elements + w_s sum_l |G_l(x') - G_l(s)|^2 / (4 C_l^2 (H_l W_l)^2)\n"
                "    - w_a CE(f(x'), y)\n"
                "F_l: features of the attacked network, G_l = F_l^T F_l over pixels, s: the style image",
        .facts = {{"norm", "linf"},
                  {"access", "white"},
                  {"targeted", "no"},
                  {"draws", "none; style_image=partner: the partner"},
                  {"cost", "steps gradients of features"}},
    },
    default_fields<Nst>(), [](const Spec& spec) -> std::unique_ptr<Attack> {
      return std::make_unique<NstAttack>(configure<Nst>(spec, std::string("attack ") + Nst::name));
    });

}  // namespace
}  // namespace mith
