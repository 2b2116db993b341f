// Losses, one value an image: reductions are the caller's (attacks sum, training averages by weight).
#pragma once
#include "engine/autograd/tape.h"
#include "kernels/row/pair_loss.h"

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
/// Means over each image's elements of |a - b|, of (a - b)^2: a and b [n, ...] -> [n]. |a - b| has slope 0 at 0.
Tensor l1_loss(const Tensor& a, const Tensor& b);
Tensor mse_loss(const Tensor& a, const Tensor& b);
/// Mean over each image's logits [n, ...] of the binary cross-entropy of sigmoid(logit) against targets in [0, 1] of
/// the same shape -> [n]. The targets are constants.
Tensor bce_with_logits(const Tensor& logits, const Tensor& targets);
/// x [n,h,w,c] -> [n,c,c]: factor * the products of all pairs of channels, summed over pixels (Gatys et al. 2016).
Tensor gram_matrix(const Tensor& x, double factor = 1);

/// Softmax over the last dimension.
Tensor softmax(const Tensor& logits);

struct CrossEntropyNode final : Node {
  Tensor logits, labels;
  CrossEntropyOptions options;
  std::string_view name() const override { return "cross_entropy"; }
  std::vector<Attribute> attributes() const override;
  void backward(Gradients&) override;
};

struct SoftmaxNode final : Node {
  Tensor output;
  std::string_view name() const override { return "softmax"; }
  void backward(Gradients&) override;
};

/// What the losses of two tensors share; each has a node of its own name.
struct PairLossNode : Node {
  PairLoss kind;
  Tensor a, b;
  explicit PairLossNode(PairLoss k) : kind(k) {}
  void backward(Gradients&) override;
};

struct L1LossNode final : PairLossNode {
  L1LossNode() : PairLossNode(PairLoss::l1) {}
  std::string_view name() const override { return "l1_loss"; }
};

struct MseLossNode final : PairLossNode {
  MseLossNode() : PairLossNode(PairLoss::mse) {}
  std::string_view name() const override { return "mse_loss"; }
};

struct BceWithLogitsNode final : PairLossNode {
  BceWithLogitsNode() : PairLossNode(PairLoss::bce_with_logits) {}
  std::string_view name() const override { return "bce_with_logits"; }
};

struct GramMatrixNode final : Node {
  Tensor input;
  double factor = 1;
  std::string_view name() const override { return "gram_matrix"; }
  std::vector<Attribute> attributes() const override;
  void backward(Gradients&) override;
};

}  // namespace mith
