// Optimiser steps: value, state and gradient in one pass, one launch a parameter. Signatures (f32 and f64):
//
//   sgd_step   (T* value, T* momentum_or_null, const T* gradient, double rate, double momentum, double weight_decay,
//               int nesterov, int first, int64_t n)
//       `first`: the momentum buffer starts as the gradient, as PyTorch's does.
//   adam_step  (T* value, T* exp_avg, T* exp_avg_sq, const T* gradient, double rate, double beta1, double beta2,
//               double epsilon, double weight_decay, int decoupled, double correction1, double correction2, int64_t n)
//       value -= rate * (exp_avg / correction1) / (sqrt(exp_avg_sq / correction2) + epsilon);
//       correction = 1 - beta^t (Kingma & Ba 2015). `decoupled`: AdamW (Loshchilov & Hutter 2019).
#include "kernels/launch/bytes.h"
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

template <class T>
struct SgdRule {
  T rate, momentum, weight_decay;
  bool nesterov, first;
};

template <class T>
__global__ void sgd_step(T* __restrict__ value, const T* __restrict__ gradient, SgdRule<T> rule, int64_t n) {
  for (auto i : grid_stride(n)) value[i] -= rule.rate * (gradient[i] + rule.weight_decay * value[i]);
}

template <class T>
__global__ void sgd_momentum_step(T* __restrict__ value, T* __restrict__ momentum, const T* __restrict__ gradient,
                                  SgdRule<T> rule, int64_t n) {
  for (auto i : grid_stride(n)) {
    T const g = gradient[i] + rule.weight_decay * value[i];
    T const m = rule.first ? g : rule.momentum * momentum[i] + g;
    momentum[i] = m;
    value[i] -= rule.rate * (rule.nesterov ? g + rule.momentum * m : m);
  }
}

template <class T>
struct AdamRule {
  T beta1, beta2, epsilon;
  T coupled_decay;             ///< joins the gradient
  T kept;                      ///< decoupled decay: share of the value that stays
  T step;                      ///< rate / correction1
  T inverse_sqrt_correction2;  ///< of the second moment
};

template <class T>
__global__ void adam_step(T* __restrict__ value, T* __restrict__ exp_avg, T* __restrict__ exp_avg_sq,
                          const T* __restrict__ gradient, AdamRule<T> rule, int64_t n) {
  for (auto i : grid_stride(n)) {
    T const g = gradient[i] + rule.coupled_decay * value[i];
    T const m = rule.beta1 * exp_avg[i] + (1 - rule.beta1) * g;
    T const v = rule.beta2 * exp_avg_sq[i] + (1 - rule.beta2) * g * g;
    exp_avg[i] = m;
    exp_avg_sq[i] = v;
    value[i] = rule.kept * value[i] - rule.step * m / (std::sqrt(v) * rule.inverse_sqrt_correction2 + rule.epsilon);
  }
}

template <class T>
void launch_sgd_step(const Stream& stream, T* value, T* momentum, const T* gradient, double rate, double factor,
                     double weight_decay, int nesterov, int first, int64_t n) {
  SgdRule<T> const rule{T(rate), T(factor), T(weight_decay), nesterov != 0, first != 0};
  if (momentum)
    launch_map(stream, {"sgd_momentum_step", n, bytes_of<T>(5, n)}, sgd_momentum_step<T>, value, momentum, gradient,
               rule, n);
  else
    launch_map(stream, {"sgd_step", n, bytes_of<T>(3, n)}, sgd_step<T>, value, gradient, rule, n);
}

template <class T>
void launch_adam_step(const Stream& stream, T* value, T* exp_avg, T* exp_avg_sq, const T* gradient, double rate,
                      double beta1, double beta2, double epsilon, double weight_decay, int decoupled,
                      double correction1, double correction2, int64_t n) {
  AdamRule<T> const rule{.beta1 = T(beta1),
                         .beta2 = T(beta2),
                         .epsilon = T(epsilon),
                         .coupled_decay = T(decoupled ? 0 : weight_decay),
                         .kept = T(decoupled ? 1 - rate * weight_decay : 1),
                         .step = T(rate / correction1),
                         .inverse_sqrt_correction2 = T(1 / std::sqrt(correction2))};
  launch_map(stream, {"adam_step", n, bytes_of<T>(7, n)}, adam_step<T>, value, exp_avg, exp_avg_sq, gradient, rule, n);
}

KERNEL_FLOATS(sgd_step, launch_sgd_step);
KERNEL_FLOATS(adam_step, launch_adam_step);

}  // namespace mith::MITH_SPACE
