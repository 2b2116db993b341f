// AutoAttack (Croce & Hein 2020): attacks in turn, each on the images that those before it left standing.
#pragma once
#include <string>
#include <vector>

#include "attacks/attack.h"

namespace mith {

struct AutoAttackOptions {
  std::string version = "standard";  ///< standard | plus | rand
  std::string norm = "linf";         ///< linf | l2
  float eps = 8 / 255.f;
  int steps = 100;     ///< of the gradient attacks
  int queries = 5000;  ///< of square
  void fields(Fields&);
};

/// The parts, as specs, for a model of so many classes: targets are at most all classes but one, and of two classes
/// every targeted attack is its untargeted one, which is run once.
std::vector<std::string> autoattack_parts(const AutoAttackOptions&, int64_t classes);

/// Whether a random model gets each image wrong in more than half of ten passes with draws of their own: one wrong
/// pass may be luck. `round` tells apart the draws of several votes.
std::vector<uint8_t> wrong_by_majority(Classifier&, const Batch&, const AttackOptions&, int round);

}  // namespace mith
