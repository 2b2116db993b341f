// What several architectures are made of.
#pragma once
#include "engine/nn/layers.h"

namespace mith {

/// A square convolution without bias that keeps the size but for its stride; weights normal by fan-out (He et al.
/// 2015).
Conv2d::Options convolution(int64_t in, int64_t out, int64_t kernel, int64_t stride = 1, int64_t groups = 1);

/// Appends to `layers` what torchvision calls a Conv2dNormActivation: a Sequential of that convolution, batch norm and,
/// unless null, an activation.
void conv_norm_activation(Sequential& layers, const Conv2d::Options& convolution, Tensor (*activation)(const Tensor&));

}  // namespace mith
