// Adversarial training (Madry et al. 2018): the training loop asks for an attacked twin of every batch, made against
// the current weights. Mixed with the clean batch by TrainerOptions::adversarial_weight.
#pragma once
#include <memory>
#include <string>

#include "attacks/attack.h"
#include "engine/train/batch_source.h"

namespace mith {

/// For Trainer::perturbations: every image is attacked once and the last iterate trained on, with draws that differ
/// from step to step. Batch norm is in eval mode meanwhile and its statistics stay as they are. A NaN gradient throws
/// Error if `strict`; otherwise the first batch with one is warned of.
PerturbBatch adversarial_perturbation(std::shared_ptr<const Attack> attack, bool strict = false);
PerturbBatch adversarial_perturbation(const std::string& attack_spec, bool strict = false);

/// For Trainer::validation_attack: the attack as an evaluation runs it, with restarts and the best iterate.
PerturbBatch validation_perturbation(std::shared_ptr<const Attack> attack, bool strict = false);
PerturbBatch validation_perturbation(const std::string& attack_spec, bool strict = false);

}  // namespace mith
