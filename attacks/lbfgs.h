// L-BFGS in the box, the attack with which Szegedy et al. 2014 found adversarial examples.
#pragma once
#include "attacks/attack.h"

namespace mith {

/// min c |r|_2^2 + CE(f(x + r), t) with x + r in [0, 1], and a line search for the c whose minimiser only just
/// succeeds, image by image. The paper's attack is targeted. Without a target, t is the class of the second largest
/// clean logit and any class but the label is a success: -CE of the label instead has no minimum that c could move to
/// the boundary. Of more than two classes the minimum is not the nearest success, because the cross-entropy pushes
/// every other class away too: on linear models by up to a third.
struct Lbfgs {
  static constexpr const char* name = "lbfgs";
  int search_steps = 9, steps = 100;
  float c = 1;
  int64_t target = -1;

  Threat threat() const { return {.norm = "l2", .target = target}; }
  AttackResult run(Classifier&, const Batch&, const AttackOptions&) const;
  void fields(Fields&);
};

}  // namespace mith
