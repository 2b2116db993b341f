#include "defenses/adversarial_training.h"

namespace mith {
namespace {

PerturbBatch perturbation(std::shared_ptr<const Attack> attack, bool evaluation) {
  return [attack = std::move(attack), evaluation](Classifier& model, const Batch& clean, int64_t step,
                                                  const DrawKey& key) {
    AttackOptions options;
    options.seed = key.seed;
    options.step = step;
    options.evaluation = evaluation;
    return attack->run(model, clean, options).adversarial;
  };
}

}  // namespace

PerturbBatch adversarial_perturbation(std::shared_ptr<const Attack> attack) {
  return perturbation(std::move(attack), false);
}
PerturbBatch adversarial_perturbation(const std::string& attack_spec) {
  return adversarial_perturbation(make_attack(attack_spec));
}
PerturbBatch validation_perturbation(std::shared_ptr<const Attack> attack) {
  return perturbation(std::move(attack), true);
}
PerturbBatch validation_perturbation(const std::string& attack_spec) {
  return validation_perturbation(make_attack(attack_spec));
}

}  // namespace mith
