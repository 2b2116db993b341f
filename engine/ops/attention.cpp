#include "engine/ops/attention.h"

#include <cmath>

#include "engine/ops/linear.h"
#include "engine/ops/support.h"
#include "kernels/launch/table.h"

namespace mith {
namespace {

template <class T>
const Kernel<T*, const T*, int64_t, int64_t, int64_t> swap_dimensions{"swap_dimensions", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, double, int64_t> scale_kernel{"scale", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, int64_t, int64_t> softmax_kernel{"softmax", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, const T*, int64_t, int64_t> softmax_backward{"softmax_backward", dtype_of<T>};

/// x [outer, inner, d] -> y [inner, outer, d].
void swap(const Tensor& y, const Tensor& x, int64_t outer, int64_t inner) {
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    swap_dimensions<T>(x.stream(), y.data<T>(), x.data<T>(), outer, inner, x.numel() / (outer * inner));
  });
}

void scale_into(const Tensor& y, const Tensor& x, double factor) {
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    scale_kernel<T>(x.stream(), y.data<T>(), x.data<T>(), factor, x.numel());
  });
}

/// The matrix of one head: of [heads, rows, cols] -> [rows, cols].
Tensor of_head(const Tensor& t, int64_t head) { return t.rows(head, 1).view({t.dim(1), t.dim(2)}); }

/// One image's attention: what forward and backward compute alike, in memory that the next image uses again.
struct Attention {
  int64_t heads, tokens, size;  ///< size: d
  double factor;                ///< 1 / sqrt(d)
  Tensor parts;                 ///< [3 heads,t,d]: queries, keys, values
  Tensor q, k, v;               ///< [heads,t,d]; q times the factor
  Tensor scores, weights;       ///< [heads,t,t]

  Attention(const Tensor& qkv, int64_t h)
      : heads(h),
        tokens(qkv.dim(1)),
        size(qkv.dim(2) / (3 * h)),
        factor(1 / std::sqrt(static_cast<double>(size))),
        parts(like(qkv, 3 * h, size)),
        q(like(qkv, h, size)),
        k(parts.rows(h, h)),
        v(parts.rows(2 * h, h)),
        scores(like(qkv, h, tokens)),
        weights(like(qkv, h, tokens)) {}

  Tensor like(const Tensor& qkv, int64_t h, int64_t cols) const {
    return Tensor::empty({h, tokens, cols}, qkv.dtype(), qkv.device());
  }

  /// Fills everything for one image's qkv [1,t,3c].
  void weigh(const Tensor& qkv) {
    swap(parts, qkv, tokens, 3 * heads);
    scale_into(q, parts.rows(0, heads), factor);
    for (int64_t h = 0; h < heads; ++h) matmul_into(of_head(scores, h), of_head(q, h), of_head(k, h), false, true);
    dispatch(qkv.dtype(), [&](auto zero) {
      using T = decltype(zero);
      softmax_kernel<T>(qkv.stream(), weights.data<T>(), scores.data<T>(), heads * tokens, tokens);
    });
  }
};

}  // namespace

Tensor self_attention(const Tensor& qkv, int64_t heads) {
  OperatorScope const scope("self_attention");
  check_rank("self_attention", qkv, 3);
  check(heads > 0 && qkv.dim(2) > 0 && qkv.dim(2) % (3 * heads) == 0, "self_attention: ", qkv.shape(),
        " is not queries, keys and values of ", heads, " heads");
  Tensor const y = Tensor::empty(qkv.shape().with(2, qkv.dim(2) / 3), qkv.dtype(), qkv.device());
  if (y.numel()) {
    Attention a(qkv, heads);
    Tensor const heads_first = a.like(qkv, heads, a.size);
    for (int64_t i = 0; i < qkv.dim(0); ++i) {
      a.weigh(qkv.rows(i, 1));
      for (int64_t h = 0; h < heads; ++h) matmul_into(of_head(heads_first, h), of_head(a.weights, h), of_head(a.v, h));
      swap(y.rows(i, 1), heads_first, heads, a.tokens);
    }
  }
  SelfAttentionNode node;
  node.qkv = qkv;
  node.heads = heads;
  return record(y, {qkv}, std::move(node));
}

std::vector<Attribute> SelfAttentionNode::attributes() const { return {{"heads", cat(heads)}}; }

int64_t SelfAttentionNode::flops() const {
  Shape const& s = inputs[0].shape;
  return 4 * s[0] * s[1] * s[1] * s[2] / 3;
}

Tensor SelfAttentionNode::again(const std::vector<Tensor>& values) const { return self_attention(values[0], heads); }

void SelfAttentionNode::backward(Gradients& g) {
  OperatorScope const scope("self_attention backward");
  Tensor const& dy = g.output();
  Tensor const dqkv = Tensor::empty_like(qkv);
  if (dqkv.numel()) {
    Attention a(qkv, heads);
    Tensor const dout = a.like(qkv, heads, a.size), dq = Tensor::empty_like(dout), dparts = Tensor::empty_like(a.parts);
    Tensor const dk = dparts.rows(heads, heads), dv = dparts.rows(2 * heads, heads);
    Tensor const dweights = Tensor::empty_like(a.weights);
    for (int64_t i = 0; i < qkv.dim(0); ++i) {
      a.weigh(qkv.rows(i, 1));
      swap(dout, dy.rows(i, 1), a.tokens, heads);
      for (int64_t h = 0; h < heads; ++h) {
        matmul_into(of_head(dv, h), of_head(a.weights, h), of_head(dout, h), true, false);
        matmul_into(of_head(dweights, h), of_head(dout, h), of_head(a.v, h), false, true);
      }
      Tensor const& dscores = a.scores;  // no longer needed
      dispatch(qkv.dtype(), [&](auto zero) {
        using T = decltype(zero);
        softmax_backward<T>(qkv.stream(), dscores.data<T>(), dweights.data<T>(), a.weights.data<T>(), heads * a.tokens,
                            a.tokens);
      });
      for (int64_t h = 0; h < heads; ++h) {
        matmul_into(of_head(dq, h), of_head(dscores, h), of_head(a.k, h));
        matmul_into(of_head(dk, h), of_head(dscores, h), of_head(a.q, h), true, false);
      }
      scale_into(dparts.rows(0, heads), dq, a.factor);
      swap(dqkv.rows(i, 1), dparts, 3 * heads, a.tokens);
    }
  }
  g.give(0, dqkv);
}

}  // namespace mith
