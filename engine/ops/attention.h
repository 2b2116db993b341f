// Multi-head self-attention between its two projections (Vaswani et al. 2017, eq. 1).
#pragma once
#include "engine/autograd/tape.h"

namespace mith {

/// softmax(Q K^T / sqrt(d)) V by image and head. qkv [n,t,3c]: queries, keys and values side by side, each `heads`
/// vectors of d = c / heads -> [n,t,c].
Tensor self_attention(const Tensor& qkv, int64_t heads);

/// The same into y [n,t,c], not recorded; and the gradient dqkv [n,t,3c] of the sum of y * dy.
void self_attention_into(const Tensor& y, const Tensor& qkv, int64_t heads);
void self_attention_gradient_into(const Tensor& dqkv, const Tensor& qkv, const Tensor& dy, int64_t heads);

/// Keeps its input alone. Backward computes the attention weights [heads,t,t] again, a few images at a time: one
/// product more, and memory that does not grow with the batch.
struct SelfAttentionNode final : Node {
  Tensor qkv;
  int64_t heads = 1;
  std::string_view name() const override { return "self_attention"; }
  std::vector<Attribute> attributes() const override;
  int64_t flops() const override;
  void backward(Gradients&) override;
  Tensor again(const std::vector<Tensor>& values) const override;
};

}  // namespace mith
