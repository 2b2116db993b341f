// The kernel table as a whole, and the optimisers' kernels against their rules in f64.
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "engine/tensor/tensor.h"
#include "kernels/launch/table.h"

using namespace mith;

namespace {

// Wrong on purpose.
const Kernel<float*, int64_t> absent{"no_such_kernel"};
const Kernel<float*, int64_t> mistyped{"relu_forward_f32"};

const Kernel<double*, double*, const double*, double, double, double, int, int, int64_t> sgd_step{"sgd_step",
                                                                                                  DType::f64};
const Kernel<double*, double*, double*, const double*, double, double, double, double, double, int, double, double,
             int64_t>
    adam_step{"adam_step", DType::f64};

std::string error_of(const KernelBase& kernel) {
  try {
    kernel.resolve(Device::cpu);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("every declared kernel resolves on every device that is here") {
  REQUIRE(declared_kernels().size() > 50);
  for (Device device : {Device::cpu, Device::simt, Device::cuda}) {
    if (!available(device)) continue;
    for (const KernelBase* kernel : declared_kernels()) {
      if (kernel == &absent || kernel == &mistyped) continue;
      CAPTURE(kernel->name());
      CAPTURE(name_of(device));
      // The native provider's kernels are each written for one kind of device, and it asks before it calls.
      bool const native = kernel->name().starts_with("matmul") || kernel->name().starts_with("conv2d");
      if (!native || kernel->exists(device)) CHECK_NOTHROW(kernel->resolve(device));
    }
  }
}

TEST_CASE("a kernel that does not exist, or is not called as it is defined, is refused by name") {
  CHECK(error_of(absent) == "no kernel named no_such_kernel for cpu");
  CHECK(error_of(mistyped).starts_with("kernel relu_forward_f32 is called as "));
}

TEST_CASE("sgd_step: momentum, Nesterov and weight decay") {
  double const rate = 0.1, momentum = 0.9, decay = 0.01;
  std::vector<double> const gradients{0.5, -0.25, 1.5};
  for (bool nesterov : {false, true}) {
    for (bool with_buffer : {false, true}) {
      Tensor const value = Tensor::full({1}, 2, DType::f64), buffer = Tensor::full({1}, 100, DType::f64);
      double v = 2, m = 0;
      for (size_t t = 0; t < gradients.size(); ++t) {
        Tensor const g = Tensor::full({1}, gradients[t], DType::f64);
        sgd_step(value.stream(), value.data<double>(), with_buffer ? buffer.data<double>() : nullptr, g.data<double>(),
                 rate, momentum, decay, nesterov, t == 0, 1);
        double const d = gradients[t] + decay * v;
        m = t == 0 ? d : momentum * m + d;
        v -= rate * (!with_buffer ? d : nesterov ? d + momentum * m : m);
        CHECK(std::abs(value.to_host<double>()[0] - v) <= 1e-15);  // a few roundings near 2
      }
    }
  }
}

TEST_CASE("adam_step: coupled and decoupled decay") {
  double const rate = 0.01, beta1 = 0.8, beta2 = 0.95, epsilon = 1e-6, decay = 0.1;
  std::vector<double> const gradients{0.5, -0.25, 1.5, 1e-9};
  for (bool decoupled : {false, true}) {
    Tensor const value = Tensor::full({1}, 2, DType::f64), first = Tensor::zeros({1}, DType::f64),
                 second = Tensor::zeros({1}, DType::f64);
    double v = 2, m = 0, s = 0;
    for (size_t t = 1; t <= gradients.size(); ++t) {
      Tensor const g = Tensor::full({1}, gradients[t - 1], DType::f64);
      double const c1 = 1 - std::pow(beta1, double(t)), c2 = 1 - std::pow(beta2, double(t));
      adam_step(value.stream(), value.data<double>(), first.data<double>(), second.data<double>(), g.data<double>(),
                rate, beta1, beta2, epsilon, decay, decoupled, c1, c2, 1);
      double const d = gradients[t - 1] + (decoupled ? 0 : decay * v);
      if (decoupled) v -= rate * decay * v;
      m = beta1 * m + (1 - beta1) * d;
      s = beta2 * s + (1 - beta2) * d * d;
      v -= rate * (m / c1) / (std::sqrt(s / c2) + epsilon);
      CHECK(std::abs(value.to_host<double>()[0] - v) <= 1e-14);  // a few dozen roundings near 2
    }
  }
}
