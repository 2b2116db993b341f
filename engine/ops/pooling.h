// Max and average pooling over windows.
#pragma once
#include "engine/autograd/tape.h"

namespace mith {

struct PoolOptions {
  int64_t kernel_h = 2, kernel_w = 2, stride_h = 2, stride_w = 2, pad_h = 0, pad_w = 0;
  bool count_padding = true;  ///< average: divide by the window, padding included (PyTorch's default)
  bool ceil_mode = false;
};

Tensor max_pool2d(const Tensor& x, const PoolOptions& = {});  ///< ties go to the first element; NaN wins
Tensor avg_pool2d(const Tensor& x, const PoolOptions& = {});

}  // namespace mith
