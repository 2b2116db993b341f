// Division by a number that is fixed before the launch, as one multiplication (Granlund & Montgomery 1994): row and
// image numbers become coordinates without the 64-bit division that would cost more than the row's work.
#pragma once
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

struct Divider {
  uint32_t divisor = 1, shift = 31;
  uint64_t multiplier = uint64_t(1) << 31;

  Divider() = default;
  /// Divides numbers in [0, most] by d; both must lie below 2^31. `what` names the kernel in errors.
  Divider(int64_t d, int64_t most, const char* what) {
    if (d < 1 || d >= (int64_t(1) << 31) || most >= (int64_t(1) << 31)) throw_too_many(what, most);
    divisor = static_cast<uint32_t>(d);
    while ((uint64_t(1) << (shift - 31)) < divisor) ++shift;
    multiplier = ((uint64_t(1) << shift) + divisor - 1) / divisor;
  }
  /// i / divisor. The product fits: i < 2^31 and multiplier <= 2^32.
  MITH_DEVICE uint32_t quotient(uint32_t i) const { return static_cast<uint32_t>(i * multiplier >> shift); }
};

}  // namespace mith::MITH_SPACE
