// Initial values of parameters, drawn in the outer layout's element order so that PyTorch users find the same
// numbering.
#pragma once
#include "engine/nn/module.h"

namespace mith {

/// Uniform in [-bound, bound); `which` tells a module's parameters apart.
void draw_uniform(Parameter&, double bound, const DrawKey&, uint64_t which);
/// Normal with this standard deviation.
void draw_normal(Parameter&, double deviation, const DrawKey&);
void fill(Parameter&, float value);

}  // namespace mith
