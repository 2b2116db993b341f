// Finite numbers in gradients, told apart without the library's isfinite, which keeps loops from vectorising.
#pragma once
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

MITH_DEVICE bool is_finite(float v) { return v >= -3.4028234664e38f && v <= 3.4028234664e38f; }
MITH_DEVICE float finite_or_zero(float v) { return is_finite(v) ? v : 0.0f; }

}  // namespace mith::MITH_SPACE
