// What resizing and padding kernels need to know, shared by the engine and the kernels.
#pragma once
#include <cstdint>

namespace mith {

enum class Interpolation : uint8_t { nearest, bilinear, bilinear_align_corners };

/// NHWC input [n,h,w,c], output [n,oh,ow,c].
struct ResizeShape {
  int64_t n = 0, h = 0, w = 0, c = 0, oh = 0, ow = 0;
  int64_t inputs() const { return n * h * w * c; }
  int64_t outputs() const { return n * oh * ow * c; }
};

}  // namespace mith
