// The kernel table as a whole, and the optimisers' kernels against their rules in f64.
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "engine/tensor/tensor.h"
#include "kernels/launch/table.h"
#include "kernels/providers/provider.h"

using namespace mith;

namespace {

// Wrong on purpose.
const Kernel<float*, int64_t> absent{"no_such_kernel"};
const Kernel<float*, int64_t> mistyped{"relu_forward_f32"};

template <class T>
const Kernel<T*, T*, const T*, double, double, double, int, int, int64_t> sgd_step{"sgd_step", dtype_of<T>};
template <class T>
const Kernel<T*, T*, T*, const T*, double, double, double, double, double, int, double, double, int64_t> adam_step{
    "adam_step", dtype_of<T>};
const Kernel<float*, int64_t, int64_t, int64_t> relu_in_place{"relu_in_place"};
template <class T>
const Kernel<Epilogue, int64_t, int64_t, const void*> reference_column_sums{"reference_column_sums", dtype_of<T>};

/// Enough elements for several warps and blocks; every one takes the same steps.
constexpr int64_t many = 700;

/// Largest distance of an element from `expected`; NaN is infinitely far.
double distance_from(const Tensor& t, double expected) {
  double worst = 0;
  for (double v : t.cast(DType::f64).to_host<double>()) {
    double const d = std::abs(v - expected);
    if (!(d <= worst)) worst = std::isnan(d) ? 1e300 : d;
  }
  return worst;
}

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

template <class T>
void check_sgd(double tolerance) {
  double const rate = 0.1, momentum = 0.9, decay = 0.01;
  std::vector<double> const gradients{0.5, -0.25, 1.5};
  for (bool nesterov : {false, true}) {
    for (bool with_buffer : {false, true}) {
      Tensor const value = Tensor::full({many}, 2, dtype_of<T>), buffer = Tensor::full({many}, 100, dtype_of<T>);
      double v = 2, m = 0;
      for (size_t t = 0; t < gradients.size(); ++t) {
        Tensor const g = Tensor::full({many}, gradients[t], dtype_of<T>);
        sgd_step<T>(value.stream(), value.data<T>(), with_buffer ? buffer.data<T>() : nullptr, g.data<T>(), rate,
                    momentum, decay, nesterov, t == 0, many);
        double const d = gradients[t] + decay * v;
        m = t == 0 ? d : momentum * m + d;
        v -= rate * (!with_buffer ? d : nesterov ? d + momentum * m : m);
        CHECK(distance_from(value, v) <= tolerance);
      }
    }
  }
}

TEST_CASE("sgd_step: momentum, Nesterov and weight decay") {
  check_sgd<double>(1e-15);  // a few roundings near 2
  check_sgd<float>(1e-6);
}

template <class T>
void check_adam(double tolerance) {
  double const rate = 0.01, beta1 = 0.8, beta2 = 0.95, epsilon = 1e-6, decay = 0.1;
  std::vector<double> const gradients{0.5, -0.25, 1.5, 1e-9};
  for (bool decoupled : {false, true}) {
    Tensor const value = Tensor::full({many}, 2, dtype_of<T>), first = Tensor::zeros({many}, dtype_of<T>),
                 second = Tensor::zeros({many}, dtype_of<T>);
    double v = 2, m = 0, s = 0;
    for (size_t t = 1; t <= gradients.size(); ++t) {
      Tensor const g = Tensor::full({many}, gradients[t - 1], dtype_of<T>);
      double const c1 = 1 - std::pow(beta1, double(t)), c2 = 1 - std::pow(beta2, double(t));
      adam_step<T>(value.stream(), value.data<T>(), first.data<T>(), second.data<T>(), g.data<T>(), rate, beta1, beta2,
                   epsilon, decay, decoupled, c1, c2, many);
      double const d = gradients[t - 1] + (decoupled ? 0 : decay * v);
      if (decoupled) v -= rate * decay * v;
      m = beta1 * m + (1 - beta1) * d;
      s = beta2 * s + (1 - beta2) * d * d;
      v -= rate * (m / c1) / (std::sqrt(s / c2) + epsilon);
      CHECK(distance_from(value, v) <= tolerance);
    }
  }
}

TEST_CASE("adam_step: coupled and decoupled decay") {
  check_adam<double>(1e-14);  // a few dozen roundings near 2
  check_adam<float>(4e-6);
}

TEST_CASE("relu_in_place: rows of a wider matrix, NaN kept, the rest untouched") {
  int64_t const rows = 37, columns = 70, pitch = 75;
  std::vector<float> values(size_t(rows * pitch)), expected;
  for (size_t i = 0; i < values.size(); ++i) values[i] = i % 11 == 5 ? std::nanf("") : float(i % 7) - 3;
  for (size_t i = 0; i < values.size(); ++i) {
    bool const inside = int64_t(i) % pitch < columns;
    expected.push_back(inside && values[i] < 0 ? 0 : values[i]);
  }
  Tensor const t = Tensor::from(values, {rows, pitch});
  relu_in_place(t.stream(), t.data<float>(), rows, columns, pitch);
  std::vector<float> const got = t.to_host<float>();
  int64_t wrong = 0;
  for (size_t i = 0; i < got.size(); ++i)
    wrong += std::isnan(expected[i]) ? !std::isnan(got[i]) : !(got[i] == expected[i]);
  CHECK(wrong == 0);
}

TEST_CASE_TEMPLATE("reference_column_sums", T, float, double) {
  int64_t const rows = 5, columns = 33;
  std::vector<T> values;
  std::vector<float> sums(size_t(columns), 0), squares(size_t(columns), 0);
  for (int64_t i = 0; i < rows * columns; ++i) values.push_back(T(i % 9) - 4);
  for (size_t i = 0; i < values.size(); ++i) {
    sums[i % size_t(columns)] += float(values[i]);
    squares[i % size_t(columns)] += float(values[i] * values[i]);
  }
  Tensor const y = Tensor::from(values, {rows, columns}), s = Tensor::zeros({columns}), q = Tensor::zeros({columns});
  Epilogue epilogue;
  epilogue.column_sum = s.data<float>();
  epilogue.column_sum_squares = q.data<float>();
  reference_column_sums<T>(y.stream(), epilogue, rows, columns, y.raw());
  CHECK(s.to_host<float>() == sums);
  CHECK(q.to_host<float>() == squares);
}
