// Max and average pooling over windows and over whole images.
#pragma once
#include "engine/autograd/tape.h"
#include "kernels/map/pool.h"

namespace mith {

struct PoolOptions {
  int64_t kernel_h = 2, kernel_w = 2, stride_h = 2, stride_w = 2, pad_h = 0, pad_w = 0;
  bool count_padding = true;  ///< average: divide by the window, padding included (PyTorch's default)
  bool ceil_mode = false;
};

/// x [n,h,w,c] -> [n,oh,ow,c]. Ties go to the first element; NaN wins. Windows of at most 256 elements.
Tensor max_pool2d(const Tensor& x, const PoolOptions& = {});
Tensor avg_pool2d(const Tensor& x, const PoolOptions& = {});

/// x [n,h,w,c] -> [n,height,width,c]: means over windows that share out the image, PyTorch's rule where they do not
/// divide it.
Tensor adaptive_avg_pool2d(const Tensor& x, int64_t height, int64_t width);
/// x [n,h,w,c] -> [n,c]: each channel's mean over the image.
Tensor global_avg_pool2d(const Tensor& x);

struct MaxPool2dNode final : Node {
  Pool2dShape shape;
  Tensor index;  ///< u8, of the output's shape: the tap that won, row * kernel_w + column
  std::string_view name() const override { return "max_pool2d"; }
  std::vector<Attribute> attributes() const override;
  void backward(Gradients&) override;
};

struct AvgPool2dNode final : Node {
  Pool2dShape shape;
  bool count_padding = true;
  std::string_view name() const override { return "avg_pool2d"; }
  std::vector<Attribute> attributes() const override;
  void backward(Gradients&) override;
};

struct AdaptiveAvgPool2dNode final : Node {
  Pool2dShape shape;
  std::string_view name() const override { return "adaptive_avg_pool2d"; }
  void backward(Gradients&) override;
  Tensor again(const std::vector<Tensor>& values) const override;
};

struct GlobalAvgPool2dNode final : Node {
  std::string_view name() const override { return "global_avg_pool2d"; }
  void backward(Gradients&) override;
  Tensor again(const std::vector<Tensor>& values) const override;
};

}  // namespace mith
