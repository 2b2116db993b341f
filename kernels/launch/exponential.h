// exp for loops that must vectorise. On the host the library's expf is a call an element, and its vector form rounds
// otherwise than the scalar one, so that a result would depend on where in a batch it lies. This one is plain
// arithmetic: range reduction by powers of two (Cody & Waite 1980) and a polynomial, within 2 units in the last place.
#pragma once
#include <bit>

#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

MITH_DEVICE double exponential(double x) { return std::exp(x); }

#if defined(__CUDACC__)
MITH_DEVICE float exponential(float x) { return expf(x); }
#else
#if defined(__has_builtin)
#if __has_builtin(__builtin_assoc_barrier)
#define MITH_AS_WRITTEN(e) __builtin_assoc_barrier(e)  // the two halves of ln 2 must not be added up
#endif
#endif
#ifndef MITH_AS_WRITTEN
#define MITH_AS_WRITTEN(e) (e)
#endif

/// Results below the smallest normal number are zero; NaN stays NaN.
MITH_DEVICE float exponential(float x) {
  float const in = clamp(x, -87.3f, 88.8f);
  float const power = std::floor(in * 1.44269504f + 0.5f);
  float const r = MITH_AS_WRITTEN(in - power * 0.693359375f) + power * 2.12194440e-4f;  // |r| <= ln 2 / 2
  float sum = 1.3888889e-3f;
  sum = sum * r + 8.3333333e-3f;
  sum = sum * r + 4.1666667e-2f;
  sum = sum * r + 1.6666667e-1f;
  sum = sum * r + 0.5f;
  sum = sum * r + 1.0f;
  sum = sum * r + 1.0f;
  // 2^power in two factors, since 2^128 itself is no float; a NaN must not reach the conversion.
  int32_t const e = static_cast<int32_t>(is_nan(power) ? 0.0f : power), half = e >> 1;
  float const scaled = sum * std::bit_cast<float>((half + 127) << 23) * std::bit_cast<float>((e - half + 127) << 23);
  return x < -87.3f ? 0.0f : x > 88.8f ? __builtin_inff() : scaled;
}
#endif

/// 1 / (1 + e^-x).
template <class T>
MITH_DEVICE T logistic(T x) {
  return T(1) / (T(1) + exponential(-x));
}

}  // namespace mith::MITH_SPACE
