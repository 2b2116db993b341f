// Device memory between guard bands, for tests that call kernels directly.
#pragma once
#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "engine/tensor/tensor.h"
#include "kernels/launch/philox.h"

namespace mith {

/// f32 values with a guard band on both sides.
class GuardedValues {
 public:
  explicit GuardedValues(const std::vector<float>& values) : n_(values.size()) {
    std::vector<float> all(n_ + 2 * band, guard);
    std::copy(values.begin(), values.end(), all.begin() + band);
    tensor_ = Tensor::from(all, {int64_t(all.size())});
  }
  float* data() const { return tensor_.data<float>() + band; }
  /// The values; fails if a guard was overwritten.
  std::vector<float> read() const {
    std::vector<float> const all = tensor_.to_host<float>();
    for (size_t i = 0; i < band; ++i) {
      CHECK(all[i] == guard);
      CHECK(all[band + n_ + i] == guard);
    }
    return {all.begin() + band, all.end() - band};
  }

 private:
  static constexpr size_t band = 16;
  static constexpr float guard = 777;
  size_t n_;
  Tensor tensor_;
};

/// n draws from U(low, high).
inline std::vector<float> uniform_values(size_t n, uint64_t seed, float low = 0, float high = 1) {
  std::vector<float> v;
  for (size_t i = 0; i < n; ++i) v.push_back(low + (high - low) * uniform({.seed = seed}, 0, i));
  return v;
}

}  // namespace mith
