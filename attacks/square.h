// The Square attack (Andriushchenko et al. 2020): random search with square windows, on scores alone.
#pragma once
#include "attacks/score.h"

namespace mith {

struct Square {
  static constexpr const char* name = "square";
  std::string norm = "linf";  ///< or "l2"
  float eps = 8 / 255.f;
  int64_t queries = 5000;
  float p_init = 0.8f;
  bool rescale = true;
  int64_t target = -1;

  Threat threat() const { return {.norm = norm, .eps = eps, .access = "score", .target = target}; }
  AttackResult run(Classifier&, const Batch&, const AttackOptions&) const;
  void fields(Fields&);

  /// Side of the windows of iteration i = 0, 1, ... in images of h * w pixels: that of a square of a share p of them,
  /// with p falling from p_init in halves.
  int64_t side(int64_t iteration, int64_t h, int64_t w) const;
};

/// A share of `whole` that halves after 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000 of 10000 iterations.
float halving_schedule(float whole, int64_t iteration);
/// The bump of side s, f32 [s * s] of L2 norm 1: its upper half positive, its lower half negative (the L2 form's eta).
std::vector<float> square_bump(int64_t side);
/// A positive bump of h * w with its peak in the centre, of L2 norm 1.
std::vector<double> centred_bump(int64_t h, int64_t w);

}  // namespace mith
