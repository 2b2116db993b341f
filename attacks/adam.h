// Adam as attacks use it (Kingma & Ba 2015, algorithm 1): the value moves and is limited in one kernel.
#pragma once
#include <vector>

#include "engine/tensor/tensor.h"

namespace mith {

/// The moments of one value, any f32 tensor; they begin at zero with the first step.
struct Adam {
  double rate = 0.01, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  Tensor exp_avg, exp_avg_sq;
  int64_t steps = 0;

  /// value <- clamp(value + rate mhat / (sqrt(vhat) + epsilon), low, high). Elements whose gradient is not finite
  /// count as zero, and in `nan_count` (i64 [1]).
  void ascend(Tensor& value, const Tensor& gradient, float low, float high, Tensor& nan_count) {
    move(rate, value, gradient, low, high, nan_count);
  }
  void descend(Tensor& value, const Tensor& gradient, float low, float high, Tensor& nan_count) {
    move(-rate, value, gradient, low, high, nan_count);
  }
  /// Keeps these rows of the moments, in that order, as the value's are kept.
  void keep(const std::vector<int64_t>& rows);

 private:
  void move(double signed_rate, Tensor& value, const Tensor& gradient, float low, float high, Tensor& nan_count);
};

}  // namespace mith
