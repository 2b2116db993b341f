#include "engine/ops/pooling.h"

#include "engine/ops/support.h"
#include "kernels/launch/table.h"

namespace mith {
namespace {

template <class T>
const Kernel<T*, uint8_t*, const T*, Pool2dShape, bool> max_forward{"max_pool2d_forward", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, const uint8_t*, Pool2dShape> max_backward{"max_pool2d_backward", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, Pool2dShape, int> avg_forward{"avg_pool2d_forward", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, Pool2dShape, int> avg_backward{"avg_pool2d_backward", dtype_of<T>};

template <class T>
const Kernel<T*, const T*, Pool2dShape> adaptive_forward{"adaptive_avg_pool2d_forward", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, Pool2dShape> adaptive_backward{"adaptive_avg_pool2d_backward", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, double, int64_t, int64_t, int64_t> broadcast_pixels{"broadcast_pixels", dtype_of<T>};

/// Windows along one dimension. With `ceil`, a last window may hang over the edge if it begins inside (PyTorch's rule).
int64_t windows(int64_t size, int64_t kernel, int64_t stride, int64_t pad, bool ceil) {
  int64_t const span = size + 2 * pad - kernel;
  int64_t const count = (span + (ceil ? stride - 1 : 0)) / stride + 1;
  return ceil && (count - 1) * stride >= size + pad ? count - 1 : count;
}

Pool2dShape shape_of(const char* op, const Tensor& x, const PoolOptions& o) {
  check_rank(op, x, 4);
  check(o.kernel_h > 0 && o.kernel_w > 0 && o.stride_h > 0 && o.stride_w > 0, op,
        ": kernel and stride must be positive");
  check(o.pad_h >= 0 && o.pad_w >= 0 && 2 * o.pad_h <= o.kernel_h && 2 * o.pad_w <= o.kernel_w, op, ": padding ",
        pair_text(o.pad_h, o.pad_w), " is more than half the kernel ", pair_text(o.kernel_h, o.kernel_w));
  check(x.dim(1) + 2 * o.pad_h >= o.kernel_h && x.dim(2) + 2 * o.pad_w >= o.kernel_w, op, ": an input ", x.shape(),
        " is smaller than the kernel ", pair_text(o.kernel_h, o.kernel_w));
  return {.n = x.dim(0),
          .h = x.dim(1),
          .w = x.dim(2),
          .c = x.dim(3),
          .oh = windows(x.dim(1), o.kernel_h, o.stride_h, o.pad_h, o.ceil_mode),
          .ow = windows(x.dim(2), o.kernel_w, o.stride_w, o.pad_w, o.ceil_mode),
          .kernel_h = o.kernel_h,
          .kernel_w = o.kernel_w,
          .stride_h = o.stride_h,
          .stride_w = o.stride_w,
          .pad_h = o.pad_h,
          .pad_w = o.pad_w};
}

Shape output_shape(const Pool2dShape& s) { return {s.n, s.oh, s.ow, s.c}; }

std::vector<Attribute> window_attributes(const Pool2dShape& s) {
  return {{"kernel", pair_text(s.kernel_h, s.kernel_w)},
          {"stride", pair_text(s.stride_h, s.stride_w)},
          {"padding", pair_text(s.pad_h, s.pad_w)}};
}

}  // namespace

Tensor max_pool2d(const Tensor& x, const PoolOptions& options) {
  OperatorScope const scope("max_pool2d");
  MaxPool2dNode node;
  node.shape = shape_of("max_pool2d", x, options);
  check(options.kernel_h * options.kernel_w <= 256, "max_pool2d: a kernel of ",
        pair_text(options.kernel_h, options.kernel_w), " has more than 256 elements");
  Tensor const y = Tensor::empty(output_shape(node.shape), x.dtype(), x.device());
  node.index = Tensor::empty(y.shape(), DType::u8, x.device());
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    max_forward<T>(x.stream(), y.data<T>(), node.index.data<uint8_t>(), x.data<T>(), node.shape, false);
  });
  return record(y, {x}, std::move(node));
}

std::vector<Attribute> MaxPool2dNode::attributes() const { return window_attributes(shape); }

void MaxPool2dNode::backward(Gradients& g) {
  OperatorScope const scope("max_pool2d backward");
  Tensor const& dy = g.output();
  Tensor const dx = Tensor::empty(inputs[0].shape, dy.dtype(), dy.device());
  dispatch(dy.dtype(), [&](auto zero) {
    using T = decltype(zero);
    max_backward<T>(dy.stream(), dx.data<T>(), dy.data<T>(), index.data<uint8_t>(), shape);
  });
  g.give(0, dx);
}

Tensor avg_pool2d(const Tensor& x, const PoolOptions& options) {
  OperatorScope const scope("avg_pool2d");
  AvgPool2dNode node;
  node.shape = shape_of("avg_pool2d", x, options);
  node.count_padding = options.count_padding;
  Tensor const y = Tensor::empty(output_shape(node.shape), x.dtype(), x.device());
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    avg_forward<T>(x.stream(), y.data<T>(), x.data<T>(), node.shape, node.count_padding);
  });
  return record(y, {x}, std::move(node));
}

std::vector<Attribute> AvgPool2dNode::attributes() const {
  std::vector<Attribute> all = window_attributes(shape);
  all.emplace_back("count_padding", count_padding ? "yes" : "no");
  return all;
}

void AvgPool2dNode::backward(Gradients& g) {
  OperatorScope const scope("avg_pool2d backward");
  Tensor const& dy = g.output();
  Tensor const dx = Tensor::empty(inputs[0].shape, dy.dtype(), dy.device());
  dispatch(dy.dtype(), [&](auto zero) {
    using T = decltype(zero);
    avg_backward<T>(dy.stream(), dx.data<T>(), dy.data<T>(), shape, count_padding);
  });
  g.give(0, dx);
}

Tensor adaptive_avg_pool2d(const Tensor& x, int64_t height, int64_t width) {
  OperatorScope const scope("adaptive_avg_pool2d");
  check_rank("adaptive_avg_pool2d", x, 4);
  check(height > 0 && width > 0 && x.dim(1) > 0 && x.dim(2) > 0, "adaptive_avg_pool2d: ", x.shape(), " to ",
        pair_text(height, width));
  AdaptiveAvgPool2dNode node;
  node.shape = {.n = x.dim(0), .h = x.dim(1), .w = x.dim(2), .c = x.dim(3), .oh = height, .ow = width};
  Tensor const y = filled(output_shape(node.shape), x,
                          [&]<class T>(T* out) { adaptive_forward<T>(x.stream(), out, x.data<T>(), node.shape); });
  return record(y, {x}, std::move(node));
}

Tensor AdaptiveAvgPool2dNode::again(const std::vector<Tensor>& values) const {
  return adaptive_avg_pool2d(values[0], shape.oh, shape.ow);
}

void AdaptiveAvgPool2dNode::backward(Gradients& g) {
  OperatorScope const scope("adaptive_avg_pool2d backward");
  Tensor const& dy = g.output();
  g.give(0, filled(inputs[0].shape, dy,
                   [&]<class T>(T* dx) { adaptive_backward<T>(dy.stream(), dx, dy.data<T>(), shape); }));
}

Tensor global_avg_pool2d(const Tensor& x) {
  OperatorScope const scope("global_avg_pool2d");
  check_rank("global_avg_pool2d", x, 4);
  check(x.dim(1) * x.dim(2) > 0, "global_avg_pool2d: the images of ", x.shape(), " are empty");
  return record(image_sums(x, {}, 1.0 / static_cast<double>(x.dim(1) * x.dim(2))), {x}, GlobalAvgPool2dNode());
}

Tensor GlobalAvgPool2dNode::again(const std::vector<Tensor>& values) const { return global_avg_pool2d(values[0]); }

void GlobalAvgPool2dNode::backward(Gradients& g) {
  OperatorScope const scope("global_avg_pool2d backward");
  Tensor const& dy = g.output();
  Shape const& shape = inputs[0].shape;
  int64_t const pixels = shape[1] * shape[2];
  g.give(0, filled(shape, dy, [&]<class T>(T* dx) {
           broadcast_pixels<T>(dy.stream(), dx, dy.data<T>(), 1.0 / static_cast<double>(pixels), shape[0], pixels,
                               shape[3]);
         }));
}

}  // namespace mith
