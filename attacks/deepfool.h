// DeepFool (Moosavi-Dezfooli, Fawzi & Frossard 2016): step after step onto the nearest boundary of the linearised
// network.
#pragma once
#include "attacks/attack.h"

namespace mith {

/// The original limits the image to [0, 1] at the end, this one after every step: whatever it judges is an image.
struct DeepFool {
  static constexpr const char* name = "deepfool";
  std::string norm = "l2";
  int steps = 50;
  float overshoot = 0.02f;
  int candidates = 10;  ///< classes of the largest clean logits, the label among them

  Threat threat() const { return {.norm = norm}; }
  AttackResult run(Classifier&, const Batch&, const AttackOptions&) const;
  void fields(Fields&);
};

}  // namespace mith
