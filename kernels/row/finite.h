// What counts as a gradient.
#pragma once
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

/// An element of a gradient; 0 where it is not finite, so that its pixel stays where it is.
MITH_DEVICE float finite_or_zero(float v) { return is_finite(v) ? v : 0.0f; }

}  // namespace mith::MITH_SPACE
