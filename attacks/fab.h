// FAB, the fast adaptive boundary attack (Croce & Hein 2020): minimum-norm in L-infinity, L2 and L1.
#pragma once
#include "attacks/attack.h"

namespace mith {

/// Towards the nearest of all classes, linearised: K - 1 gradients a step.
struct Fab {
  static constexpr const char* name = "fab";
  std::string norm = "linf";
  float eps = -1;  ///< further away is no success; negative: any distance counts
  int steps = 100, restarts = 1;
  float alpha_max = 0.1f, eta = 1.05f, beta = 0.9f;

  Threat threat() const { return {.norm = norm, .eps = eps}; }
  AttackResult run(Classifier&, const Batch&, const AttackOptions&) const;
  void fields(Fields&);
};

/// Towards one class after another, by rank of the clean logits: one gradient a step.
struct FabT : Fab {
  static constexpr const char* name = "fab-t";
  int targets = 9;

  AttackResult run(Classifier&, const Batch&, const AttackOptions&) const;
  void fields(Fields&);
};

}  // namespace mith
