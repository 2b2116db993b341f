// What a pooling kernel needs to know, shared by the engine and the kernels.
#pragma once
#include <cstdint>

namespace mith {

/// NHWC input [n,h,w,c], output [n,oh,ow,c]; output (i,j) sees the window that begins at input row
/// i * stride_h - pad_h and column j * stride_w - pad_w.
struct Pool2dShape {
  int64_t n = 0, h = 0, w = 0, c = 0, oh = 0, ow = 0;
  int64_t kernel_h = 2, kernel_w = 2, stride_h = 2, stride_w = 2, pad_h = 0, pad_w = 0;
  int64_t inputs() const { return n * h * w * c; }
  int64_t outputs() const { return n * oh * ow * c; }
};

/// What max pooling with a ReLU behind it keeps where the maximum is not positive: a tap that no window has, so that
/// nothing gets a gradient. For windows of less than 256 elements.
constexpr uint8_t no_tap = 255;

}  // namespace mith
