// Dropout keyed by image, so that a draw does not depend on batch size or order.
#pragma once
#include "engine/autograd/tape.h"
#include "kernels/launch/philox.h"

namespace mith {

/// Zeroes each element with probability p and scales the rest by 1/(1-p). x [n, ...], ids i64 [n].
Tensor dropout(const Tensor& x, double p, const Tensor& ids, const DrawKey& key);

/// The mask is drawn again instead of kept.
struct DropoutNode final : Node {
  double p = 0;
  Tensor ids;
  DrawKey key;
  std::string_view name() const override { return "dropout"; }
  std::vector<Attribute> attributes() const override;
  void backward(Gradients&) override;
};

}  // namespace mith
