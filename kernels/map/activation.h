// The activations beside ReLU, shared by the engine and the kernels.
#pragma once
#include <cstdint>

namespace mith {

enum class Curve : uint8_t { relu6, leaky_relu, sigmoid, tanh, silu, gelu };

}  // namespace mith
