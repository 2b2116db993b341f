// Losses between two tensors, and the gram matrix that style losses compare.
#include "engine/ops/linear.h"
#include "engine/ops/loss.h"
#include "engine/ops/support.h"
#include "kernels/launch/table.h"

namespace mith {
namespace {

template <class T>
const Kernel<T*, const T*, const T*, PairLoss, int64_t, int64_t> forward_kernel{"pair_loss_forward", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, const T*, const T*, PairLoss, double, int64_t, int64_t> backward_kernel{"pair_loss_backward",
                                                                                                   dtype_of<T>};
template <class T>
const Kernel<T*, const T*, double, int64_t> symmetric_sum{"symmetric_sum", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, double, int64_t> scale_kernel{"scale", dtype_of<T>};

int64_t row_length(const Shape& s) { return s.with(0, 1).numel(); }

template <class N>
Tensor apply(const char* op, const Tensor& a, const Tensor& b, N node) {
  OperatorScope const scope(op);
  check_same(op, a, b);
  check(a.shape().rank() >= 1 && row_length(a.shape()) > 0, op, ": the images of ", a.shape(), " are empty");
  node.a = a;
  node.b = b;
  Tensor const loss = filled({a.dim(0)}, a, [&]<class T>(T* y) {
    forward_kernel<T>(a.stream(), y, a.data<T>(), b.data<T>(), node.kind, a.dim(0), row_length(a.shape()));
  });
  return record(loss, {a, b}, std::move(node));
}

}  // namespace

Tensor l1_loss(const Tensor& a, const Tensor& b) { return apply("l1_loss", a, b, L1LossNode()); }
Tensor mse_loss(const Tensor& a, const Tensor& b) { return apply("mse_loss", a, b, MseLossNode()); }
Tensor bce_with_logits(const Tensor& logits, const Tensor& targets) {
  check(!tracked(targets), "bce_with_logits: no gradient leads to the targets");
  return apply("bce_with_logits", logits, targets, BceWithLogitsNode());
}

void PairLossNode::backward(Gradients& g) {
  OperatorScope const scope("loss backward");
  auto const gradient = [&](double factor) {
    return filled(a.shape(), a, [&]<class T>(T* da) {
      backward_kernel<T>(a.stream(), da, g.output().data<T>(), a.data<T>(), b.data<T>(), kind, factor, a.dim(0),
                         row_length(a.shape()));
    });
  };
  if (g.wants(0)) g.give(0, gradient(1));
  if (g.wants(1)) g.give(1, gradient(-1));  // of a function of a - b
}

Tensor gram_matrix(const Tensor& x, double factor) {
  OperatorScope const scope("gram_matrix");
  check_rank("gram_matrix", x, 4);
  int64_t const n = x.dim(0), pixels = x.dim(1) * x.dim(2), c = x.dim(3);
  check(pixels > 0 && c > 0, "gram_matrix: the images of ", x.shape(), " are empty");
  Tensor const products = Tensor::empty({n, c, c}, x.dtype(), x.device());
  for (int64_t i = 0; i < n; ++i) {
    Tensor const image = x.rows(i, 1).view({pixels, c});
    matmul_into(products.rows(i, 1).view({c, c}), image, image, true, false);
  }
  GramMatrixNode node;
  node.input = x;
  node.factor = factor;
  Tensor const y = filled(products.shape(), x, [&]<class T>(T* out) {
    scale_kernel<T>(x.stream(), out, products.data<T>(), factor, products.numel());
  });
  return record(y, {x}, std::move(node));
}

std::vector<Attribute> GramMatrixNode::attributes() const { return {{"factor", cat(factor)}}; }

/// dx = factor * x (dG + dG^T) by image.
void GramMatrixNode::backward(Gradients& g) {
  OperatorScope const scope("gram_matrix backward");
  Tensor const& dy = g.output();
  int64_t const n = input.dim(0), pixels = input.dim(1) * input.dim(2), c = input.dim(3);
  Tensor const dx = Tensor::empty_like(input), both = Tensor::empty({c, c}, dy.dtype(), dy.device());
  for (int64_t i = 0; i < n; ++i) {
    Tensor const gradient = dy.rows(i, 1).view({c, c});
    dispatch(dy.dtype(), [&](auto zero) {
      using T = decltype(zero);
      symmetric_sum<T>(dy.stream(), both.data<T>(), gradient.data<T>(), factor, c);
    });
    matmul_into(dx.rows(i, 1).view({pixels, c}), input.rows(i, 1).view({pixels, c}), both);
  }
  g.give(0, dx);
}

}  // namespace mith
