// Optimisers over a module's trainable parameters, updated in place by one fused kernel a parameter.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "engine/nn/module.h"

namespace mith {

/// A state tensor of an optimiser, saved beside the parameter it belongs to (same outer layout).
struct OptimizerState {
  std::string name;  ///< "<parameter>.exp_avg", ...
  Tensor value;
  OuterLayout layout;
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  /// One update from gradients in the order of parameters(); undefined gradients leave their parameter alone.
  void step(const std::vector<Tensor>& gradients);
  const std::vector<Module::Named>& parameters() const { return parameters_; }
  double learning_rate = 1e-3;
  std::vector<double> learning_rate_scale;  ///< per parameter, 1 by default
  int64_t steps = 0;
  /// Updates that each parameter has had: fewer than `steps` for one that was frozen at first.
  std::vector<int64_t> updates;
  /// Every state tensor, for checkpoints; writing into them restores.
  virtual std::vector<OptimizerState> state() = 0;
  virtual std::string name() const = 0;

 protected:
  explicit Optimizer(std::vector<Module::Named> parameters);
  virtual void update(size_t index, Tensor& value, const Tensor& gradient, double rate) = 0;

 private:
  std::vector<Module::Named> parameters_;
};

struct SgdOptions {
  double learning_rate = 0.1, momentum = 0.9, weight_decay = 0;
  bool nesterov = false;
};
/// decoupled: AdamW (Loshchilov & Hutter 2019); otherwise weight decay joins the gradient (Kingma & Ba 2015).
struct AdamOptions {
  double learning_rate = 1e-3, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0;
  bool decoupled = false;
};

std::unique_ptr<Optimizer> make_sgd(std::vector<Module::Named>, const SgdOptions& = {});
std::unique_ptr<Optimizer> make_adam(std::vector<Module::Named>, const AdamOptions& = {});
/// "adam", "adamw" or "sgd" with defaults; throws UsageError with a suggestion.
std::unique_ptr<Optimizer> make_optimizer(const std::string& name, std::vector<Module::Named>, double learning_rate);

}  // namespace mith
