#include "engine/classifier/classifier.h"

#include <optional>

#include "engine/ops/ops.h"

namespace mith {
namespace {

Tensor pick(const Tensor& t, const std::vector<int64_t>& rows) { return t.defined() ? gather_rows(t, rows) : t; }

void check_batch(const Batch& b, const Shape& image, const std::string& name) {
  check(b.x.defined() && b.x.shape().rank() == 4 && b.x.shape().with(0, 0) == Shape{0, image[0], image[1], image[2]},
        name, ": images of shape ", b.x.shape(), " for a model of [n, ", image[0], ", ", image[1], ", ", image[2], "]");
  check(!b.y.defined() || (b.y.dtype() == DType::i32 && b.y.shape() == Shape{b.size()}), name, ": labels ",
        name_of(b.y.dtype()), " ", b.y.shape(), " for ", b.size(), " images");
  check(!b.ids.defined() || (b.ids.dtype() == DType::i64 && b.ids.shape() == Shape{b.size()}), name, ": ids ",
        name_of(b.ids.dtype()), " ", b.ids.shape(), " for ", b.size(), " images");
}

bool is_one_class_an_image(const Tensor& t, int64_t images) {
  return t.defined() && t.dtype() == DType::i32 && t.shape() == Shape{images};
}

void check_cotangent(const Batch& b, const Cotangent& cotangent, const Want& want, int64_t classes,
                     const std::string& name) {
  const Loss* const loss = std::get_if<Loss>(&cotangent);
  check(loss || !want.loss, name, ": a loss is wanted but the cotangent is not a loss");
  if (!loss || !(want.loss || want.input_gradient)) return;
  if (loss->kind == Loss::kl) {
    const Tensor& p = loss->probabilities;
    check(p.defined() && p.dtype() == DType::f32 && p.shape() == Shape{b.size(), classes}, name,
          ": a divergence needs f32 probabilities of ", b.size(), " images and ", classes, " classes");
    return;
  }
  check(is_one_class_an_image(loss->labels, b.size()), name, ": the loss needs i32 labels of ", b.size(), " images");
  check(!loss->others.defined() || is_one_class_an_image(loss->others, b.size()), name,
        ": the classes to compare with must be i32, one for each of ", b.size(), " images");
}

/// What a pass over no images gives.
Outputs empty_outputs(const Batch& b, const Want& want, int64_t classes) {
  Outputs out;
  if (want.logits) out.logits = Tensor::empty({0, classes}, b.x.dtype(), b.x.device());
  if (want.loss) out.loss = Tensor::empty({0}, b.x.dtype(), b.x.device());
  if (want.input_gradient) out.input_gradient = Tensor::empty_like(b.x);
  return out;
}

const Tensor& feature(const std::map<std::string, Tensor>& features, const std::string& wanted,
                      const std::string& name) {
  auto const it = features.find(wanted);
  if (it != features.end()) return it->second;
  std::string known;
  for (auto const& [key, value] : features) known += (known.empty() ? "" : ", ") + key;
  throw UsageError(cat(name, " has no feature '", wanted, "'; it has ", known.empty() ? "none" : known));
}

/// What OnOutputs differentiates, each output with its weights.
std::vector<std::pair<Tensor, Tensor>> weighted_outputs(const OnOutputs& on_outputs, const Outputs& out,
                                                        const std::map<std::string, Tensor>& features,
                                                        const std::string& name) {
  NoTape const pause;  // what computes the weights is no part of the pass
  std::vector<std::pair<Tensor, Tensor>> outputs;
  for (auto const& [output, weights] : on_outputs.weights(out)) {
    outputs.emplace_back(output == "logits" ? out.logits : feature(features, output, name), weights);
    check(weights.shape() == outputs.back().first.shape(), name, ": a cotangent of ", weights.shape(), " for ",
          outputs.back().first.shape());
  }
  return outputs;
}

}  // namespace

Batch select(const Batch& b, const std::vector<int64_t>& rows) {
  return {pick(b.x, rows), pick(b.y, rows), pick(b.ids, rows)};
}

Cotangent select(const Cotangent& cotangent, const std::vector<int64_t>& rows) {
  Cotangent picked = cotangent;
  if (auto* loss = std::get_if<Loss>(&picked)) {
    for (Tensor* t : {&loss->labels, &loss->others, &loss->probabilities}) *t = pick(*t, rows);
  } else if (auto* logits = std::get_if<OnLogits>(&picked)) {
    logits->weights = pick(logits->weights, rows);
  } else if (auto* feature = std::get_if<OnFeature>(&picked)) {
    feature->weights = pick(feature->weights, rows);
  } else {
    throw Error("rows of a function of a pass's outputs");
  }
  return picked;
}

Batch slice(const Batch& b, int64_t first, int64_t count) {
  auto const pick = [&](const Tensor& t) { return t.defined() ? t.rows(first, count) : t; };
  return {pick(b.x), pick(b.y), pick(b.ids)};
}

Tensor loss_of(const Tensor& logits, const Loss& loss) {
  auto const value = [&] {
    switch (loss.kind) {
      case Loss::margin:
      case Loss::dlr:
        return margin_loss(logits, loss.labels, {.others = loss.others, .by_rank = loss.kind == Loss::dlr});
      case Loss::kl:
        return kl_divergence(loss.probabilities, logits);
      case Loss::cross_entropy:
        break;
    }
    return cross_entropy(logits, loss.labels, {.direction_only = loss.direction_only});
  };
  return loss.targeted ? scale(value(), -1) : value();
}

Outputs Classifier::evaluate(const Batch& b, const Cotangent& cotangent, const Want& want, const DrawKey& key) {
  check_batch(b, image_shape(), name());
  check_cotangent(b, cotangent, want, classes(), name());
  if (b.size() == 0) return empty_outputs(b, want, classes());
  Outputs out = run(b, cotangent, want, key);
  usage_.forwards += b.size();
  if (want.input_gradient) usage_.gradients += b.size();
  return out;
}

Tensor Classifier::logits(const Batch& b, const DrawKey& key) {
  return evaluate(b, Loss{}, {.logits = true}, key).logits;
}

NetworkClassifier::NetworkClassifier(Network& network, std::string name, Weights weights)
    : network_(network), name_(std::move(name)) {
  if (weights == changing) return;
  std::vector<const void*> values;
  for (auto const& [path, parameter] : network.parameters()) values.push_back(parameter->value.raw());
  fixed_ = std::make_unique<FixedWeights>(values);
}

Shape NetworkClassifier::image_shape() const {
  NetworkOptions const& o = network_.network_options();
  return {o.height, o.width, o.channels};
}

Outputs NetworkClassifier::run(const Batch& b, const Cotangent& cotangent, const Want& want, const DrawKey& key) {
  FixedWeights::Use const use(fixed_.get());
  const Loss* const loss = std::get_if<Loss>(&cotangent);
  const OnFeature* const on_feature = std::get_if<OnFeature>(&cotangent);
  std::optional<Tape> tape;
  std::optional<NoTape> no_tape;
  if (want.input_gradient)
    tape.emplace().watch(b.x);
  else
    no_tape.emplace();

  std::map<std::string, Tensor> features;
  Context context{.ids = b.ids, .key = key};
  if (!want.features.empty() || on_feature) context.features = &features;
  Tensor const logits = network_(b.x, context);

  Outputs out;
  if (want.logits) out.logits = logits;
  for (const std::string& f : want.features) {
    if (f == all_features)
      out.features.insert(features.begin(), features.end());
    else
      out.features[f] = feature(features, f, name_);
  }
  if (!want.loss && !want.input_gradient) return out;

  if (auto const* const on_outputs = std::get_if<OnOutputs>(&cotangent)) {
    Outputs told{.logits = logits, .loss = {}, .input_gradient = {}, .features = out.features};
    out.input_gradient = tape->gradients(weighted_outputs(*on_outputs, told, features, name_), {b.x}).front();
    if (!out.input_gradient.defined()) out.input_gradient = Tensor::zeros_like(b.x);
    return out;
  }

  // The output whose weighted sum is differentiated, and the weights.
  Tensor output = logits, weights;
  if (loss) {
    output = loss_of(logits, *loss);
    weights = Tensor::full(output.shape(), 1, output.dtype(), output.device());
    if (want.loss) out.loss = output;
  } else if (on_feature) {
    output = feature(features, on_feature->name, name_);
    weights = on_feature->weights;
  } else {
    weights = std::get<OnLogits>(cotangent).weights;
  }
  if (want.input_gradient) {
    check(weights.shape() == output.shape(), name_, ": a cotangent of ", weights.shape(), " for ", output.shape());
    out.input_gradient = tape->gradient(output, weights, b.x);
    // A model that does not depend on the image at all has no path to it.
    if (!out.input_gradient.defined()) out.input_gradient = Tensor::zeros_like(b.x);
  }
  return out;
}

}  // namespace mith
