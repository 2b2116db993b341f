// The layers of transformers. Initial values follow PyTorch's defaults.
#pragma once
#include "engine/nn/layers.h"

namespace mith {

class LayerNorm final : public Module {
 public:
  explicit LayerNorm(int64_t channels, double epsilon = 1e-5);

 protected:
  Tensor forward(const Tensor&, Context&) override;
  void initialise_own(const DrawKey&) override;

 private:
  Parameter& weight_;
  Parameter& bias_;
  double epsilon_;
};

/// Self-attention [n,t,c] -> [n,t,c] with PyTorch's parameter names: in_proj_weight, in_proj_bias, out_proj.
class MultiheadAttention final : public Module {
 public:
  MultiheadAttention(int64_t channels, int64_t heads);

 protected:
  Tensor forward(const Tensor&, Context&) override;
  void initialise_own(const DrawKey&) override;

 private:
  int64_t heads_;
  Parameter& in_weight_;
  Parameter& in_bias_;
  Linear& out_;
};

}  // namespace mith
