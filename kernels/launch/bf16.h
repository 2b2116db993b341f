// bf16: the upper half of an f32. A storage type: kernels read it as f32 and round what they write, so that one text
// serves all element types where it says Arithmetic<T> for what it computes in.
#pragma once
#include <cstdint>

#if defined(__CUDACC__)
#define MITH_BF16 __host__ __device__ __forceinline__
#else
#define MITH_BF16 inline __attribute__((always_inline))
#endif

namespace mith {

struct bf16 {
  uint16_t bits;

  bf16() = default;
  /// Rounds to the nearest, ties to even; NaN stays NaN. Both ends are computed and one is chosen: this vectorises.
  MITH_BF16 explicit bf16(float v) {
    uint32_t const whole = __builtin_bit_cast(uint32_t, v);
    uint32_t const rounded = (whole + 0x7fff + (whole >> 16 & 1)) >> 16, quiet = whole >> 16 | 0x40;
    bits = static_cast<uint16_t>(v != v ? quiet : rounded);
  }
  MITH_BF16 operator float() const { return __builtin_bit_cast(float, uint32_t{bits} << 16); }
};

/// What a kernel computes in with elements of T.
template <class T>
struct ArithmeticOf {
  using Type = T;
};
template <>
struct ArithmeticOf<bf16> {
  using Type = float;
};
template <class T>
using Arithmetic = typename ArithmeticOf<T>::Type;

}  // namespace mith
