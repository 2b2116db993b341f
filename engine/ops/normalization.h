// Batch normalisation (Ioffe & Szegedy 2015).
#pragma once
#include "engine/autograd/tape.h"

namespace mith {

struct BatchNormState {
  Tensor running_mean, running_var;  ///< [c], updated in place by training passes (unbiased variance, as PyTorch)
  double momentum = 0.1, epsilon = 1e-5;
};

/// Eval mode: y = (x - running_mean) / sqrt(running_var + epsilon) * weight + bias over the last dimension.
Tensor batch_norm_eval(const Tensor& x, const Tensor& weight, const Tensor& bias, const BatchNormState&);
/// Training mode: statistics of this batch (at least two values a channel), running statistics updated if `update`.
Tensor batch_norm_train(const Tensor& x, const Tensor& weight, const Tensor& bias, BatchNormState&, bool update = true);

/// Both modes; in evaluation the statistics are constants.
struct BatchNormNode final : Node {
  bool training = false;
  double epsilon = 0;
  Tensor input;  ///< kept in training, or if the gradients of weight or bias may be asked for
  Tensor weight, bias, mean, inverse_std;
  std::string_view name() const override { return "batch_norm"; }
  std::vector<Attribute> attributes() const override;
  void backward(Gradients&) override;
};

}  // namespace mith
