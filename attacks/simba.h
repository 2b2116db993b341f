// SimBA (Guo et al. 2019): single steps along random directions of an orthonormal basis, kept where they help.
#pragma once
#include "attacks/score.h"

namespace mith {

struct Simba {
  static constexpr const char* name = "simba";
  std::string basis = "dct";   ///< or "pixel"
  float eps = 0.2f;            ///< length of a step
  std::string order = "rand";  ///< or "strided"
  int64_t freq_dims = 14;      ///< side of the (first) square of frequencies
  int64_t stride = 7;          ///< strided: rows and columns by which it grows
  int64_t queries = 10000;
  int64_t target = -1;

  Threat threat() const { return {.norm = "l2", .eps = -1, .access = "score", .target = target}; }
  AttackResult run(Classifier&, const Batch&, const AttackOptions&) const;
  void fields(Fields&);
};

}  // namespace mith
