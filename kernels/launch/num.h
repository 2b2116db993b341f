// Numbers inside kernels: NaN-keeping comparisons and the sign used by every attack step.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>

namespace mith::MITH_SPACE {

/// Smaller and larger of two values; NaN in either stays NaN.
template <class T>
MITH_DEVICE T kmin(T a, T b) {
  return (a < b || a != a) ? a : b;
}
template <class T>
MITH_DEVICE T kmax(T a, T b) {
  return (a > b || a != a) ? a : b;
}
/// v limited to [low, high]; NaN stays NaN.
template <class T>
MITH_DEVICE T clamp(T v, T low, T high) {
  return v < low ? low : (v > high ? high : v);
}
/// -1, 0 or +1; both zeros and NaN give 0 (attacks.md 0.3).
template <class T>
MITH_DEVICE T sign(T v) {
  return static_cast<T>((v > 0) - (v < 0));
}
template <class T>
MITH_DEVICE bool is_nan(T v) {
  return v != v;
}
template <class T>
MITH_DEVICE T square(T v) {
  return v * v;
}

/// e^v for v < 88 or NaN.
template <class T>
MITH_DEVICE T bounded_exp(T v) {
  return std::exp(v);
}
#if !defined(__CUDACC__) && !defined(MITH_SIMT)
/// The same in straight-line arithmetic, to 1.2 units in the last place, because std::exp is a call that keeps a loop
/// from vectorising. Below e^-87, the least normal number, it is 0. e^v = 2^n e^r with |r| <= log(2) / 2.
template <>
MITH_DEVICE float bounded_exp(float v) {
  float const n = std::rint(v * 1.44269504f);
#ifdef __FMA__
  float const r = __builtin_fmaf(n, 2.12194440e-4f, __builtin_fmaf(n, -0.693359375f, v));
#else
  float const r = static_cast<float>(double{v} - double{n} * 0.69314718055994530942);
#endif
  float p = 0.00138145837f;  // minimax for (e^r - 1 - r) / r^2
  p = p * r + 0.00836872403f;
  p = p * r + 0.041668389f;
  p = p * r + 0.166665211f;
  p = p * r + 0.49999994f;
  p = (p * r + 1) * r + 1;
  // Added to 1.5 * 2^23, an integer lies in the last bits: here n + 127, the exponent of 2^n.
  int32_t const exponent = std::bit_cast<int32_t>(n + (12582912.0f + 127)) << 23;
  return v < -87 ? 0.0f : p * std::bit_cast<float>(exponent);
}
#endif

}  // namespace mith::MITH_SPACE
