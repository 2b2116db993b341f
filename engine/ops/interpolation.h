// Resizing images and padding them by reflection.
#pragma once
#include "engine/autograd/tape.h"
#include "kernels/map/interpolate.h"

namespace mith {

/// x [n,h,w,c] -> [n,height,width,c], with the coordinates of PyTorch's interpolate(size=...).
Tensor interpolate(const Tensor& x, int64_t height, int64_t width, Interpolation);
/// Each pixel `factor` times in both directions.
inline Tensor upsample_nearest(const Tensor& x, int64_t factor) {
  return interpolate(x, x.dim(1) * factor, x.dim(2) * factor, Interpolation::nearest);
}

struct Padding2d {
  int64_t left = 0, right = 0, top = 0, bottom = 0;
};

/// Borders mirrored at the outermost pixels, which are not repeated; each smaller than the image.
Tensor reflection_pad2d(const Tensor& x, const Padding2d&);

struct InterpolateNode final : Node {
  ResizeShape shape;
  Interpolation mode = Interpolation::nearest;
  std::string_view name() const override { return "interpolate"; }
  std::vector<Attribute> attributes() const override;
  void backward(Gradients&) override;
  Tensor again(const std::vector<Tensor>& values) const override;
};

struct ReflectionPad2dNode final : Node {
  ResizeShape shape;
  Padding2d padding;
  std::string_view name() const override { return "reflection_pad2d"; }
  void backward(Gradients&) override;
  Tensor again(const std::vector<Tensor>& values) const override;
};

}  // namespace mith
