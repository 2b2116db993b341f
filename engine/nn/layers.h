// The layers networks are built from. Initial values follow PyTorch's defaults.
#pragma once
#include <functional>

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
    double deviation = 0;  ///< of the initial weights, drawn normal, with zero biases; 0: PyTorch's default
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

/// A transposed square convolution with bias (see conv_transpose2d). PyTorch's weight is [in, out, kernel, kernel].
class ConvTranspose2d final : public Module {
 public:
  struct Options {
    int64_t in = 0, out = 0, kernel = 3;
    ConvTranspose2dOptions window;
    double deviation = 0;  ///< as Conv2d's
  };
  explicit ConvTranspose2d(const Options&);
  const Options options;

 protected:
  Tensor forward(const Tensor&, Context&) override;
  void initialise_own(const DrawKey&) override;

 private:
  Parameter& weight_;
  Parameter& bias_;
};

class Linear final : public Module {
 public:
  struct Options {
    int64_t in = 0, out = 0;
    bool bias = true;
    Activation activation = Activation::none;
    OuterLayout layout;    ///< for the layer behind a flatten, or before its opposite
    double deviation = 0;  ///< as Conv2d's
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

struct BatchNormOptions {
  Activation activation = Activation::none;  ///< in the same pass
  double momentum = 0.1, epsilon = 1e-5;
};

class BatchNorm final : public Module {
 public:
  explicit BatchNorm(int64_t channels, const BatchNormOptions& = {});
  using Module::operator();
  /// activation(norm(x) + residual), in one pass.
  Tensor operator()(const Tensor& x, const Tensor& residual, Context&);

 protected:
  Tensor forward(const Tensor& x, Context& context) override { return normalised(x, {}, context); }
  void initialise_own(const DrawKey&) override;

 private:
  Tensor normalised(const Tensor& x, const Tensor& residual, Context&);
  Parameter& weight_;
  Parameter& bias_;
  Parameter& mean_;
  Parameter& variance_;
  Parameter& batches_;  ///< num_batches_tracked, i64 scalar, as PyTorch keeps it
  BatchNormOptions options_;
};

/// Layers one after another, named "0", "1", ... as PyTorch's Sequential names them.
class Sequential final : public Module {
 public:
  using Function = std::function<Tensor(const Tensor&, Context&)>;
  /// The next layer, built from these arguments.
  template <class M, class... Arguments>
  M& then(Arguments&&... arguments) {
    auto layer = std::make_unique<M>(std::forward<Arguments>(arguments)...);
    M& added = *layer;
    then(std::move(layer));
    return added;
  }
  /// The next layer.
  Module& then(std::unique_ptr<Module> layer);
  /// A layer without parameters, which PyTorch counts all the same.
  Sequential& then(Function);
  Sequential& then(Tensor (*)(const Tensor&));
  /// A number for a layer of PyTorch's that is done elsewhere, as a ReLU in a convolution's epilogue.
  Sequential& skip();

 protected:
  Tensor forward(const Tensor&, Context&) override;

 private:
  std::vector<Function> layers_;  ///< empty ones are skipped
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
