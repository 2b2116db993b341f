#include "engine/ops/dropout.h"

#include "engine/ops/support.h"
#include "kernels/launch/table.h"

namespace mith {
namespace {

template <class T>
using Drop = Kernel<T*, const T*, const int64_t*, DrawKey, double, int64_t, int64_t>;
template <class T>
const Drop<T> dropout_kernel{"dropout", dtype_of<T>};
template <class T>
const Drop<T> stochastic_depth_kernel{"stochastic_depth", dtype_of<T>};

int64_t per_image(const Tensor& x) { return x.dim(0) ? x.numel() / x.dim(0) : 0; }

Tensor dropped(const Tensor& x, double p, const Tensor& ids, const DrawKey& key) {
  return filled(x.shape(), x, [&]<class T>(T* y) {
    dropout_kernel<T>(x.stream(), y, x.data<T>(), ids.data<int64_t>(), key, p, x.dim(0), per_image(x));
  });
}

Tensor images_dropped(const Tensor& x, double p, const Tensor& ids, const DrawKey& key) {
  return filled(x.shape(), x, [&]<class T>(T* y) {
    stochastic_depth_kernel<T>(x.stream(), y, x.data<T>(), ids.data<int64_t>(), key, p, x.dim(0), per_image(x));
  });
}

void check_ids(const char* op, const Tensor& x, const Tensor& ids) {
  check(x.defined() && x.shape().rank() >= 1, op, ": the input has no dimensions");
  check(ids.defined() && ids.shape() == Shape{x.dim(0)} && ids.dtype() == DType::i64 && ids.device() == x.device(), op,
        ": ", x.dim(0), " images need as many ids (i64, on their device)");
}

}  // namespace

Tensor dropout(const Tensor& x, double p, const Tensor& ids, const DrawKey& key) {
  OperatorScope const scope("dropout");
  check(p >= 0 && p < 1, "dropout: the probability must lie in [0, 1), not ", p);
  check_ids("dropout", x, ids);
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

Tensor stochastic_depth(const Tensor& x, double p, const Tensor& ids, const DrawKey& key) {
  OperatorScope const scope("stochastic_depth");
  check(p >= 0 && p <= 1, "stochastic_depth: the probability must lie in [0, 1], not ", p);
  check_ids("stochastic_depth", x, ids);
  StochasticDepthNode node;
  node.p = p;
  node.ids = ids;
  node.key = key;
  return record(images_dropped(x, p, ids, key), {x}, std::move(node));
}

std::vector<Attribute> StochasticDepthNode::attributes() const { return {{"p", cat(p)}}; }

void StochasticDepthNode::backward(Gradients& g) {
  OperatorScope const scope("stochastic_depth backward");
  g.give(0, images_dropped(g.output(), p, ids, key));
}

}  // namespace mith
