#include "engine/ops/loss.h"

#include "engine/ops/support.h"
#include "kernels/launch/table.h"

namespace mith {
namespace {

template <class T>
const Kernel<T*, const T*, const int32_t*, const T*, double, int64_t, int64_t> forward_kernel{"cross_entropy_forward",
                                                                                              dtype_of<T>};
template <class T>
const Kernel<T*, const T*, const T*, const int32_t*, const T*, double, int, int64_t, int64_t> backward_kernel{
    "cross_entropy_backward", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, int64_t, int64_t> softmax_kernel{"softmax", dtype_of<T>};

template <class T>
const Kernel<T*, const T*, const T*, int64_t, int64_t> softmax_backward{"softmax_backward", dtype_of<T>};

void check_operands(const Tensor& logits, const Tensor& labels, const CrossEntropyOptions& o) {
  check_rank("cross_entropy", logits, 2);
  check(labels.defined() && labels.shape() == Shape{logits.dim(0)} && labels.dtype() == DType::i32 &&
            labels.device() == logits.device(),
        "cross_entropy: logits ", logits.shape(), " need as many labels (i32, on their device)");
  check(o.label_smoothing >= 0 && o.label_smoothing < 1, "cross_entropy: label smoothing must lie in [0, 1), not ",
        o.label_smoothing);
  check(!o.direction_only || (o.label_smoothing == 0 && logits.dim(1) >= 2),
        "cross_entropy: a direction needs two classes and no label smoothing");
  if (o.class_weights.defined())
    check(o.class_weights.shape() == Shape{logits.dim(1)}, "cross_entropy: ", o.class_weights.shape(),
          " class weights for logits ", logits.shape());
}

template <class T>
const T* weights_or_null(const CrossEntropyOptions& o) {
  return o.class_weights.defined() ? o.class_weights.data<T>() : nullptr;
}

}  // namespace

Tensor cross_entropy(const Tensor& logits, const Tensor& labels, const CrossEntropyOptions& options) {
  OperatorScope const scope("cross_entropy");
  check_operands(logits, labels, options);
  CrossEntropyNode node;
  node.logits = logits;
  node.labels = labels;
  node.options = options;
  if (options.class_weights.defined())
    node.options.class_weights = options.class_weights.to(logits.device()).cast(logits.dtype());
  Tensor const loss = Tensor::empty({logits.dim(0)}, logits.dtype(), logits.device());
  dispatch(logits.dtype(), [&](auto zero) {
    using T = decltype(zero);
    forward_kernel<T>(logits.stream(), loss.data<T>(), logits.data<T>(), labels.data<int32_t>(),
                      weights_or_null<T>(node.options), options.label_smoothing, logits.dim(0), logits.dim(1));
  });
  return record(loss, {logits}, std::move(node));
}

std::vector<Attribute> CrossEntropyNode::attributes() const {
  return {{"label_smoothing", cat(options.label_smoothing)},
          {"class_weights", options.class_weights.defined() ? "yes" : "no"},
          {"direction_only", options.direction_only ? "yes" : "no"}};
}

void CrossEntropyNode::backward(Gradients& g) {
  OperatorScope const scope("cross_entropy backward");
  Tensor const gradient = Tensor::empty_like(logits);
  dispatch(logits.dtype(), [&](auto zero) {
    using T = decltype(zero);
    backward_kernel<T>(logits.stream(), gradient.data<T>(), g.output().data<T>(), logits.data<T>(),
                       labels.data<int32_t>(), weights_or_null<T>(options), options.label_smoothing,
                       options.direction_only, logits.dim(0), logits.dim(1));
  });
  g.give(0, gradient);
}

Tensor softmax(const Tensor& logits) {
  OperatorScope const scope("softmax");
  check(logits.defined() && logits.shape().rank() >= 1, "softmax: the input has no dimensions");
  SoftmaxNode node;
  node.output = filled(logits.shape(), logits, [&]<class T>(T* y) {
    softmax_kernel<T>(logits.stream(), y, logits.data<T>(), rows_of(logits), logits.dim(-1));
  });
  Tensor const y = node.output;
  return record(y, {logits}, std::move(node));
}

void SoftmaxNode::backward(Gradients& g) {
  OperatorScope const scope("softmax backward");
  Tensor const& dy = g.output();
  g.give(0, filled(dy.shape(), dy, [&]<class T>(T* dx) {
           softmax_backward<T>(dy.stream(), dx, dy.data<T>(), output.data<T>(), rows_of(dy), dy.dim(-1));
         }));
}

}  // namespace mith
