// The Kullback-Leibler divergence of a softmax over k logits from fixed probabilities p: a block an image.
#include "kernels/launch/bytes.h"
#include "kernels/launch/launch.h"
#include "kernels/row/softmax.h"

namespace mith::MITH_SPACE {

/// loss = sum_j p_j (log p_j - log q_j), q the softmax; a p_j of 0 adds nothing. Summed in double, because the terms
/// cancel where q is near p; what rounding leaves below 0 is 0.
template <class T>
__global__ void kl_divergence_forward(T* __restrict__ loss, const T* __restrict__ probabilities,
                                      const T* __restrict__ logits, int64_t n, int64_t k) {
  for (auto i : block_items(n)) {
    const T* const z = logits + i * k;
    const T* const p = probabilities + i * k;
    SoftmaxRow<T> const row = softmax_row(z, k, [](int64_t, T) {});
    double const log_sum = std::log(static_cast<double>(row.sum));
    double sum = 0;
    for (auto j : block_stride(k)) {
      double const share = static_cast<double>(p[j]);
      double const log_q = static_cast<double>(z[j]) - static_cast<double>(row.shift) - log_sum;
      sum += share == 0 ? 0 : share * (std::log(share) - log_q);
    }
    sum = block_sum(sum);
    if (block_leader()) loss[i] = static_cast<T>(kmax(is_nan(log_sum) ? log_sum : sum, 0.0));
  }
}

/// dlogits_j = dloss * (q_j - p_j), exactly 0 where p is the softmax that this engine computes of the same logits.
template <class T>
__global__ void kl_divergence_backward(T* __restrict__ dlogits, const T* __restrict__ dloss,
                                       const T* __restrict__ probabilities, const T* __restrict__ logits, int64_t n,
                                       int64_t k) {
  for (auto i : block_items(n)) {
    const T* const z = logits + i * k;
    const T* const p = probabilities + i * k;
    T* const g = dlogits + i * k;
    // A thread returns to the elements that it stored.
    SoftmaxRow<T> const row = softmax_row(z, k, [g](int64_t j, T e) { g[j] = e; });
    for (auto j : block_stride(k)) g[j] = dloss[i] * (g[j] / row.sum - p[j]);
  }
}

template <class T>
void launch_kl_divergence_forward(const Stream& stream, T* loss, const T* probabilities, const T* logits, int64_t n,
                                  int64_t k) {
  launch_row(stream, {"kl_divergence_forward", n, bytes_of<T>(2, n * k)}, k, kl_divergence_forward<T>, loss,
             probabilities, logits, n, k);
}

template <class T>
void launch_kl_divergence_backward(const Stream& stream, T* dlogits, const T* dloss, const T* probabilities,
                                   const T* logits, int64_t n, int64_t k) {
  launch_row(stream, {"kl_divergence_backward", n, bytes_of<T>(3, n * k)}, k, kl_divergence_backward<T>, dlogits, dloss,
             probabilities, logits, n, k);
}

KERNEL_FLOATS(kl_divergence_forward, launch_kl_divergence_forward);
KERNEL_FLOATS(kl_divergence_backward, launch_kl_divergence_backward);

}  // namespace mith::MITH_SPACE
