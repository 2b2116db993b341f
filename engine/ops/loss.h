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
struct MarginOptions {
  Tensor others;         ///< i32 [n] or undefined: the class to compare each label with
  bool by_rank = false;  ///< divides by the spread of the logits (DLR)
};

/// The lead of the strongest rival over the label: max_{i != y} z_i - z_y, or z_other - z_y; logits [n,k], k >= 2,
/// labels i32 [n] -> [n]. `by_rank` divides it by z_(1) - z_(3), with `others` by z_(1) - (z_(3) + z_(4)) / 2, plus
/// 1e-12, z_(r) the r-th largest logit (Croce & Hein 2020, eq. 6 and 7): a value that no scaling of the logits changes.
/// Of three classes both divide by z_(1) - z_(3), of two none does. The lowest index leads among equal logits. An image
/// with a label or other outside [0, k), or with a NaN among the logits it ranks, gets NaN.
Tensor margin_loss(const Tensor& logits, const Tensor& labels, const MarginOptions& = {});
/// KL(p || softmax(z)): logits [n,k], p [n,k] non-negative with rows that sum to 1 -> [n]. The probabilities are
/// constants.
Tensor kl_divergence(const Tensor& probabilities, const Tensor& logits);

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

struct MarginLossNode final : Node {
  Tensor logits, labels;
  MarginOptions options;
  std::string_view name() const override { return "margin_loss"; }
  std::vector<Attribute> attributes() const override;
  void backward(Gradients&) override;
};

struct KlDivergenceNode final : Node {
  Tensor probabilities, logits;
  std::string_view name() const override { return "kl_divergence"; }
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
