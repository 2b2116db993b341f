#include "attacks/attack.h"

#include <algorithm>
#include <cmath>

#include "attacks/bim.h"
#include "engine/ops/arithmetic.h"

namespace mith {
namespace {

void check_range(const Batch& sample) {
  for (float v : sample.x.to_host<float>())
    require(v >= 0 && v <= 1, "images must lie in [0, 1]; a pixel is ", v, " (do not normalise: the model does)");
}

/// Largest difference of two sets of logits relative to their size; NaN if any is NaN.
double difference(const std::vector<float>& a, const std::vector<float>& b) {
  double most = 0, size = 1;
  for (size_t i = 0; i < a.size(); ++i) {
    double const d = std::abs(double(a[i]) - double(b[i]));
    if (!(d <= most)) most = d;
    size = std::max(size, std::abs(double(a[i])));
    if (std::isnan(most)) break;
  }
  return most / size;
}

/// Images whose gradient is zero everywhere.
int64_t images_without_gradient(const Tensor& gradient) {
  auto const values = gradient.to_host<float>();
  size_t const n = static_cast<size_t>(gradient.dim(0)), size = values.size() / n;
  int64_t count = 0;
  for (size_t i = 0; i < n; ++i) {
    auto const first = values.begin() + static_cast<std::ptrdiff_t>(i * size);
    count += std::all_of(first, first + static_cast<std::ptrdiff_t>(size), [](float v) { return v == 0; });
  }
  return count;
}

/// An attack with no budget must give the images back, and with them the predictions.
void check_zero_budget(Classifier& model, const Batch& sample, const Tensor& logits, const DrawKey& key) {
  Iterative<Bim> const nothing(Bim{.eps = 0, .alpha = 0.1f, .steps = 2});
  Tensor const same = nothing.run(model, sample, {.seed = key.seed}).adversarial;
  check(same.to_host<float>() == sample.x.to_host<float>(), model.name(),
        ": an attack with eps=0 changed the images: its data path is wrong");
  if (model.randomised()) return;
  Tensor const again = model.logits({same, sample.y, sample.ids}, key);
  check(argmax(again).to_host<int32_t>() == argmax(logits).to_host<int32_t>(), model.name(),
        ": predictions through an attack with eps=0 differ from the plain ones");
}

}  // namespace

bool look_like_probabilities(const Tensor& logits) {
  auto const z = logits.to_host<float>();
  size_t const k = static_cast<size_t>(logits.dim(1));
  for (size_t row = 0; row < z.size(); row += k) {
    double sum = 0;
    for (size_t c = 0; c < k; ++c) {
      if (!(z[row + c] >= 0 && z[row + c] <= 1)) return false;
      sum += z[row + c];
    }
    if (!(std::abs(sum - 1) <= 1e-5)) return false;
  }
  return true;
}

std::unique_ptr<Attack> make_attack(const std::string& spec) {
  auto attack = AttackRegistry::make(Spec::parse(spec), "attack");
  // Default radii are those of single pixels: in L2 they would make every network look robust.
  Spec given = Spec::parse(spec), full = Spec::parse(attack->spec());
  auto const norm = full.take("norm"), eps = full.take("eps");
  require(norm != "l2" || !eps || given.take("eps") || parse_number(*eps, "eps") < 0, "attack ", given.name,
          ": norm=l2 needs an eps");
  return attack;
}

std::vector<std::string> sanity_gate(Classifier& model, const Batch& sample, const DrawKey& key) {
  if (sample.size() == 0) return {};
  check_range(sample);
  Tensor const logits = model.logits(sample, key);
  check(!look_like_probabilities(logits), model.name(),
        ": the logits look like probabilities (every row lies in [0, 1] and sums to 1); attacks need the values before "
        "the softmax");
  DrawKey other = key;
  other.step += 1;
  double const apart = difference(logits.to_host<float>(), model.logits(sample, other).to_host<float>());
  check(!std::isnan(apart), model.name(), ": the logits are NaN");
  check(model.randomised() || apart <= 1e-4, model.name(), ": two passes over the same images differ by ", apart,
        " of the logits' size; a random model must say so, or its accuracy is luck");
  check_zero_budget(model, sample, logits, key);

  std::vector<std::string> warnings;
  Outputs const out = model.evaluate(sample, attack_loss(sample, -1), {.input_gradient = true}, key);
  int64_t const flat = images_without_gradient(out.input_gradient);
  if (10 * flat > sample.size())  // some images may well sit on a plateau; a tenth of them is a sign of masking
    warnings.push_back(cat("the loss has no gradient at ", flat, " of ", sample.size(),
                           " images: gradient attacks will fail there, which is not robustness; add a score-based "
                           "attack"));
  return warnings;
}

}  // namespace mith
