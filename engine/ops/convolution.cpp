#include "engine/ops/convolution.h"

#include "engine/ops/support.h"
#include "kernels/launch/table.h"

namespace mith {
namespace {

Conv2dShape shape_of(const Tensor& x, const Tensor& weight, const Conv2dOptions& o) {
  check_rank("conv2d", x, 4);
  check(weight.defined() && weight.shape().rank() == 4, "conv2d: the weight must be [o,kh,kw,c/groups]");
  Conv2dShape s{.n = x.dim(0), .h = x.dim(1), .w = x.dim(2), .c = x.dim(3), .o = weight.dim(0)};
  s.kh = weight.dim(1);
  s.kw = weight.dim(2);
  s.stride_h = o.stride_h;
  s.stride_w = o.stride_w;
  s.pad_h = o.pad_h;
  s.pad_w = o.pad_w;
  s.dilation_h = o.dilation_h;
  s.dilation_w = o.dilation_w;
  s.groups = o.groups;
  check(s.stride_h > 0 && s.stride_w > 0 && s.dilation_h > 0 && s.dilation_w > 0 && s.pad_h >= 0 && s.pad_w >= 0 &&
            s.groups > 0 && s.kh > 0 && s.kw > 0,
        "conv2d: strides, dilations, groups and kernel must be positive, padding not negative");
  check(s.c % s.groups == 0 && s.o % s.groups == 0 && weight.dim(3) == s.c / s.groups, "conv2d: weight ",
        weight.shape(), " in ", s.groups, " groups for an input ", x.shape());
  check_operand("conv2d", "weight", weight, weight.shape(), x);
  int64_t const reach_h = s.dilation_h * (s.kh - 1) + 1, reach_w = s.dilation_w * (s.kw - 1) + 1;
  check(s.h + 2 * s.pad_h >= reach_h && s.w + 2 * s.pad_w >= reach_w, "conv2d: an input ", x.shape(),
        " is smaller than the kernel ", weight.shape());
  return s;
}

template <class T>
const Kernel<T*, const T*, int64_t, int64_t> add_bias{"add_bias", dtype_of<T>};

/// The convolution whose input has the transposed one's output shape.
Conv2dShape transposed_shape(const Tensor& x, const Tensor& weight, const ConvTranspose2dOptions& o) {
  check_rank("conv_transpose2d", x, 4);
  check(weight.defined() && weight.shape().rank() == 4 && weight.dim(0) == x.dim(3) && weight.numel() > 0,
        "conv_transpose2d: the weight must be [c,kh,kw,o] for an input ", x.shape());
  check_operand("conv_transpose2d", "weight", weight, weight.shape(), x);
  check(o.stride_h > 0 && o.stride_w > 0 && o.dilation_h > 0 && o.dilation_w > 0 && o.pad_h >= 0 && o.pad_w >= 0 &&
            o.output_pad_h >= 0 && o.output_pad_w >= 0 && o.output_pad_h < o.stride_h && o.output_pad_w < o.stride_w,
        "conv_transpose2d: strides and dilations must be positive, paddings not negative, output paddings less than "
        "the stride");
  Conv2dShape s{.n = x.dim(0), .c = weight.dim(3), .o = x.dim(3), .kh = weight.dim(1), .kw = weight.dim(2)};
  s.h = (x.dim(1) - 1) * o.stride_h - 2 * o.pad_h + o.dilation_h * (s.kh - 1) + o.output_pad_h + 1;
  s.w = (x.dim(2) - 1) * o.stride_w - 2 * o.pad_w + o.dilation_w * (s.kw - 1) + o.output_pad_w + 1;
  s.stride_h = o.stride_h;
  s.stride_w = o.stride_w;
  s.pad_h = o.pad_h;
  s.pad_w = o.pad_w;
  s.dilation_h = o.dilation_h;
  s.dilation_w = o.dilation_w;
  check(s.h > 0 && s.w > 0, "conv_transpose2d: nothing is left of an input ", x.shape(), " by padding");
  return s;
}

void run(const Conv2dShape& shape, ConvPass pass, const Tensor& x, const Tensor& weight, const Tensor& y,
         const Epilogue& epilogue = {}) {
  if (shape.n == 0) return;
  Conv2dProblem problem;
  problem.dtype = x.dtype();
  problem.pass = pass;
  problem.shape = shape;
  problem.epilogue = epilogue;
  ScratchMemory memory(x.device());
  run_conv2d(x.stream(), problem, x.raw(), weight.raw(), y.raw(), memory.scratch());
}

}  // namespace

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& options,
              Activation activation) {
  OperatorScope const scope("conv2d");
  Conv2dShape const shape = shape_of(x, weight, options);
  Epilogue epilogue;
  epilogue.activation = activation;
  if (bias.defined()) {
    check_operand("conv2d", "bias", bias, {shape.o}, x);
    epilogue.bias = bias.raw();
  }
  Tensor const y = Tensor::empty({shape.n, shape.oh(), shape.ow(), shape.o}, x.dtype(), x.device());
  run(shape, ConvPass::forward, x, weight, y, epilogue);

  Conv2dNode node;
  node.shape = shape;
  node.activation = activation;
  node.weight = weight;
  node.has_bias = bias.defined();
  if (tracked(weight)) node.input = x;
  if (activation != Activation::none) node.output = y;
  return record(y, {x, weight, bias}, std::move(node));
}

