#include "defenses/adversarial_training.h"

#include "engine/train/progress.h"

namespace mith {
namespace {

PerturbBatch perturbation(std::shared_ptr<const Attack> attack, bool evaluation, bool strict) {
  return [attack = std::move(attack), evaluation, strict, warned = false](Classifier& model, const Batch& clean,
                                                                          int64_t step, const DrawKey& key) mutable {
    AttackOptions options;
    options.seed = key.seed;
    options.step = step;
    options.evaluation = evaluation;
    options.strict = strict;
    AttackResult const result = attack->run(model, clean, options);
    if (result.nan_gradients > 0 && !warned)
      warn(
          cat(attack->spec(), ": ", result.nan_gradients, " pixels of a batch had a NaN gradient and stayed in place"));
    warned |= result.nan_gradients > 0;
    return result.adversarial;
  };
}

}  // namespace

PerturbBatch adversarial_perturbation(std::shared_ptr<const Attack> attack, bool strict) {
  return perturbation(std::move(attack), false, strict);
}
PerturbBatch adversarial_perturbation(const std::string& attack_spec, bool strict) {
  return adversarial_perturbation(make_attack(attack_spec), strict);
}
PerturbBatch validation_perturbation(std::shared_ptr<const Attack> attack, bool strict) {
  return perturbation(std::move(attack), true, strict);
}
PerturbBatch validation_perturbation(const std::string& attack_spec, bool strict) {
  return validation_perturbation(make_attack(attack_spec), strict);
}

}  // namespace mith
