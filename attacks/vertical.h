// The vertical perturbation: every image column gets one offset a channel. The source names the attack without defining
// it (an Alzheimer MRI study with FGSM and Square beside it), so this definition is the project's own.
#pragma once
#include "attacks/score.h"

namespace mith {

struct Vertical {
  static constexpr const char* name = "vertical";
  float eps = 8 / 255.f;
  std::string mode = "search";  ///< random | search | grad
  int64_t queries = 1000;       ///< search
  float p_init = 0.5f;          ///< search
  int steps = 10;               ///< grad
  float alpha = 0;              ///< grad; 0: eps / 4
  int64_t target = -1;

  Threat threat() const {
    return {.norm = "linf", .eps = eps, .access = mode == "grad" ? "white" : "score", .target = target};
  }
  AttackResult run(Classifier&, const Batch&, const AttackOptions&) const;
  void fields(Fields&);
  float resolved_alpha() const { return alpha > 0 ? alpha : eps / 4; }
  /// Columns that one query of the search redraws, in images of w columns.
  int64_t width(int64_t iteration, int64_t w) const;
};

}  // namespace mith