std::vector<Attribute> Conv2dNode::attributes() const {
  return {{"kernel", pair_text(shape.kh, shape.kw)},
          {"stride", pair_text(shape.stride_h, shape.stride_w)},
          {"padding", pair_text(shape.pad_h, shape.pad_w)},
          {"dilation", pair_text(shape.dilation_h, shape.dilation_w)},
          {"groups", std::to_string(shape.groups)},
          {"bias", has_bias ? "yes" : "no"},
          {"activation", activation == Activation::relu ? "relu" : "none"}};
}

int64_t Conv2dNode::flops() const {
  Conv2dProblem problem;
  problem.shape = shape;
  return problem.flops();
}

void Conv2dNode::backward(Gradients& g) {
  OperatorScope const scope("conv2d backward");
  Tensor const dy = activation == Activation::relu ? relu_mask(g.output(), output) : g.output();
  if (g.wants(0)) {
    Tensor const dx = Tensor::empty(inputs[0].shape, dy.dtype(), dy.device());
    run(shape, ConvPass::input_gradient, dx, weight, dy);
    g.give(0, dx);
  }
  if (g.wants(1)) {
    Tensor const dw = shape.n > 0 ? Tensor::empty_like(weight) : Tensor::zeros_like(weight);
    run(shape, ConvPass::weight_gradient, input, dw, dy);
    g.give(1, dw);
  }
  if (g.wants(2)) g.give(2, column_sums(dy));
}

Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias,
                        const ConvTranspose2dOptions& options) {
  OperatorScope const scope("conv_transpose2d");
  ConvTranspose2dNode node;
  Conv2dShape const shape = node.shape = transposed_shape(x, weight, options);
  Tensor const y = Tensor::empty({shape.n, shape.h, shape.w, shape.c}, x.dtype(), x.device());
  run(shape, ConvPass::input_gradient, y, weight, x);
  if (bias.defined()) {
    // Not in the epilogue: libraries have none in this direction, and would lose the whole product for it.
    check_operand("conv_transpose2d", "bias", bias, {shape.c}, x);
    dispatch(y.dtype(), [&](auto zero) {
      using T = decltype(zero);
      add_bias<T>(y.stream(), y.data<T>(), bias.data<T>(), rows_of(y), shape.c);
    });
  }
  node.weight = weight;
  node.has_bias = bias.defined();
  if (tracked(weight)) node.input = x;
  return record(y, {x, weight, bias}, std::move(node));
}

std::vector<Attribute> ConvTranspose2dNode::attributes() const {
  return {{"kernel", pair_text(shape.kh, shape.kw)},
          {"stride", pair_text(shape.stride_h, shape.stride_w)},
          {"padding", pair_text(shape.pad_h, shape.pad_w)},
          {"dilation", pair_text(shape.dilation_h, shape.dilation_w)},
          {"bias", has_bias ? "yes" : "no"}};
}

int64_t ConvTranspose2dNode::flops() const {
  Conv2dProblem problem;
  problem.shape = shape;
  return problem.flops();
}

void ConvTranspose2dNode::backward(Gradients& g) {
  OperatorScope const scope("conv_transpose2d backward");
  Tensor const& dy = g.output();
  if (g.wants(0)) {
    Tensor const dx = Tensor::empty(inputs[0].shape, dy.dtype(), dy.device());
    run(shape, ConvPass::forward, dy, weight, dx);
    g.give(0, dx);
  }
  if (g.wants(1)) {
    Tensor const dw = shape.n > 0 ? Tensor::empty_like(weight) : Tensor::zeros_like(weight);
    run(shape, ConvPass::weight_gradient, dy, dw, input);
    g.give(1, dw);
  }
  if (g.wants(2)) g.give(2, column_sums(dy));
}

}  // namespace mith
