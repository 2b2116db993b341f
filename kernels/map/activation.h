// The activations beside ReLU, shared by the engine and the kernels.
#pragma once
#include <cstdint>

namespace mith {

enum class Curve : uint8_t { relu6, leaky_relu, sigmoid, tanh, silu, gelu };

/// Whether the backward pass needs the output; the others need the input.
constexpr bool output_tells_slope(Curve c) { return c == Curve::relu6 || c == Curve::sigmoid || c == Curve::tanh; }

}  // namespace mith
