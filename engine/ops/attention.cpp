#include "engine/ops/attention.h"

#include <algorithm>
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

/// The attention of some images: what forward and backward compute alike. A head of an image is a product of a batch.
struct Attention {
  int64_t heads, images, tokens, size;  ///< size: d
  double factor;                        ///< 1 / sqrt(d)
  Tensor parts;                         ///< [3 heads images,t,d]: queries, keys, values
  Tensor q, k, v;                       ///< [heads images,t,d]; q times the factor
  Tensor scores, weights;               ///< [heads images,t,t]

  /// Of qkv [n,t,3c].
  Attention(const Tensor& qkv, int64_t h)
      : heads(h),
        images(qkv.dim(0)),
        tokens(qkv.dim(1)),
        size(qkv.dim(2) / (3 * h)),
        factor(1 / std::sqrt(static_cast<double>(size))),
        parts(like(qkv, 3, size)),
        q(like(qkv, 1, size)),
        k(part(parts, 1)),
        v(part(parts, 2)),
        scores(like(qkv, 1, tokens)),
        weights(like(qkv, 1, tokens)) {
    swap(parts, qkv, images * tokens, 3 * heads);
    scale_into(q, part(parts, 0), factor);
    matmul_into(scores, q, k, false, true);
    dispatch(qkv.dtype(), [&](auto zero) {
      using T = decltype(zero);
      softmax_kernel<T>(qkv.stream(), weights.data<T>(), scores.data<T>(), heads * images * tokens, tokens);
    });
  }

  Tensor like(const Tensor& qkv, int64_t count, int64_t cols) const {
    return Tensor::empty({count * heads * images, tokens, cols}, qkv.dtype(), qkv.device());
  }
  Tensor part(const Tensor& three, int64_t i) const { return three.rows(i * heads * images, heads * images); }
};

/// Calls f(first, count) for runs of images whose weights fit a cache.
template <class F>
void for_each_run(const Tensor& qkv, int64_t heads, const F& f) {
  constexpr int64_t most_weights = 1 << 19;
  int64_t const n = qkv.dim(0), weights = heads * qkv.dim(1) * qkv.dim(1);
  int64_t const run = std::clamp<int64_t>(most_weights / weights, 1, n);
  for (int64_t first = 0; first < n; first += run) f(first, std::min(run, n - first));
}

}  // namespace

void self_attention_into(const Tensor& y, const Tensor& qkv, int64_t heads) {
  for_each_run(qkv, heads, [&](int64_t first, int64_t count) {
    Attention const a(qkv.rows(first, count), heads);
    Tensor const mixed = Tensor::empty_like(a.q);
    matmul_into(mixed, a.weights, a.v);
    swap(y.rows(first, count), mixed, heads, count * a.tokens);
  });
}

void self_attention_gradient_into(const Tensor& dqkv, const Tensor& qkv, const Tensor& dy, int64_t heads) {
  for_each_run(qkv, heads, [&](int64_t first, int64_t count) {
    Attention const a(qkv.rows(first, count), heads);
    Tensor const dmixed = Tensor::empty_like(a.q), dq = Tensor::empty_like(a.q), dparts = Tensor::empty_like(a.parts),
                 dweights = Tensor::empty_like(a.weights);
    swap(dmixed, dy.rows(first, count), count * a.tokens, heads);
    matmul_into(a.part(dparts, 2), a.weights, dmixed, true, false);
    matmul_into(dweights, dmixed, a.v, false, true);
    Tensor const& dscores = a.scores;  // no longer needed
    dispatch(qkv.dtype(), [&](auto zero) {
      using T = decltype(zero);
      softmax_backward<T>(qkv.stream(), dscores.data<T>(), dweights.data<T>(), a.weights.data<T>(),
                          dscores.numel() / a.tokens, a.tokens);
    });
    matmul_into(dq, dscores, a.k);
    scale_into(a.part(dparts, 0), dq, a.factor);
    matmul_into(a.part(dparts, 1), dscores, a.q, true, false);
    swap(dqkv.rows(first, count), dparts, 3 * heads, count * a.tokens);
  });
}

Tensor self_attention(const Tensor& qkv, int64_t heads) {
  OperatorScope const scope("self_attention");
  check_rank("self_attention", qkv, 3);
  check(heads > 0 && qkv.dim(2) > 0 && qkv.dim(2) % (3 * heads) == 0, "self_attention: ", qkv.shape(),
        " is not queries, keys and values of ", heads, " heads");
  Tensor const y = Tensor::empty(qkv.shape().with(2, qkv.dim(2) / 3), qkv.dtype(), qkv.device());
  if (y.numel()) self_attention_into(y, qkv, heads);
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
  Tensor const dqkv = Tensor::empty_like(qkv);
  if (dqkv.numel()) self_attention_gradient_into(dqkv, qkv, g.output(), heads);
  g.give(0, dqkv);
}

}  // namespace mith
