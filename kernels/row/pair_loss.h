// The losses between two tensors, shared by the engine and the kernels.
#pragma once
#include <cstdint>

namespace mith {

enum class PairLoss : uint8_t { l1, mse, bce_with_logits };

}  // namespace mith
