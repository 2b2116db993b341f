// The one-pixel attack (Su et al. 2019): differential evolution over the places and colours of a few pixels.
#pragma once
#include "attacks/score.h"

namespace mith {

struct OnePixel {
  static constexpr const char* name = "onepixel";
  int pixels = 1;
  int generations = 100;
  int popsize = 400;
  float f_low = 0.5f, f_high = 1;  ///< the mutation factor is drawn anew for each generation
  float cr = 1;                    ///< chance that a gene is the mutant's
  float tol = 0.01f, atol = -1;    ///< stop when std(energies) <= atol + tol |mean|
  int64_t target = -1;

  Threat threat() const {
    return {.norm = "l0", .eps = static_cast<double>(pixels), .access = "score", .target = target};
  }
  AttackResult run(Classifier&, const Batch&, const AttackOptions&) const;
  void fields(Fields&);
  /// Candidates of a generation: `popsize` rounded down to whole genomes of `genes`, at least one of them, at least 5.
  int64_t population(int64_t genes) const;
};

}  // namespace mith
