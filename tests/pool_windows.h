// Square pooling windows over square images, for the tests of pooling kernels.
#pragma once
#include "kernels/map/pool.h"

namespace mith {

struct PoolWindow {
  int64_t kernel, stride, pad;
  Pool2dShape over(int64_t n, int64_t h, int64_t c) const {
    int64_t const out = (h + 2 * pad - kernel) / stride + 1;
    return {n, h, h, c, out, out, kernel, kernel, stride, stride, pad, pad};
  }
};

}  // namespace mith
