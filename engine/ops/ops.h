// Differentiable operators, in f32 and f64. Activations are NHWC. Shapes that do not fit throw Error with the
// operator's name and the shapes. Each family's file defines its nodes (Conv2d, Relu, ...) beside its functions.
#pragma once
#include "engine/ops/activation.h"
#include "engine/ops/arithmetic.h"
#include "engine/ops/attention.h"
#include "engine/ops/channels.h"
#include "engine/ops/convolution.h"
#include "engine/ops/dropout.h"
#include "engine/ops/interpolation.h"
#include "engine/ops/linear.h"
#include "engine/ops/loss.h"
#include "engine/ops/normalization.h"
#include "engine/ops/pooling.h"
