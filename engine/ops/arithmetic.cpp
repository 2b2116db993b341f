#include "engine/ops/arithmetic.h"

#include "engine/ops/support.h"
#include "kernels/launch/table.h"

namespace mith {
namespace {

template <class T>
const Kernel<T*, const T*, const T*, int64_t> add_kernel{"add", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, const T*, int64_t> multiply_kernel{"multiply", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, double, int64_t> scale_kernel{"scale", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, double, int64_t> add_in_place_kernel{"add_in_place", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, int64_t> relu_forward{"relu_forward", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, double, int64_t, int64_t> sum_chunks{"sum_chunks", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, double, int64_t, int64_t> broadcast_rows{"broadcast_rows", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, const T*, const T*, int64_t, int64_t> channel_affine_kernel{"channel_affine", dtype_of<T>};
template <class T>
const Kernel<int32_t*, const T*, int64_t, int64_t> argmax_kernel{"argmax", dtype_of<T>};
template <class T>
const Kernel<int64_t*, const T*, int64_t> count_nan_kernel{"count_nan", dtype_of<T>};

using MoveRows = Kernel<void*, const void*, const int64_t*, int64_t, int64_t>;
const MoveRows gather_1{"gather_rows_1"}, gather_4{"gather_rows_4"}, gather_8{"gather_rows_8"};
const MoveRows scatter_1{"scatter_rows_1"}, scatter_4{"scatter_rows_4"}, scatter_8{"scatter_rows_8"};

Tensor product(const Tensor& a, const Tensor& b) {
  return filled(a.shape(), a,
                [&]<class T>(T* y) { multiply_kernel<T>(a.stream(), y, a.data<T>(), b.data<T>(), a.numel()); });
}

Tensor scaled(const Tensor& x, double factor) {
  return filled(x.shape(), x, [&]<class T>(T* y) { scale_kernel<T>(x.stream(), y, x.data<T>(), factor, x.numel()); });
}

/// factor * the sum of each `chunk` elements.
Tensor chunk_sums(const Tensor& x, int64_t chunk, double factor) {
  int64_t const n = x.numel();
  return filled({(n + chunk - 1) / chunk}, x,
                [&]<class T>(T* y) { sum_chunks<T>(x.stream(), y, x.data<T>(), factor, n, chunk); });
}

Tensor sum_of_all(const Tensor& x, double factor) {
  int64_t const chunk = 16384, n = x.numel();
  if (n == 0) return Tensor::zeros({1}, x.dtype(), x.device());
  if (n <= chunk) return chunk_sums(x, n, factor);
  return sum_of_all(chunk_sums(x, chunk, 1), factor);
}

/// x * scale[c] + shift[c]; shift may be undefined.
Tensor affine(const Tensor& x, const Tensor& scale, const Tensor& shift) {
  return filled(x.shape(), x, [&]<class T>(T* y) {
    channel_affine_kernel<T>(x.stream(), y, x.data<T>(), scale.data<T>(), shift.defined() ? shift.data<T>() : nullptr,
                             rows_of(x), x.dim(-1));
  });
}

const MoveRows& by_size(DType type, const MoveRows& one, const MoveRows& four, const MoveRows& eight) {
  size_t const size = size_of(type);
  check(size != 2, "rows of ", name_of(type), " cannot be moved");
  return size == 1 ? one : size == 4 ? four : eight;
}

Tensor device_indices(const char* op, const std::vector<int64_t>& indices, const Tensor& of) {
  for (int64_t i : indices) check(i >= 0 && i < of.dim(0), op, ": row ", i, " of ", of.shape());
  return Tensor::from(indices, {static_cast<int64_t>(indices.size())}, of.device());
}

/// Elements of one row, also of none.
int64_t row_length(const Tensor& x) { return x.shape().with(0, 1).numel(); }

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) {
  OperatorScope const scope("add");
  check_same("add", a, b);
  Tensor const y = filled(
      a.shape(), a, [&]<class T>(T* out) { add_kernel<T>(a.stream(), out, a.data<T>(), b.data<T>(), a.numel()); });
  return record(y, {a, b}, AddNode());
}

Tensor AddNode::again(const std::vector<Tensor>& values) const { return add(values[0], values[1]); }

void AddNode::backward(Gradients& g) {
  for (size_t i : {0, 1})
    if (g.wants(i)) g.give(i, g.output());
}

Tensor multiply(const Tensor& a, const Tensor& b) {
  OperatorScope const scope("multiply");
  check_same("multiply", a, b);
  MultiplyNode node;
  if (tracked(b)) node.a = a;
  if (tracked(a)) node.b = b;
  return record(product(a, b), {a, b}, std::move(node));
}

Tensor MultiplyNode::again(const std::vector<Tensor>& values) const { return multiply(values[0], values[1]); }

void MultiplyNode::backward(Gradients& g) {
  OperatorScope const scope("multiply backward");
  if (g.wants(0)) g.give(0, product(g.output(), b));
  if (g.wants(1)) g.give(1, product(g.output(), a));
}

Tensor scale(const Tensor& x, double factor) {
  OperatorScope const scope("scale");
  ScaleNode node;
  node.factor = factor;
  return record(scaled(x, factor), {x}, std::move(node));
}

std::vector<Attribute> ScaleNode::attributes() const { return {{"factor", cat(factor)}}; }

Tensor ScaleNode::again(const std::vector<Tensor>& values) const { return scale(values[0], factor); }

void ScaleNode::backward(Gradients& g) {
  OperatorScope const scope("scale backward");
  g.give(0, scaled(g.output(), factor));
}

Tensor relu(const Tensor& x) {
  OperatorScope const scope("relu");
  ReluNode node;
  node.output = filled(x.shape(), x, [&]<class T>(T* y) { relu_forward<T>(x.stream(), y, x.data<T>(), x.numel()); });
  Tensor const y = node.output;
  return record(y, {x}, std::move(node));
}

void ReluNode::backward(Gradients& g) {
  OperatorScope const scope("relu backward");
  g.give(0, relu_mask(g.output(), output));
}

Tensor reshape(const Tensor& x, const Shape& shape) {
  check(x.numel() == shape.numel(), "reshape: ", x.shape(), " to ", shape);
  return record(x.view(shape), {x}, ReshapeNode());
}

Tensor flatten(const Tensor& x) {
  check(x.shape().rank() >= 1, "flatten: the input has no dimensions");
  return reshape(x, {x.dim(0), row_length(x)});
}

Tensor ReshapeNode::again(const std::vector<Tensor>& values) const {
  Shape const& recorded = inputs[0].shape;  // the leading dimension counts images, or rows of them
  return reshape(values[0], outputs[0].shape.with(0, outputs[0].shape[0] * values[0].dim(0) / recorded[0]));
}

void ReshapeNode::backward(Gradients& g) { g.give(0, g.output().view(inputs[0].shape)); }

Tensor sum(const Tensor& x) {
  OperatorScope const scope("sum");
  return record(sum_of_all(x, 1), {x}, SumNode());
}

Tensor mean(const Tensor& x) {
  OperatorScope const scope("mean");
  check(x.numel() > 0, "mean: the input ", x.shape(), " is empty");
  SumNode node;
  node.factor = 1 / static_cast<double>(x.numel());
  Tensor const y = sum_of_all(x, node.factor);
  return record(y, {x}, std::move(node));
}

Tensor sum_rows(const Tensor& x) {
  OperatorScope const scope("sum_rows");
  check(x.shape().rank() >= 1, "sum_rows: the input has no dimensions");
  SumNode node;
  node.rows = x.dim(0);
  Tensor const y = x.numel() ? chunk_sums(x, row_length(x), 1) : Tensor::zeros({x.dim(0)}, x.dtype(), x.device());
  return record(y, {x}, std::move(node));
}

std::vector<Attribute> SumNode::attributes() const { return {{"rows", cat(rows)}, {"factor", cat(factor)}}; }

void SumNode::backward(Gradients& g) {
  OperatorScope const scope("sum backward");
  Tensor const& dy = g.output();
  Shape const& shape = inputs[0].shape;
  g.give(0, filled(shape, dy, [&]<class T>(T* dx) {
           broadcast_rows<T>(dy.stream(), dx, dy.data<T>(), factor, rows, rows > 0 ? shape.numel() / rows : 0);
         }));
}

Tensor channel_affine(const Tensor& x, const Tensor& scale, const Tensor& shift) {
  OperatorScope const scope("channel_affine");
  check(x.shape().rank() >= 1, "channel_affine: the input has no dimensions");
  check_operand("channel_affine", "scale", scale, {x.dim(-1)}, x);
  check_operand("channel_affine", "shift", shift, {x.dim(-1)}, x);
  ChannelAffineNode node;
  node.scale = scale;
  node.shift = shift;
  return record(affine(x, scale, shift), {x}, std::move(node));
}

void ChannelAffineNode::backward(Gradients& g) {
  OperatorScope const scope_name("channel_affine backward");
  g.give(0, affine(g.output(), scale, Tensor()));
}

Tensor argmax(const Tensor& x) {
  OperatorScope const scope("argmax");
  check_rank("argmax", x, 2);
  check(x.dim(1) > 0, "argmax: rows of ", x.shape(), " are empty");
  Tensor index = Tensor::empty({x.dim(0)}, DType::i32, x.device());
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    argmax_kernel<T>(x.stream(), index.data<int32_t>(), x.data<T>(), x.dim(0), x.dim(1));
  });
  return index;
}

int64_t count_nan(const Tensor& x) {
  OperatorScope const scope("count_nan");
  Tensor const count = Tensor::zeros({1}, DType::i64, x.device());
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    count_nan_kernel<T>(x.stream(), count.data<int64_t>(), x.data<T>(), x.numel());
  });
  return count.to_host<int64_t>()[0];
}

Tensor gather_rows(const Tensor& x, const std::vector<int64_t>& indices) {
  OperatorScope const scope("gather_rows");
  check(x.shape().rank() >= 1, "gather_rows: the input has no dimensions");
  int64_t const rows = static_cast<int64_t>(indices.size());
  Tensor const from = device_indices("gather_rows", indices, x);
  Tensor y = Tensor::empty(x.shape().with(0, rows), x.dtype(), x.device());
  by_size(x.dtype(), gather_1, gather_4, gather_8)(x.stream(), y.raw(), x.raw(), from.data<int64_t>(), rows,
                                                   row_length(x));
  return y;
}

void scatter_rows(Tensor& target, const Tensor& source, const std::vector<int64_t>& indices) {
  OperatorScope const scope("scatter_rows");
  check(target.shape().rank() >= 1, "scatter_rows: the target has no dimensions");
  int64_t const rows = static_cast<int64_t>(indices.size());
  check(source.shape() == target.shape().with(0, rows) && source.dtype() == target.dtype() &&
            source.device() == target.device(),
        "scatter_rows: ", source.shape(), " into ", rows, " rows of ", target.shape());
  Tensor const to = device_indices("scatter_rows", indices, target);
  by_size(target.dtype(), scatter_1, scatter_4, scatter_8)(target.stream(), target.raw(), source.raw(),
                                                           to.data<int64_t>(), rows, row_length(target));
}

void add_in_place(Tensor& target, const Tensor& x, double alpha) {
  check_same("add_in_place", target, x);
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    add_in_place_kernel<T>(x.stream(), target.data<T>(), x.data<T>(), alpha, x.numel());
  });
}

}  // namespace mith
