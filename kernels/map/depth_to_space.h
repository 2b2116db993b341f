// What kernels/map/depth_to_space.cu is told.
#pragma once
#include <cstdint>

namespace mith {

/// Images whose pixels hold blocks of side x side pixels each, row by row, channels innermost: h x w of them, the first
/// at (top, left).
struct PixelBlocks {
  int64_t h, w, top, left, side;
};

}  // namespace mith
