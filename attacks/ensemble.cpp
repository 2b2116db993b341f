#include "attacks/ensemble.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "attacks/draws.h"
#include "engine/ops/arithmetic.h"
#include "engine/spec/spec.h"

namespace mith {
namespace {

/// Log-probabilities of each row of logits [n,k].
std::vector<double> log_softmax(const Tensor& logits) {
  auto const z = logits.to_host<float>();
  size_t const k = static_cast<size_t>(logits.dim(1));
  std::vector<double> log_p(z.begin(), z.end());
  for (size_t row = 0; row < log_p.size(); row += k) {
    auto const first = log_p.begin() + static_cast<std::ptrdiff_t>(row);
    double const most = *std::max_element(first, first + static_cast<std::ptrdiff_t>(k));
    double sum = 0;
    for (size_t c = 0; c < k; ++c) sum += std::exp(log_p[row + c] - most);
    for (size_t c = 0; c < k; ++c) log_p[row + c] -= most + std::log(sum);
  }
  return log_p;
}

/// log of the mean of the members' probabilities. A few numbers an image: on the host, in double.
Tensor log_mean_softmax(const std::vector<Tensor>& logits) {
  std::vector<std::vector<double>> members;
  members.reserve(logits.size());
  for (const Tensor& z : logits) members.push_back(log_softmax(z));
  std::vector<float> fused;
  for (size_t i = 0; i < members.front().size(); ++i) {
    double most = members.front()[i], sum = 0;
    for (auto const& log_p : members) most = std::max(most, log_p[i]);
    for (auto const& log_p : members) sum += std::exp(log_p[i] - most);
    fused.push_back(static_cast<float>(most + std::log(sum / static_cast<double>(members.size()))));
  }
  return Tensor::from(fused, logits.front().shape(), logits.front().device());
}

/// What weights on the fused log-probabilities are on one member's logits: with r_c = p_c / (members * fused p_c),
/// w_c r_c - p_c sum_j w_j r_j.
Tensor through_log_mean_softmax(const Tensor& logits, const Tensor& fused, const Tensor& weights, size_t members) {
  auto const log_p = log_softmax(logits);
  auto const of_fused = fused.to_host<float>(), w = weights.to_host<float>();
  size_t const k = static_cast<size_t>(logits.dim(1));
  std::vector<float> out(log_p.size());
  for (size_t row = 0; row < log_p.size(); row += k) {
    std::vector<double> shared(k);
    double sum = 0;
    for (size_t c = 0; c < k; ++c) {
      shared[c] = double(w[row + c]) * std::exp(log_p[row + c] - double(of_fused[row + c])) / double(members);
      sum += shared[c];
    }
    for (size_t c = 0; c < k; ++c) out[row + c] = static_cast<float>(shared[c] - std::exp(log_p[row + c]) * sum);
  }
  return Tensor::from(out, logits.shape(), logits.device());
}

Tensor mean_of(const std::vector<Tensor>& values) {
  Tensor sum = values.front().clone();
  for (size_t i = 1; i < values.size(); ++i) add_in_place(sum, values[i]);
  return scale(sum, 1.0 / static_cast<double>(values.size()));
}

/// "0/stage4" as member and feature; -1 where it is not of that form.
std::pair<int64_t, std::string> split_feature(const std::string& name) {
  size_t const slash = name.find('/');
  if (slash == std::string::npos || slash == 0 || slash > 6) return {-1, name};
  for (size_t i = 0; i < slash; ++i)
    if (name[i] < '0' || name[i] > '9') return {-1, name};
  return {std::stoll(name.substr(0, slash)), name.substr(slash + 1)};
}

/// Draws of its own for each member; the first keeps the caller's. In the seed, as model_key has it.
DrawKey member_key(DrawKey key, size_t member) {
  if (member > 0) key.seed = mixed_seed(key.seed, {{static_cast<uint32_t>(member), 0, 0, 0}});
  return key;
}

}  // namespace

Fusion parse_fusion(const std::string& text) {
  if (text == "logits") return Fusion::logits;
  if (text == "probabilities") return Fusion::probabilities;
  require(text == "loss", "fuse=", text, ": an ensemble is fused in logits, probabilities or loss",
          suggestion(text, {"logits", "probabilities", "loss"}));
  return Fusion::loss;
}

EnsembleClassifier::EnsembleClassifier(std::vector<Classifier*> members, Fusion fusion)
    : members_(std::move(members)), fusion_(fusion) {
  require(!members_.empty(), "an ensemble needs a network");
  for (const Classifier* m : members_) {
    require(m->image_shape() == image_shape(),
            "an ensemble's networks must take the same images: ", members_.front()->name(), " takes ", image_shape(),
            ", ", m->name(), " ", m->image_shape());
    require(m->classes() == classes(), "an ensemble's networks must know the same classes: ", members_.front()->name(),
            " has ", classes(), ", ", m->name(), " ", m->classes());
  }
}

bool EnsembleClassifier::randomised() const {
  return std::any_of(members_.begin(), members_.end(), [](const Classifier* m) { return m->randomised(); });
}

bool EnsembleClassifier::consistent() const {
  return std::all_of(members_.begin(), members_.end(), [](const Classifier* m) { return m->consistent(); });
}

std::string EnsembleClassifier::name() const {
  std::string all;
  for (const Classifier* m : members_) all += (all.empty() ? "" : ", ") + m->name();
  const char* const where = fusion_ == Fusion::logits          ? "logits"
                            : fusion_ == Fusion::probabilities ? "probabilities"
                                                               : "loss";
  return cat("ensemble of ", all, " (", where, ")");
}

std::string EnsembleClassifier::gradient_path() const {
  std::string all;
  bool same = true;
  for (const Classifier* m : members_) {
    same = same && m->gradient_path() == members_.front()->gradient_path();
    all += cat(all.empty() ? "" : "; ", m->name(), ": ", m->gradient_path());
  }
  return same ? members_.front()->gradient_path() : all;
}

/// A member's own features among those wanted.
Outputs EnsembleClassifier::member_outputs(size_t member, const Batch& b, const Cotangent& cotangent, const Want& want,
                                           const DrawKey& key) {
  Want own = want;
  own.features.clear();
  for (const std::string& name : want.features) {
    auto const [index, feature] = split_feature(name);
    require(index >= 0 && index < static_cast<int64_t>(members_.size()), "feature '", name,
            "': an ensemble's features are named as 0/stage4, the member first");
    if (index == static_cast<int64_t>(member)) own.features.push_back(feature);
  }
  return members_[member]->evaluate(b, cotangent, own, member_key(key, member));
}

Outputs EnsembleClassifier::run(const Batch& b, const Cotangent& cotangent, const Want& want, const DrawKey& key) {
  const Loss* const loss = std::get_if<Loss>(&cotangent);
  check(!std::holds_alternative<OnOutputs>(cotangent), name(), ": functions of its outputs have no gradient");
  if (loss && fusion_ == Fusion::loss && (want.loss || want.input_gradient)) return mean_of_losses(b, *loss, want, key);

  Outputs out;
  std::vector<Tensor> logits;
  for (size_t i = 0; i < members_.size(); ++i) {
    Outputs const part = member_outputs(i, b, Loss{}, {.logits = true, .features = want.features}, key);
    logits.push_back(part.logits);
    for (auto const& [name, value] : part.features) out.features[cat(i, "/", name)] = value;
  }
  Tensor const fused = fusion_ == Fusion::probabilities ? log_mean_softmax(logits) : mean_of(logits);
  if (want.logits) out.logits = fused;
  if (const auto* feature = std::get_if<OnFeature>(&cotangent); feature && want.input_gradient) {
    auto const [index, name] = split_feature(feature->name);
    require(index >= 0 && index < static_cast<int64_t>(members_.size()), "feature '", feature->name,
            "': an ensemble's features are named as 0/stage4, the member first");
    size_t const member = static_cast<size_t>(index);
    out.input_gradient =
        member_outputs(member, b, OnFeature{name, feature->weights}, {.input_gradient = true}, key).input_gradient;
  } else if (loss && (want.loss || want.input_gradient)) {
    Tape tape;
    tape.watch(fused);
    Tensor const value = loss_of(fused, *loss);
    if (want.loss) out.loss = value;
    if (want.input_gradient) {
      Tensor const ones = Tensor::full(value.shape(), 1, value.dtype(), value.device());
      out.input_gradient = gradient_of_fused(b, logits, fused, tape.gradient(value, ones, fused), key);
    }
  } else if (want.input_gradient) {
    out.input_gradient = gradient_of_fused(b, logits, fused, std::get<OnLogits>(cotangent).weights, key);
  }
  return out;
}

/// Gradient of the weighted sum of the fused logits: a second pass of each member, weighted as fusing has it.
Tensor EnsembleClassifier::gradient_of_fused(const Batch& b, const std::vector<Tensor>& logits, const Tensor& fused,
                                             const Tensor& weights, const DrawKey& key) {
  NoTape const aside;  // members record on tapes of their own
  check(weights.shape() == fused.shape(), name(), ": a cotangent of ", weights.shape(), " for ", fused.shape());
  double const share = 1.0 / static_cast<double>(members_.size());
  Tensor sum = Tensor::zeros_like(b.x);
  for (size_t i = 0; i < members_.size(); ++i) {
    bool const probabilities = fusion_ == Fusion::probabilities;
    Tensor const own = probabilities ? through_log_mean_softmax(logits[i], fused, weights, members_.size()) : weights;
    add_in_place(sum, member_outputs(i, b, OnLogits{own}, {.input_gradient = true}, key).input_gradient,
                 probabilities ? 1 : share);
  }
  return sum;
}

Outputs EnsembleClassifier::mean_of_losses(const Batch& b, Loss loss, const Want& want, const DrawKey& key) {
  loss.direction_only = false;  // the members' gradients are weighed against each other
  std::vector<Tensor> logits, losses, gradients;
  Outputs out;
  for (size_t i = 0; i < members_.size(); ++i) {
    Outputs const part = member_outputs(i, b, loss, want, key);
    logits.push_back(part.logits);
    losses.push_back(part.loss);
    gradients.push_back(part.input_gradient);
    for (auto const& [name, value] : part.features) out.features[cat(i, "/", name)] = value;
  }
  if (want.logits) out.logits = mean_of(logits);
  if (want.loss) out.loss = mean_of(losses);
  if (want.input_gradient) out.input_gradient = mean_of(gradients);
  return out;
}

}  // namespace mith
