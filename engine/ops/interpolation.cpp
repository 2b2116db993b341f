#include "engine/ops/interpolation.h"

#include "engine/ops/support.h"
#include "kernels/launch/table.h"

namespace mith {
namespace {

template <class T>
using Resize = Kernel<T*, const T*, ResizeShape, Interpolation>;
template <class T>
const Resize<T> interpolate_forward{"interpolate_forward", dtype_of<T>};
template <class T>
const Resize<T> interpolate_backward{"interpolate_backward", dtype_of<T>};
template <class T>
using Pad = Kernel<T*, const T*, ResizeShape, int64_t, int64_t>;
template <class T>
const Pad<T> pad_forward{"reflection_pad2d_forward", dtype_of<T>};
template <class T>
const Pad<T> pad_backward{"reflection_pad2d_backward", dtype_of<T>};

ResizeShape shape_of(const char* op, const Tensor& x, int64_t height, int64_t width) {
  check_rank(op, x, 4);
  check(x.dim(1) > 0 && x.dim(2) > 0 && height > 0 && width > 0, op, ": ", x.shape(), " to ", pair_text(height, width));
  return {x.dim(0), x.dim(1), x.dim(2), x.dim(3), height, width};
}

Shape output_shape(const ResizeShape& s) { return {s.n, s.oh, s.ow, s.c}; }

}  // namespace

Tensor interpolate(const Tensor& x, int64_t height, int64_t width, Interpolation mode) {
  OperatorScope const scope("interpolate");
  InterpolateNode node;
  node.shape = shape_of("interpolate", x, height, width);
  node.mode = mode;
  Tensor const y = filled(output_shape(node.shape), x, [&]<class T>(T* out) {
    interpolate_forward<T>(x.stream(), out, x.data<T>(), node.shape, mode);
  });
  return record(y, {x}, std::move(node));
}

std::vector<Attribute> InterpolateNode::attributes() const {
  return {{"size", pair_text(shape.oh, shape.ow)},
          {"mode", mode == Interpolation::nearest ? "nearest" : "bilinear"},
          {"align_corners", mode == Interpolation::bilinear_align_corners ? "yes" : "no"}};
}

Tensor InterpolateNode::again(const std::vector<Tensor>& values) const {
  return interpolate(values[0], shape.oh, shape.ow, mode);
}

void InterpolateNode::backward(Gradients& g) {
  OperatorScope const scope("interpolate backward");
  Tensor const& dy = g.output();
  g.give(0, filled(inputs[0].shape, dy,
                   [&]<class T>(T* dx) { interpolate_backward<T>(dy.stream(), dx, dy.data<T>(), shape, mode); }));
}

Tensor reflection_pad2d(const Tensor& x, const Padding2d& p) {
  OperatorScope const scope("reflection_pad2d");
  check_rank("reflection_pad2d", x, 4);
  check(p.left >= 0 && p.right >= 0 && p.top >= 0 && p.bottom >= 0 && p.left < x.dim(2) && p.right < x.dim(2) &&
            p.top < x.dim(1) && p.bottom < x.dim(1),
        "reflection_pad2d: borders of ", p.left, ", ", p.right, ", ", p.top, " and ", p.bottom, " for ", x.shape());
  ReflectionPad2dNode node;
  node.shape = shape_of("reflection_pad2d", x, x.dim(1) + p.top + p.bottom, x.dim(2) + p.left + p.right);
  node.padding = p;
  Tensor const y = filled(output_shape(node.shape), x, [&]<class T>(T* out) {
    pad_forward<T>(x.stream(), out, x.data<T>(), node.shape, p.top, p.left);
  });
  return record(y, {x}, std::move(node));
}

Tensor ReflectionPad2dNode::again(const std::vector<Tensor>& values) const {
  return reflection_pad2d(values[0], padding);
}

void ReflectionPad2dNode::backward(Gradients& g) {
  OperatorScope const scope("reflection_pad2d backward");
  Tensor const& dy = g.output();
  g.give(0, filled(inputs[0].shape, dy, [&]<class T>(T* dx) {
           pad_backward<T>(dy.stream(), dx, dy.data<T>(), shape, padding.top, padding.left);
         }));
}

}  // namespace mith
