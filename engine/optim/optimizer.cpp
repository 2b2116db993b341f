#include "engine/optim/optimizer.h"

#include <cmath>

#include "engine/spec/spec.h"
#include "kernels/launch/table.h"

namespace mith {
namespace {

template <class T>
const Kernel<T*, T*, const T*, double, double, double, int, int, int64_t> sgd_step{"sgd_step", dtype_of<T>};
template <class T>
const Kernel<T*, T*, T*, const T*, double, double, double, double, double, int, double, double, int64_t> adam_step{
    "adam_step", dtype_of<T>};

class Sgd final : public Optimizer {
 public:
  Sgd(std::vector<Module::Named> parameters, const SgdOptions& o) : Optimizer(std::move(parameters)), options_(o) {
    learning_rate = o.learning_rate;
    if (o.momentum > 0)
      for (auto const& p : this->parameters()) momentum_.push_back(Tensor::zeros_like(p.parameter->value));
  }
  std::string name() const override { return "sgd"; }
  std::vector<OptimizerState> state() override {
    std::vector<OptimizerState> all;
    for (size_t i = 0; i < momentum_.size(); ++i)
      all.push_back({parameters()[i].name + ".momentum", momentum_[i], parameters()[i].parameter->layout});
    return all;
  }

 protected:
  void update(size_t i, Tensor& value, const Tensor& gradient, double rate) override {
    dispatch(value.dtype(), [&](auto zero) {
      using T = decltype(zero);
      T* const buffer = momentum_.empty() ? nullptr : momentum_[i].data<T>();
      sgd_step<T>(value.stream(), value.data<T>(), buffer, gradient.data<T>(), rate, options_.momentum,
                  options_.weight_decay, options_.nesterov, updates[i] == 1, value.numel());
    });
  }

 private:
  SgdOptions options_;
  std::vector<Tensor> momentum_;
};

class Adam final : public Optimizer {
 public:
  Adam(std::vector<Module::Named> parameters, const AdamOptions& o) : Optimizer(std::move(parameters)), options_(o) {
    learning_rate = o.learning_rate;
    for (auto const& p : this->parameters()) {
      first_.push_back(Tensor::zeros_like(p.parameter->value));
      second_.push_back(Tensor::zeros_like(p.parameter->value));
    }
  }
  std::string name() const override { return options_.decoupled ? "adamw" : "adam"; }
  std::vector<OptimizerState> state() override {
    std::vector<OptimizerState> all;
    for (size_t i = 0; i < first_.size(); ++i) {
      all.push_back({parameters()[i].name + ".exp_avg", first_[i], parameters()[i].parameter->layout});
      all.push_back({parameters()[i].name + ".exp_avg_sq", second_[i], parameters()[i].parameter->layout});
    }
    return all;
  }

 protected:
  void update(size_t i, Tensor& value, const Tensor& gradient, double rate) override {
    double const t = static_cast<double>(updates[i]);
    double const correction1 = 1 - std::pow(options_.beta1, t), correction2 = 1 - std::pow(options_.beta2, t);
    dispatch(value.dtype(), [&](auto zero) {
      using T = decltype(zero);
      adam_step<T>(value.stream(), value.data<T>(), first_[i].data<T>(), second_[i].data<T>(), gradient.data<T>(), rate,
                   options_.beta1, options_.beta2, options_.epsilon, options_.weight_decay, options_.decoupled,
                   correction1, correction2, value.numel());
    });
  }

 private:
  AdamOptions options_;
  std::vector<Tensor> first_, second_;
};

}  // namespace

Optimizer::Optimizer(std::vector<Module::Named> parameters)
    : learning_rate_scale(parameters.size(), 1.0), updates(parameters.size(), 0), parameters_(std::move(parameters)) {}

void Optimizer::step(const std::vector<Tensor>& gradients) {
  check(gradients.size() == parameters_.size(), name(), ": ", gradients.size(), " gradients for ", parameters_.size(),
        " parameters");
  ++steps;
  for (size_t i = 0; i < gradients.size(); ++i)
    if (gradients[i].defined()) {
      Tensor& value = parameters_[i].parameter->value;
      check(gradients[i].shape() == value.shape(), name(), ": gradient ", gradients[i].shape(), " for ",
            parameters_[i].name, " ", value.shape());
      ++updates[i];
      update(i, value, gradients[i], learning_rate * learning_rate_scale[i]);
    }
}

std::unique_ptr<Optimizer> make_sgd(std::vector<Module::Named> parameters, const SgdOptions& options) {
  return std::make_unique<Sgd>(std::move(parameters), options);
}

std::unique_ptr<Optimizer> make_adam(std::vector<Module::Named> parameters, const AdamOptions& options) {
  return std::make_unique<Adam>(std::move(parameters), options);
}

std::unique_ptr<Optimizer> make_optimizer(const std::string& name, std::vector<Module::Named> parameters,
                                          double learning_rate) {
  require(learning_rate > 0, "the learning rate must be positive, not ", learning_rate);
  if (name == "sgd") return make_sgd(std::move(parameters), {.learning_rate = learning_rate});
  if (name == "adam") return make_adam(std::move(parameters), {.learning_rate = learning_rate});
  if (name == "adamw")
    return make_adam(std::move(parameters), {.learning_rate = learning_rate, .weight_decay = 0.01, .decoupled = true});
  throw UsageError(cat("unknown optimizer '", name, "'", suggestion(name, {"adam", "adamw", "sgd"})));
}

}  // namespace mith
