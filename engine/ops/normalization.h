// Batch, layer, group and instance normalisation.
#pragma once
#include "engine/autograd/tape.h"
#include "kernels/providers/provider.h"

namespace mith {

struct BatchNormState {
  Tensor running_mean, running_var;  ///< [c], updated in place by training passes (unbiased variance, as PyTorch)
  double momentum = 0.1, epsilon = 1e-5;
};

/// What follows a batch norm in the same pass over memory: y = activation(norm(x) + residual), as residual networks end
/// their blocks.
struct BatchNormTail {
  Activation activation = Activation::none;
  Tensor residual = {};  ///< of x's shape; undefined: none
};

/// Batch norm (Ioffe & Szegedy 2015) in eval mode: y = (x - running_mean) / sqrt(running_var + epsilon) * weight + bias
/// over the last dimension.
Tensor batch_norm_eval(const Tensor& x, const Tensor& weight, const Tensor& bias, const BatchNormState&,
                       const BatchNormTail& = {});
/// Training mode: statistics of this batch (at least two values a channel), running statistics updated if `update`.
Tensor batch_norm_train(const Tensor& x, const Tensor& weight, const Tensor& bias, BatchNormState&, bool update = true,
                        const BatchNormTail& = {});

/// Layer norm (Ba et al. 2016): each row of x [..., c] minus its mean, over its deviation, times weight [c] plus bias
/// [c].
Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon = 1e-5);

/// Group norm (Wu & He 2018): the same over the pixels of an image and each of `groups` groups of neighbouring
/// channels. x [n,h,w,c], weight and bias [c], or both undefined.
Tensor group_norm(const Tensor& x, int64_t groups, const Tensor& weight, const Tensor& bias, double epsilon = 1e-5);
/// Every channel a group of its own (Ulyanov et al. 2016); without running statistics.
Tensor instance_norm(const Tensor& x, const Tensor& weight = {}, const Tensor& bias = {}, double epsilon = 1e-5);

/// Both modes; in evaluation the statistics are constants.
struct BatchNormNode final : Node {
  bool training = false;
  double epsilon = 0;
  Tensor input;  ///< kept in training, or if the gradients of weight or bias may be asked for
  Tensor weight, bias, mean, inverse_std;
  bool rectified = false;
  Tensor output;  ///< of a rectified one, kept unless the backward pass finds the ReLU's mask from the input
  bool mask_from_input() const { return rectified && !output.defined(); }
  std::string_view name() const override { return "batch_norm"; }
  std::vector<Attribute> attributes() const override;
  void backward(Gradients&) override;
};

struct LayerNormNode final : Node {
  double epsilon = 0;
  Tensor input, weight, mean, inverse_std;  ///< the last two by row
  std::string_view name() const override { return "layer_norm"; }
  std::vector<Attribute> attributes() const override;
  void backward(Gradients&) override;
  Tensor again(const std::vector<Tensor>& values) const override;
};

struct GroupNormNode final : Node {
  int64_t groups = 1;
  double epsilon = 0;
  Tensor input, weight, mean, inverse_std;  ///< the last two [n,c]
  std::string_view name() const override { return "group_norm"; }
  std::vector<Attribute> attributes() const override;
  void backward(Gradients&) override;
  Tensor again(const std::vector<Tensor>& values) const override;
};

}  // namespace mith
