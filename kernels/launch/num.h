// Numbers inside kernels: NaN-keeping comparisons and the sign used by every attack step.
#pragma once
#include <cmath>

namespace mith::MITH_SPACE {

/// Smaller and larger of two values; NaN in either stays NaN. Both comparisons are made, always: with || between them
/// g++ does not vectorise the loop around.
template <class T>
MITH_DEVICE T kmin(T a, T b) {
  return ((a < b) | (a != a)) ? a : b;
}
template <class T>
MITH_DEVICE T kmax(T a, T b) {
  return ((a > b) | (a != a)) ? a : b;
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
MITH_DEVICE bool is_finite(float v) { return v >= -3.4028234664e38f && v <= 3.4028234664e38f; }
/// An element of a gradient; 0 where it is not finite, so that its pixel stays where it is.
MITH_DEVICE float finite_or_zero(float v) { return is_finite(v) ? v : 0.0f; }
template <class T>
MITH_DEVICE T square(T v) {
  return v * v;
}

}  // namespace mith::MITH_SPACE
