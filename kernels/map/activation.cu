// Activations, forward next to backward.
#include "kernels/map/activation.h"

#include "kernels/launch/bytes.h"
#include "kernels/launch/exponential.h"
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

template <class T>
__global__ void relu_forward(T* __restrict__ y, const T* __restrict__ x, int64_t n) {
  for (auto i : grid_stride(n)) y[i] = kmax(x[i], T(0));
}

/// The output decides: where it is positive, or NaN, the gradient passes.
template <class T>
__global__ void relu_backward(T* __restrict__ dx, const T* __restrict__ dy, const T* __restrict__ y, int64_t n) {
  for (auto i : grid_stride(n)) dx[i] = y[i] <= T(0) ? T(0) : dy[i];
}

// The others: value(x), and slope(kept) from what the operator keeps, its output where that suffices, else its input.

template <class T>
struct Relu6 {
  MITH_DEVICE T value(T x) const { return clamp(x, T(0), T(6)); }
  MITH_DEVICE T slope(T y) const { return (y <= T(0)) | (y >= T(6)) ? T(0) : T(1); }
};

template <class T>
struct LeakyRelu {
  T negative_slope;
  MITH_DEVICE T value(T x) const { return x < T(0) ? x * negative_slope : x; }
  MITH_DEVICE T slope(T x) const { return x <= T(0) ? negative_slope : T(1); }
};

template <class T>
struct Sigmoid {
  MITH_DEVICE T value(T x) const { return logistic(x); }
  MITH_DEVICE T slope(T y) const { return y * (T(1) - y); }
};

template <class T>
struct Tanh {
  MITH_DEVICE T value(T x) const { return std::tanh(x); }
  MITH_DEVICE T slope(T y) const { return T(1) - y * y; }
};

template <class T>
struct Silu {
  MITH_DEVICE T value(T x) const { return x * logistic(x); }
  MITH_DEVICE T slope(T x) const {
    T const s = logistic(x);
    return s * (T(1) + x * (T(1) - s));
  }
};

/// Phi(x) of the normal distribution, given e = exp(-x^2 / 2), which its density takes too.
MITH_DEVICE double normal_cdf(double x, double) { return 0.5 * (1 + std::erf(x * 0.70710678118654752440)); }

/// erf would be a call an element on the host. The tail is e times a polynomial in 1 / (1 + p |x|), as in Abramowitz &
/// Stegun 26.2.17; fitted with eight terms for a relative error of 1.2e-7.
MITH_DEVICE float normal_cdf(float x, float e) {
  float const s = 1 / (1 + 0.3f * std::fabs(x));
  float p = 0.0361951844f;
  p = p * s - 0.159379508f;
  p = p * s + 0.210120195f;
  p = p * s - 0.0571688148f;
  p = p * s + 0.130417126f;
  p = p * s + 0.0993469448f;
  p = p * s + 0.120845556f;
  p = p * s + 0.119623261f;
  float const tail = e * (p * s);
  return x < 0 ? tail : 1 - tail;
}

/// x * Phi(x) (Hendrycks & Gimpel 2016).
template <class T>
struct Gelu {
  static constexpr T density = T(0.39894228040143267794);
  MITH_DEVICE static T bell(T x) { return exponential(T(-0.5) * x * x); }
  MITH_DEVICE T value(T x) const { return x * normal_cdf(x, bell(x)); }
  MITH_DEVICE T slope(T x) const {
    T const e = bell(x);
    return normal_cdf(x, e) + x * density * e;
  }
};

template <class T, class F>
__global__ void activation_forward(T* __restrict__ y, const T* __restrict__ x, F f, int64_t n) {
  for (auto i : grid_stride(n)) y[i] = T(f.value(x[i]));
}

template <class T, class F>
__global__ void activation_backward(T* __restrict__ dx, const T* __restrict__ dy, const T* __restrict__ kept, F f,
                                    int64_t n) {
  for (auto i : grid_stride(n)) dx[i] = T(dy[i] * f.slope(kept[i]));
}

// Launchers.

template <class T>
void launch_relu_forward(const Stream& stream, T* y, const T* x, int64_t n) {
  launch_map(stream, {"relu_forward", n, bytes_of<T>(2, n)}, relu_forward<T>, y, x, n);
}

template <class T>
void launch_relu_backward(const Stream& stream, T* dx, const T* dy, const T* y, int64_t n) {
  launch_map(stream, {"relu_backward", n, bytes_of<T>(3, n)}, relu_backward<T>, dx, dy, y, n);
}

/// Calls run(functor) with the curve's functor; `parameter` is leaky ReLU's slope.
template <class T, class Run>
void with_curve(Curve curve, double parameter, Run run) {
  switch (curve) {
    case Curve::relu6:
      return run(Relu6<T>{});
    case Curve::leaky_relu:
      return run(LeakyRelu<T>{static_cast<T>(parameter)});
    case Curve::sigmoid:
      return run(Sigmoid<T>{});
    case Curve::tanh:
      return run(Tanh<T>{});
    case Curve::silu:
      return run(Silu<T>{});
    case Curve::gelu:
      return run(Gelu<T>{});
  }
}

template <class T>
void launch_activation_forward(const Stream& stream, T* y, const T* x, Curve curve, double parameter, int64_t n) {
  with_curve<Arithmetic<T>>(curve, parameter, [&]<class F>(F f) {
    launch_map(stream, {"activation_forward", n, bytes_of<T>(2, n)}, activation_forward<T, F>, y, x, f, n);
  });
}

template <class T>
void launch_activation_backward(const Stream& stream, T* dx, const T* dy, const T* kept, Curve curve, double parameter,
                                int64_t n) {
  with_curve<Arithmetic<T>>(curve, parameter, [&]<class F>(F f) {
    launch_map(stream, {"activation_backward", n, bytes_of<T>(3, n)}, activation_backward<T, F>, dx, dy, kept, f, n);
  });
}

KERNEL_FLOATS(relu_forward, launch_relu_forward);
KERNEL_FLOATS(relu_backward, launch_relu_backward);
KERNEL_ALL_FLOATS(activation_forward, launch_activation_forward);
KERNEL_ALL_FLOATS(activation_backward, launch_activation_backward);

}  // namespace mith::MITH_SPACE
