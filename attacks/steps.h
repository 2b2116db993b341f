// The moves attacks are made of, each one fused kernel: steps with their projection, random starts, distances.
//
// Images are f32 [n,h,w,c] in [0, 1]; radii and step lengths are in pixel units. Every result lies in the ball around
// the clean image and in [0, 1]. A pixel whose gradient is NaN takes no step and is counted in `nan_count` (i64 [1]);
// it stays where it is, unless the projection onto an L2 ball shrinks the whole perturbation. A gradient of exactly
// zero moves nothing in L-infinity (attacks.md 0.3).
#pragma once
#include <optional>
#include <vector>

#include "engine/classifier/classifier.h"

namespace mith {

/// adv <- P(adv + alpha sign(gradient)), P onto the L-infinity ball of radius eps around x and onto [0, 1].
void sign_step_project(Tensor& adv, const Tensor& x, const Tensor& gradient, float alpha, float eps, Tensor& nan_count);
/// adv <- P(adv + alpha gradient / |gradient|), P onto the L2 ball and then onto [0, 1]. An image whose gradient is
/// zero moves in a random direction drawn from the key; without a key it stays.
void l2_step_project(Tensor& adv, const Batch& clean, const Tensor& gradient, float alpha, float eps,
                     const std::optional<DrawKey>& key, Tensor& nan_count);
/// adv <- P(adv), P onto the L-infinity ball of radius eps around x and onto [0, 1].
void project_linf(Tensor& adv, const Tensor& x, float eps);

/// A uniform draw from the L-infinity ball around each image, limited to [0, 1].
Tensor uniform_in_linf_ball(const Batch& clean, float eps, const DrawKey& key);
/// How the radius of a draw from the L2 ball in D dimensions follows from u ~ U(0, 1): eps u as torchattacks has it,
/// eps u^(1/D), which is uniform in the ball, or always eps.
enum class L2Start : uint8_t { torchattacks, uniform, sphere };
Tensor draw_in_l2_ball(const Batch& clean, float eps, L2Start how, const DrawKey& key);
/// Every pixel moved by +eps or -eps, limited to [0, 1].
Tensor random_signs(const Batch& clean, float eps, const DrawKey& key);

/// x + sigma N(0, 1), limited to [0, 1].
Tensor gaussian_noise(const Batch& clean, float sigma, const DrawKey& key);

/// Distance of each image of a from its fellow in b.
std::vector<float> linf_distance(const Tensor& a, const Tensor& b);
std::vector<float> l2_distance(const Tensor& a, const Tensor& b);

}  // namespace mith
