// Losses, one value an image: reductions are the caller's (attacks sum, training averages by weight).
#pragma once
#include "engine/autograd/tape.h"

namespace mith {

struct CrossEntropyOptions {
  double label_smoothing = 0;
  Tensor class_weights;  ///< f32 [k] or undefined: an image's loss is multiplied by its class's weight
  /// The gradient is divided by 1 - p_y, an exact positive factor per image: it keeps its direction and cannot
  /// underflow when the network is certain. For attacks, whose steps only use the direction; the loss itself is
  /// unchanged.
  bool direction_only = false;
};

/// Softmax cross-entropy: logits [n,k], labels i32 [n] -> [n].
Tensor cross_entropy(const Tensor& logits, const Tensor& labels, const CrossEntropyOptions& = {});
/// Softmax over the last dimension. Not recorded.
Tensor softmax(const Tensor& logits);

}  // namespace mith
