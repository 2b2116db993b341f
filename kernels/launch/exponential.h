// exp for loops that must vectorise. On the host std::exp is a call an element, and a library's vector form rounds
// otherwise than its scalar one, so that a result would depend on where in a batch it lies. This one is straight-line
// arithmetic: e^x = 2^n e^r with |r| <= ln 2 / 2 (Cody & Waite 1980). And log(1 + x), whose call would take as long as
// the rest of a row of eight classes.
#pragma once
#include <bit>

#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

MITH_DEVICE double exponential(double x) { return std::exp(x); }

#if defined(__CUDACC__)
MITH_DEVICE float exponential(float x) { return expf(x); }
#else
/// To 1.2 units in the last place. Below e^-87, about the least normal number, it is 0, above e^88 infinity.
MITH_DEVICE float exponential(float x) {
  // Here 2^n becomes 0 or infinity by itself; chosen at the end, the arithmetic would move into branches.
  x = x < -87 ? -88.0f : x;
  x = x > 88 ? 89.0f : x;
  float const n = std::rint(x * 1.44269504f);
#ifdef __FMA__
  float const r = __builtin_fmaf(n, 2.12194440e-4f, __builtin_fmaf(n, -0.693359375f, x));
#else
  float const r = static_cast<float>(double{x} - double{n} * 0.69314718055994530942);
#endif
  float p = 0.00138145837f;  // minimax for (e^r - 1 - r) / r^2
  p = p * r + 0.00836872403f;
  p = p * r + 0.041668389f;
  p = p * r + 0.166665211f;
  p = p * r + 0.49999994f;
  p = (p * r + 1) * r + 1;
  // Added to 1.5 * 2^23, an integer lies in the last bits: here n + 127, the exponent of 2^n.
  int32_t const exponent = std::bit_cast<int32_t>(n + (12582912.0f + 127)) << 23;
  return p * std::bit_cast<float>(exponent);
}
#endif

MITH_DEVICE double log_1p(double x) { return std::log1p(x); }

#if defined(__CUDACC__)
MITH_DEVICE float log_1p(float x) { return log1pf(x); }
#else
/// log(1 + x) for x >= 0, in double and rounded once: 1 + x = 2^n m with m from sqrt(1/2) to sqrt(2), and
/// log m = 2 artanh s with s = (m - 1) / (m + 1), whose series ends where it no longer counts in f32.
MITH_DEVICE float log_1p(float x) {
  double const u = 1 + double{x};
  int64_t const bits = std::bit_cast<int64_t>(u), root_half = 0x3fe6a09e00000000;
  int64_t const n = (bits - root_half) >> 52;
  double const m = std::bit_cast<double>(bits - (n << 52));
  double const s = (n == 0 ? double{x} : m - 1) / (m + 1), t = s * s;
  double p = 1.0 / 11;
  p = p * t + 1.0 / 9;
  p = p * t + 1.0 / 7;
  p = p * t + 1.0 / 5;
  p = p * t + 1.0 / 3;
  p = p * t + 1;
  double const y = static_cast<double>(n) * 0.69314718055994530942 + 2 * s * p;
  return x < __builtin_inff() ? static_cast<float>(y) : x;
}
#endif

/// 1 / (1 + e^-x).
template <class T>
MITH_DEVICE T logistic(T x) {
  return T(1) / (T(1) + exponential(-x));
}

}  // namespace mith::MITH_SPACE
