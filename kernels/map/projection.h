// The L-infinity ball inside [0, 1], shared by every kernel that steps in it.
#pragma once
#include "kernels/launch/num.h"

namespace mith::MITH_SPACE {

/// v in the ball around x, then in [0, 1]; NaN stays NaN.
MITH_DEVICE float project_linf(float v, float x, float eps) { return clamp(clamp(v, x - eps, x + eps), 0.0f, 1.0f); }

}  // namespace mith::MITH_SPACE
