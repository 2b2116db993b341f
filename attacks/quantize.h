// Saving adversarial images as 8 bit without losing or inflating the perturbation (attacks.md 0.7).
#pragma once
#include <string>

#include "engine/tensor/tensor.h"

namespace mith {

/// Bytes [n,h,w,c] on the cpu for images `adv` within eps of `x` (f32, [0, 1], any device).
///
/// linf: every pixel takes the level nearest to 255 adv among those within eps of the clean pixel. Where the ball holds
/// no level, which needs a clean pixel between two levels, it takes the level nearest to the clean pixel.
/// Any other norm, and a negative eps, which bounds nothing: every pixel is rounded towards its clean value, so that no
/// norm grows.
Tensor quantize_in_ball(const Tensor& adv, const Tensor& x, float eps, const std::string& norm);

}  // namespace mith
