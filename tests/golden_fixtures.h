// What the comparisons with PyTorch share: weights and images as golden/reference.py draws them, and how far apart two
// results are.
#pragma once
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "engine/files/safetensors.h"
#include "engine/nn/network.h"
#include "kernels/launch/philox.h"
#include "kernels/providers/provider.h"

namespace mith::golden {

constexpr uint64_t seed = 2024;

inline uint32_t fnv1a(const std::string& text) {
  uint32_t hash = 2166136261u;
  for (char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return hash;
}

/// A tensor in its outer layout as golden/reference.py: fill draws it. `scale`: the variance of what a batch norm
/// normalises, which its statistics follow.
inline Tensor drawn(const std::string& name, const Shape& shape, double scale = 1) {
  constexpr int64_t period = 1048573;  // drawn values a parameter has at most; then they repeat
  DrawKey const key{.seed = seed, .step = fnv1a(name), .purpose = Purpose::initialise};
  int const rank = shape.rank();
  double factor = 1, shift = -0.5;  // a value is factor * (uniform + shift)
  if (rank == 2 || rank == 4)
    factor = 2 * std::sqrt(6.0 / static_cast<double>(shape.numel() / shape[0]));
  else if (name.ends_with("running_var"))
    factor = scale, shift = 0.5;
  else if (name.ends_with("running_mean"))
    factor = std::sqrt(scale);
  else if (rank == 1 && name.ends_with("weight"))
    shift = 0.5;
  Tensor tensor = Tensor::empty(shape, DType::f32, Device::cpu);
  float* const values = tensor.data<float>();
  for (int64_t i = 0; i < tensor.numel(); ++i)
    values[i] = i < period ? static_cast<float>((uniform(key, 0, static_cast<uint64_t>(i)) + shift) * factor)
                           : values[i - period];
  return tensor;
}

/// golden/reference.py: fill. `scales`: the variance that each batch norm expects of its input, in order; empty: 1.
inline void fill(Module& network, const std::vector<float>& scales = {}) {
  size_t means = 0, variances = 0;
  for (auto const& [name, parameter] : network.parameters()) {
    if (parameter->value.dtype() != DType::f32) continue;
    double scale = 1;
    if (!scales.empty() && name.ends_with("running_var")) scale = scales.at(variances++);
    if (!scales.empty() && name.ends_with("running_mean")) scale = scales.at(means++);
    Shape const outer = to_outer(parameter->value, parameter->layout).shape();
    parameter->value.copy_from(to_held(drawn(name, outer, scale), parameter->layout, parameter->value.shape()));
  }
}

/// golden/reference.py: images, [n,h,w,c].
inline Tensor images(const Shape& shape) {
  int64_t const size = shape.numel() / shape[0];
  std::vector<float> pixels;
  for (int64_t image = 0; image < shape[0]; ++image)
    for (int64_t i = 0; i < size; ++i)
      pixels.push_back(
          uniform({.seed = seed, .purpose = Purpose::noise}, static_cast<uint64_t>(image), static_cast<uint64_t>(i)));
  return Tensor::from(pixels, shape);
}

/// "cnn.safetensors" in tests/golden, or where a bundle has been unpacked.
inline std::string path(const std::string& file) {
  const char* const folder = std::getenv("MITH_GOLDEN");
  return cat(folder ? folder : MITH_SOURCE_DIR "/tests/golden", "/", file);
}

inline const Tensor& stored(const SafetensorsFile& file, const std::string& name) {
  const Tensor* const tensor = file.find(name);
  check(tensor != nullptr, "no tensor '", name, "' in the golden file");
  return *tensor;
}

inline std::vector<double> values_of(const Tensor& tensor) { return tensor.cast(DType::f64).to_host<double>(); }

inline double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i)
    if (!(std::abs(a[i] - b[i]) <= largest)) largest = std::abs(a[i] - b[i]);  // a NaN stays
  return largest;
}

inline double largest(const std::vector<double>& a) { return largest_difference(a, std::vector<double>(a.size())); }

inline double dot(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// ||a - b|| / ||b||
inline double relative_distance(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  std::vector<double> difference = a;
  for (size_t i = 0; i < a.size(); ++i) difference[i] -= b[i];
  return std::sqrt(dot(difference, difference) / dot(b, b));
}

/// Forces a provider for convolutions, and for matrix products if it has them.
struct Forced {
  explicit Forced(const std::string& name) {
    force_provider("conv2d", name);
    for (const MatmulProvider* provider : matmul_providers())
      if (provider->name() == name) force_provider("matmul", name);
  }
  ~Forced() { clear_forced_providers(); }
  Forced(const Forced&) = delete;
  Forced& operator=(const Forced&) = delete;
};

/// Names of the providers that convolve in f32 on the default device.
inline std::vector<std::string> f32_providers() {
  Conv2dProblem const problem{.shape = {.n = 1, .h = 8, .w = 8, .c = 32, .o = 64, .kh = 3, .kw = 3}};
  std::vector<std::string> names;
  for (const Conv2dProvider* provider : conv2d_providers())
    if (provider->supports(default_device(), problem)) names.emplace_back(provider->name());
  return names;
}

}  // namespace mith::golden
