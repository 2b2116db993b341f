// The losses of attacks beside the cross-entropy: margins, DLR, and the divergence from fixed probabilities.
#include "engine/ops/loss.h"
#include "engine/ops/support.h"
#include "kernels/launch/table.h"

namespace mith {
namespace {

template <class T>
const Kernel<T*, const T*, const int32_t*, const int32_t*, int, int64_t, int64_t> margin_forward{"margin_loss_forward",
                                                                                                 dtype_of<T>};
template <class T>
const Kernel<T*, const T*, const T*, const int32_t*, const int32_t*, int, int64_t, int64_t> margin_backward{
    "margin_loss_backward", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, const T*, int64_t, int64_t> divergence_forward{"kl_divergence_forward", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, const T*, const T*, int64_t, int64_t> divergence_backward{"kl_divergence_backward",
                                                                                     dtype_of<T>};

void check_classes(const Tensor& logits, const char* what, const Tensor& classes) {
  check(classes.defined() && classes.shape() == Shape{logits.dim(0)} && classes.dtype() == DType::i32 &&
            classes.device() == logits.device(),
        "margin_loss: logits ", logits.shape(), " need as many ", what, " (i32, on their device)");
}

const int32_t* others_or_null(const MarginOptions& o) {
  return o.others.defined() ? o.others.data<int32_t>() : nullptr;
}

/// The rank of the last logit in the divisor; 0: there is none.
int lowest_rank(const MarginOptions& o, int64_t classes) {
  if (!o.by_rank || classes == 2) return 0;
  return o.others.defined() && classes > 3 ? 4 : 3;
}

}  // namespace

Tensor margin_loss(const Tensor& logits, const Tensor& labels, const MarginOptions& options) {
  OperatorScope const scope("margin_loss");
  check_rank("margin_loss", logits, 2);
  check(logits.dim(1) >= 2, "margin_loss: one class has no rival");
  check_classes(logits, "labels", labels);
  if (options.others.defined()) check_classes(logits, "others", options.others);
  MarginLossNode node;
  node.logits = logits;
  node.labels = labels;
  node.options = options;
  Tensor const loss = filled({logits.dim(0)}, logits, [&]<class T>(T* y) {
    margin_forward<T>(logits.stream(), y, logits.data<T>(), labels.data<int32_t>(), others_or_null(options),
                      lowest_rank(options, logits.dim(1)), logits.dim(0), logits.dim(1));
  });
  return record(loss, {logits}, std::move(node));
}

std::vector<Attribute> MarginLossNode::attributes() const {
  return {{"others", options.others.defined() ? "yes" : "no"}, {"by_rank", options.by_rank ? "yes" : "no"}};
}

void MarginLossNode::backward(Gradients& g) {
  OperatorScope const scope("margin_loss backward");
  g.give(0, filled(logits.shape(), logits, [&]<class T>(T* dz) {
           margin_backward<T>(logits.stream(), dz, g.output().data<T>(), logits.data<T>(), labels.data<int32_t>(),
                              others_or_null(options), lowest_rank(options, logits.dim(1)), logits.dim(0),
                              logits.dim(1));
         }));
}

Tensor kl_divergence(const Tensor& probabilities, const Tensor& logits) {
  OperatorScope const scope("kl_divergence");
  check_rank("kl_divergence", logits, 2);
  check(probabilities.defined() && probabilities.shape() == logits.shape(), "kl_divergence: logits ", logits.shape(),
        " need probabilities of their shape");
  check(!tracked(probabilities), "kl_divergence: no gradient leads to the probabilities");
  KlDivergenceNode node;
  node.probabilities = probabilities.to(logits.device()).cast(logits.dtype());
  node.logits = logits;
  Tensor const loss = filled({logits.dim(0)}, logits, [&]<class T>(T* y) {
    divergence_forward<T>(logits.stream(), y, node.probabilities.data<T>(), logits.data<T>(), logits.dim(0),
                          logits.dim(1));
  });
  return record(loss, {logits}, std::move(node));
}

void KlDivergenceNode::backward(Gradients& g) {
  OperatorScope const scope("kl_divergence backward");
  g.give(0, filled(logits.shape(), logits, [&]<class T>(T* dz) {
           divergence_backward<T>(logits.stream(), dz, g.output().data<T>(), probabilities.data<T>(), logits.data<T>(),
                                  logits.dim(0), logits.dim(1));
         }));
}

}  // namespace mith
