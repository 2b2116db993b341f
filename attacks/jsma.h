// JSMA, the saliency map attack (Papernot et al. 2016): pairs of features, one after the other, towards one class.
#pragma once
#include "attacks/score.h"

namespace mith {

struct Jsma {
  static constexpr const char* name = "jsma";
  float theta = 1;
  float gamma = 0.1f;
  int64_t pool = 0;
  int64_t target = -1;

  Threat threat() const { return {.norm = "l0", .eps = -1, .access = "white", .target = target}; }
  AttackResult run(Classifier&, const Batch&, const AttackOptions&) const;
  void fields(Fields&);
  /// Pairs that may change in images of so many features: ceil(gamma features / 2).
  int64_t most_steps(int64_t features) const;
};

/// The attack's one move: changes in every image the pair of features that has not been changed before and maximises
/// -(a_p + a_q)(b_p + b_q), a the target logit's gradient and b that of the others' sum, among the pairs where the
/// first factor has theta's sign and the second the opposite one. Exact; ties go to the least (p, q). `sum` is the
/// gradient of the sum of all logits. pool > 0: only features among the `pool` largest a - b are considered. Returns
/// p * features + q of each image, -1 where there is no such pair.
std::vector<int64_t> jsma_step(Tensor& adv, const Tensor& x, const Tensor& target, const Tensor& sum, float theta,
                               int64_t pool, Tensor& nan_count);

}  // namespace mith
