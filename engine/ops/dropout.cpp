#include "engine/ops/dropout.h"

#include "engine/ops/support.h"
#include "kernels/launch/table.h"

namespace mith {
namespace {

template <class T>
const Kernel<T*, const T*, const int64_t*, DrawKey, double, int64_t, int64_t> dropout_kernel{"dropout", dtype_of<T>};

Tensor dropped(const Tensor& x, double p, const Tensor& ids, const DrawKey& key) {
  Tensor y = Tensor::empty_like(x);
  int64_t const images = x.dim(0);
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    dropout_kernel<T>(x.stream(), y.data<T>(), x.data<T>(), ids.data<int64_t>(), key, p, images,
                      images ? x.numel() / images : 0);
  });
  return y;
}

}  // namespace

Tensor dropout(const Tensor& x, double p, const Tensor& ids, const DrawKey& key) {
  OperatorScope const scope("dropout");
  check(p >= 0 && p < 1, "dropout: the probability must lie in [0, 1), not ", p);
  check(x.defined() && x.shape().rank() >= 1, "dropout: the input has no dimensions");
  check(ids.defined() && ids.shape() == Shape{x.dim(0)} && ids.dtype() == DType::i64 && ids.device() == x.device(),
        "dropout: ", x.dim(0), " images need as many ids (i64, on their device)");
  DropoutNode node;
  node.p = p;
  node.ids = ids;
  node.key = key;
  return record(dropped(x, p, ids, key), {x}, std::move(node));
}

std::vector<Attribute> DropoutNode::attributes() const { return {{"p", cat(p)}}; }

void DropoutNode::backward(Gradients& g) {
  OperatorScope const scope("dropout backward");
  g.give(0, dropped(g.output(), p, ids, key));
}

}  // namespace mith
