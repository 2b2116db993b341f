#include "engine/ops/convolution.h"

#include "engine/ops/support.h"

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

}  // namespace mith
