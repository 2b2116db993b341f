#include "engine/ops/channels.h"

#include "engine/ops/support.h"
#include "kernels/launch/table.h"

namespace mith {
namespace {

template <class T>
const Kernel<T*, const T*, int64_t, int64_t, int64_t, int64_t> copy_slice{"copy_slice", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, const T*, int64_t, int64_t, int64_t> channel_gate_kernel{"channel_gate", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, int64_t, int64_t> sum_channels{"sum_channels", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, double, int64_t, int64_t> broadcast_rows{"broadcast_rows", dtype_of<T>};

int dimension(const char* op, const Tensor& x, int dim) {
  check(x.defined(), op, ": an operand is undefined");
  int const rank = x.shape().rank(), d = dim < 0 ? rank + dim : dim;
  check(d >= 0 && d < rank, op, ": ", x.shape(), " has no dimension ", dim);
  return d;
}

/// A tensor as a matrix whose columns are everything from dimension `dim` on.
struct Matrix {
  int64_t rows = 1, cols = 1;
  Matrix(const Shape& shape, int dim) {
    for (int i = 0; i < shape.rank(); ++i) (i < dim ? rows : cols) *= shape[i];
  }
};

/// Copies between `whole` and `part`, which is its slice from `start` on along `dim`.
void copy_part(const Tensor& whole, const Tensor& part, int dim, int64_t start, bool into_whole) {
  Matrix const all(whole.shape(), dim), some(part.shape(), dim);
  int64_t const offset = start * Matrix(whole.shape(), dim + 1).cols;
  dispatch(whole.dtype(), [&](auto zero) {
    using T = decltype(zero);
    T* const slice = whole.data<T>() + offset;
    if (into_whole)
      copy_slice<T>(whole.stream(), slice, part.data<T>(), all.cols, some.cols, some.rows, some.cols);
    else
      copy_slice<T>(whole.stream(), part.data<T>(), slice, some.cols, all.cols, some.rows, some.cols);
  });
}

Tensor part_of(const Tensor& whole, const Shape& shape, int dim, int64_t start) {
  Tensor part = Tensor::empty(shape, whole.dtype(), whole.device());
  if (part.numel()) copy_part(whole, part, dim, start, false);
  return part;
}

Tensor gated(const Tensor& x, const Tensor& gate) {
  return filled(x.shape(), x, [&]<class T>(T* y) {
    channel_gate_kernel<T>(x.stream(), y, x.data<T>(), gate.data<T>(), x.dim(0), x.dim(1) * x.dim(2), x.dim(3));
  });
}

}  // namespace

Tensor concat(const std::vector<Tensor>& parts, int dim) {
  OperatorScope const scope("concat");
  check(!parts.empty(), "concat: nothing to join");
  Tensor const& first = parts[0];
  ConcatNode node;
  node.dim = dimension("concat", first, dim);
  int64_t total = 0;
  for (Tensor const& part : parts) {
    check(part.defined() && part.shape().rank() == first.shape().rank(), "concat: the parts differ in dimensions");
    check_operand("concat", "part", part, first.shape().with(node.dim, part.dim(node.dim)), first);
    total += part.dim(node.dim);
  }
  Tensor const y = Tensor::empty(first.shape().with(node.dim, total), first.dtype(), first.device());
  int64_t start = 0;
  for (Tensor const& part : parts) {
    if (part.numel()) copy_part(y, part, node.dim, start, true);
    start += part.dim(node.dim);
  }
  return record(y, parts, std::move(node));
}

std::vector<Attribute> ConcatNode::attributes() const { return {{"dim", cat(dim)}}; }

Tensor ConcatNode::again(const std::vector<Tensor>& values) const { return concat(values, dim); }

void ConcatNode::backward(Gradients& g) {
  OperatorScope const scope("concat backward");
  int64_t start = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (g.wants(i)) g.give(i, part_of(g.output(), inputs[i].shape, dim, start));
    start += inputs[i].shape[dim];
  }
}

Tensor narrow(const Tensor& x, int dim, int64_t start, int64_t length) {
  OperatorScope const scope("narrow");
  NarrowNode node;
  node.dim = dimension("narrow", x, dim);
  node.start = start;
  check(start >= 0 && length >= 0 && start + length <= x.dim(node.dim), "narrow: elements ", start, " to ",
        start + length, " along dimension ", node.dim, " of ", x.shape());
  Tensor const y = part_of(x, x.shape().with(node.dim, length), node.dim, start);
  return record(y, {x}, std::move(node));
}

std::vector<Attribute> NarrowNode::attributes() const { return {{"dim", cat(dim)}, {"start", cat(start)}}; }

Tensor NarrowNode::again(const std::vector<Tensor>& values) const {
  return narrow(values[0], dim, start, outputs[0].shape[dim]);
}

void NarrowNode::backward(Gradients& g) {
  OperatorScope const scope("narrow backward");
  Tensor const dx = Tensor::zeros(inputs[0].shape, g.output().dtype(), g.output().device());
  if (g.output().numel()) copy_part(dx, g.output(), dim, start, true);
  g.give(0, dx);
}

Tensor expand(const Tensor& x, int64_t n) {
  OperatorScope const scope("expand");
  check(x.defined() && x.shape().rank() >= 1 && x.dim(0) == 1, "expand: the input must be [1, ...], not ", x.shape());
  check(n >= 0, "expand: ", n, " times");
  Tensor const y = filled(x.shape().with(0, n), x, [&]<class T>(T* out) {
    copy_slice<T>(x.stream(), out, x.data<T>(), x.numel(), 0, n, x.numel());
  });
  return record(y, {x}, ExpandNode());
}

void ExpandNode::backward(Gradients& g) {
  OperatorScope const scope("expand backward");
  Tensor const& dy = g.output();
  g.give(0, column_sums(dy.view({dy.dim(0), inputs[0].shape.numel()})).view(inputs[0].shape));
}

Tensor repeat_channels(const Tensor& x, int64_t channels) {
  OperatorScope const scope("repeat_channels");
  check(x.defined() && x.shape().rank() >= 1 && x.dim(-1) == 1, "repeat_channels: the input must be [..., 1], not ",
        x.shape());
  check(channels > 0, "repeat_channels: ", channels, " channels");
  Tensor const y = filled(x.shape().with(-1, channels), x, [&]<class T>(T* out) {
    broadcast_rows<T>(x.stream(), out, x.data<T>(), 1, x.numel(), channels);
  });
  return record(y, {x}, RepeatChannelsNode());
}

Tensor RepeatChannelsNode::again(const std::vector<Tensor>& values) const {
  return repeat_channels(values[0], outputs[0].shape[-1]);
}

void RepeatChannelsNode::backward(Gradients& g) {
  OperatorScope const scope("repeat_channels backward");
  Tensor const& dy = g.output();
  g.give(0, filled(inputs[0].shape, dy,
                   [&]<class T>(T* dx) { sum_channels<T>(dy.stream(), dx, dy.data<T>(), rows_of(dy), dy.dim(-1)); }));
}

Tensor channel_gate(const Tensor& x, const Tensor& gate) {
  OperatorScope const scope("channel_gate");
  check_rank("channel_gate", x, 4);
  check_operand("channel_gate", "gate", gate, {x.dim(0), x.dim(3)}, x);
  ChannelGateNode node;
  if (tracked(gate)) node.input = x;
  if (tracked(x)) node.gate = gate;
  return record(gated(x, gate), {x, gate}, std::move(node));
}

Tensor ChannelGateNode::again(const std::vector<Tensor>& values) const { return channel_gate(values[0], values[1]); }

void ChannelGateNode::backward(Gradients& g) {
  OperatorScope const scope("channel_gate backward");
  if (g.wants(0)) g.give(0, gated(g.output(), gate));
  if (g.wants(1)) g.give(1, image_sums(g.output(), input));
}

}  // namespace mith
