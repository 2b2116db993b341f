// One step of Adam for one element (Kingma & Ba 2015, algorithm 1), for the kernels that differ in what they do with
// it.
#pragma once
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

/// The constants of step t, rounded once from double: 1 - beta2 computed in f32 would be off by 1e-5 of itself.
template <class T>
struct AdamMove {
  T beta1, share1, beta2, share2;  ///< of the old moment and of the gradient
  T epsilon;
  T step;                      ///< rate / (1 - beta1^t)
  T inverse_sqrt_correction2;  ///< 1 / sqrt(1 - beta2^t)

  /// `t` counts from 1.
  AdamMove(double rate, double b1, double b2, double eps, int64_t t)
      : beta1(T(b1)),
        share1(T(1 - b1)),
        beta2(T(b2)),
        share2(T(1 - b2)),
        epsilon(T(eps)),
        step(T(rate / (1 - std::pow(b1, double(t))))),
        inverse_sqrt_correction2(T(1 / std::sqrt(1 - std::pow(b2, double(t))))) {}

  /// Updates both moments with the gradient; returns what to add to the value when ascending.
  MITH_DEVICE T operator()(T& exp_avg, T& exp_avg_sq, T gradient) const {
    T const m = beta1 * exp_avg + share1 * gradient;
    T const v = beta2 * exp_avg_sq + share2 * gradient * gradient;
    exp_avg = m;
    exp_avg_sq = v;
    return step * m / (std::sqrt(v) * inverse_sqrt_correction2 + epsilon);
  }
};

}  // namespace mith::MITH_SPACE
