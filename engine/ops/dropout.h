// Dropout keyed by image, so that a draw does not depend on batch size or order.
#pragma once
#include "engine/autograd/tape.h"
#include "kernels/launch/philox.h"

namespace mith {

/// Zeroes each element with probability p and scales the rest by 1/(1-p). x [n, ...], ids i64 [n].
Tensor dropout(const Tensor& x, double p, const Tensor& ids, const DrawKey& key);

/// Stochastic depth by image (Huang et al. 2016; torchvision's mode "row"): with probability p an image becomes zero,
/// else it is scaled by 1/(1-p). x [n, ...], ids i64 [n], p in [0, 1].
Tensor stochastic_depth(const Tensor& x, double p, const Tensor& ids, const DrawKey& key);

/// The mask is drawn again instead of kept.
struct DropoutNode final : Node {
  double p = 0;
  Tensor ids;
  DrawKey key;
  std::string_view name() const override { return "dropout"; }
  std::vector<Attribute> attributes() const override;
  void backward(Gradients&) override;
};

struct StochasticDepthNode final : Node {
  double p = 0;
  Tensor ids;
  DrawKey key;
  std::string_view name() const override { return "stochastic_depth"; }
  std::vector<Attribute> attributes() const override;
  void backward(Gradients&) override;
};

}  // namespace mith
