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

/// Softmax cross-entropy: logits [n,k], labels i32 [n] -> [n]. An image whose label lies outside [0, k) gets NaN, in
/// the loss and in the gradient. direction_only needs k >= 2 and no label smoothing.
Tensor cross_entropy(const Tensor& logits, const Tensor& labels, const CrossEntropyOptions& = {});
/// Softmax over the last dimension. Not recorded.
Tensor softmax(const Tensor& logits);

struct CrossEntropyNode final : Node {
  Tensor logits, labels;
  CrossEntropyOptions options;
  std::string_view name() const override { return "cross_entropy"; }
  std::vector<Attribute> attributes() const override;
  void backward(Gradients&) override;
};

}  // namespace mith
