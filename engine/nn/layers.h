// The layers networks are built from. Initial values follow PyTorch's defaults.
#pragma once
#include "engine/nn/module.h"
#include "engine/ops/ops.h"

namespace mith {

class Conv2d final : public Module {
 public:
  struct Options {
    int64_t in = 0, out = 0, kernel_h = 3, kernel_w = 3;
    Conv2dOptions window;
    bool bias = true;
    Activation activation = Activation::none;
  };
  explicit Conv2d(const Options&);
  const Options options;

 protected:
  Tensor forward(const Tensor&, Context&) override;
  void initialise_own(const DrawKey&) override;

 private:
  Parameter& weight_;
  Parameter* bias_;
};

class Linear final : public Module {
 public:
  struct Options {
    int64_t in = 0, out = 0;
    bool bias = true;
    Activation activation = Activation::none;
    OuterLayout layout;  ///< linear_after_flatten for the layer behind a flatten
  };
  explicit Linear(const Options&);
  const Options options;

 protected:
  Tensor forward(const Tensor&, Context&) override;
  void initialise_own(const DrawKey&) override;

 private:
  Parameter& weight_;
  Parameter* bias_;
};

class BatchNorm final : public Module {
 public:
  explicit BatchNorm(int64_t channels, double momentum = 0.1, double epsilon = 1e-5);

 protected:
  Tensor forward(const Tensor&, Context&) override;
  void initialise_own(const DrawKey&) override;

 private:
  Parameter& weight_;
  Parameter& bias_;
  Parameter& mean_;
  Parameter& variance_;
  Parameter& batches_;  ///< num_batches_tracked, i64 scalar, as PyTorch keeps it
  double momentum_, epsilon_;
};

class Dropout final : public Module {
 public:
  explicit Dropout(double p) : p_(p) {}

 protected:
  Tensor forward(const Tensor&, Context&) override;

 private:
  double p_;
};

}  // namespace mith
