// Softmax and softmax cross-entropy over the k logits of an image: a block an image.
//
// The softmax is split into the label y and its rivals, the classes other than y: with S = sum exp(z_j - c) over the
// rivals and L = exp(z_y - c), 1 - p_y = S / (S + L) and the loss is log(1 + S / L). Neither is formed as a difference
// from 1, so both keep their relative accuracy when the network is certain, where p_y rounds to 1.
#include "kernels/launch/bytes.h"
#include "kernels/launch/exponential.h"
#include "kernels/launch/launch.h"
#include "kernels/row/softmax.h"

namespace mith::MITH_SPACE {

template <class T>
struct Split {
  T rivals;  ///< S
  T label;   ///< L
  T behind;  ///< c - z_y
};

template <class T>
constexpr T not_a_number = static_cast<T>(__builtin_nan(""));
template <class T>
constexpr T infinity = static_cast<T>(__builtin_inf());

/// The index of a class, as wide as a label.
MITH_DEVICE int32_t class_index(int64_t j) { return static_cast<int32_t>(j); }

/// S for a given c. `store(j, e)` receives every exp(z_j - c).
template <class T, class Store>
__device__ __forceinline__ T rivals_from(T c, const T* __restrict__ z, int32_t y, int64_t k, Store store) {
  T sum = 0;
  for (auto j : block_stride(k)) {
    T const e = exponential(z[j] - c);
    store(j, e);
    sum += class_index(j) == y ? T(0) : e;
  }
  return block_sum(sum);
}

/// c is the label's logit, which needs no search. It is the largest of the rivals' where they lead or lag so far that
/// z_j - z_y loses digits or its exp leaves the range, and where there is a NaN.
template <class T, class Store>
__device__ __forceinline__ Split<T> split_of(const T* __restrict__ z, int32_t y, int64_t k, Store store) {
  T const odds = rivals_from(z[y], z, y, k, store);
  if (odds > T(1e-15) && odds < T(1e7)) return {odds, 1, 0};
  T const c = block_max<T>(k, [=](int64_t j) {
    T const logit = z[j];  // read always: a conditional load would not vectorise
    return class_index(j) == y ? -infinity<T> : logit;
  });
  return {rivals_from(c, z, y, k, store), exponential(z[y] - c), c - z[y]};
}

/// log(1 + S / L).
template <class T>
MITH_DEVICE T negative_log_likelihood(const Split<T>& s) {
  if (s.behind == 0) return log_1p(s.rivals);
  return s.behind < 0 ? s.rivals * std::exp(s.behind) : std::log(s.rivals + s.label) + s.behind;
}

/// 1 / (S + L), which makes probabilities of the rivals' exp(z_j - c), and 1 - p_y of their sum.
template <class T>
MITH_DEVICE T share_of_rivals(const Split<T>& s) {
  return s.behind < -80 ? std::exp(s.behind) : 1 / (s.rivals + s.label);
}

/// loss = weight[y] * ((1 - s) * -log p_y + s * mean_j(-log p_j)). A label outside [0, k) gives NaN: loaders validate
/// labels, and a kernel cannot throw.
template <class T>
__global__ void cross_entropy_forward(T* __restrict__ loss, const T* __restrict__ logits,
                                      const int32_t* __restrict__ labels, const T* __restrict__ weights, T smoothing,
                                      int64_t n, int64_t k) {
  for (auto i : block_items(n)) {
    const T* const z = logits + i * k;
    int32_t const y = labels[i];
    if (y < 0 || y >= k) {
      if (block_leader()) loss[i] = not_a_number<T>;
      continue;
    }
    T value = negative_log_likelihood(split_of(z, y, k, [](int64_t, T) {}));
    if (smoothing > 0) {
      T sum = 0;
      for (auto j : block_stride(k)) sum += z[y] - z[j];
      value += smoothing * block_sum(sum) / static_cast<T>(k);
    }
    if (block_leader()) loss[i] = weights ? weights[y] * value : value;
  }
}

/// dlogits_j = dloss * weight[y] * (1 - p_y) * q_j for j != y and -(1 - p_y) for y, where q is the softmax over the
/// other classes; with `direction_only` without the factor 1 - p_y, which can underflow; plus the smoothing's
/// s * ([j = y] - 1/k).
template <class T>
__global__ void cross_entropy_backward(T* __restrict__ dlogits, const T* __restrict__ dloss,
                                       const T* __restrict__ logits, const int32_t* __restrict__ labels,
                                       const T* __restrict__ weights, T smoothing, int direction_only, int64_t n,
                                       int64_t k) {
  T const mean = smoothing / static_cast<T>(k);
  for (auto i : block_items(n)) {
    const T* const z = logits + i * k;
    T* const g = dlogits + i * k;
    int32_t const y = labels[i];
    if (y < 0 || y >= k) {
      for (auto j : block_stride(k)) g[j] = not_a_number<T>;
      continue;
    }
    // A thread returns to the elements that it stored.
    Split<T> const s = split_of(z, y, k, [g](int64_t j, T e) { g[j] = e; });
    bool const whole = direction_only && !is_nan(s.behind);
    T const share = whole ? 1 / s.rivals : share_of_rivals(s), doubt = whole ? T(1) : share * s.rivals;
    T const factor = weights ? weights[y] * dloss[i] : dloss[i], of_label = smoothing - doubt;
    for (auto j : block_stride(k)) g[j] = factor * ((class_index(j) == y ? of_label : share * g[j]) - mean);
  }
}

template <class T>
__global__ void softmax(T* __restrict__ y, const T* __restrict__ x, int64_t n, int64_t k) {
  for (auto i : block_items(n)) {
    T* const p = y + i * k;
    SoftmaxRow<T> const row = softmax_row(x + i * k, k, [p](int64_t j, T e) { p[j] = e; });
    for (auto j : block_stride(k)) p[j] /= row.sum;
  }
}

/// dx = y * (dy - sum(dy * y)).
template <class T>
__global__ void softmax_backward(T* __restrict__ dx, const T* __restrict__ dy, const T* __restrict__ y, int64_t n,
                                 int64_t k) {
  for (auto i : block_items(n)) {
    T sum = 0;
    for (auto j : block_stride(k)) sum += dy[i * k + j] * y[i * k + j];
    sum = block_sum(sum);
    for (auto j : block_stride(k)) dx[i * k + j] = y[i * k + j] * (dy[i * k + j] - sum);
  }
}

template <class T>
void launch_cross_entropy_forward(const Stream& stream, T* loss, const T* logits, const int32_t* labels,
                                  const T* weights, double smoothing, int64_t n, int64_t k) {
  launch_row(stream, {"cross_entropy_forward", n, bytes_of<T>(1, n * k)}, k, cross_entropy_forward<T>, loss, logits,
             labels, weights, smoothing, n, k);
}

template <class T>
void launch_cross_entropy_backward(const Stream& stream, T* dlogits, const T* dloss, const T* logits,
                                   const int32_t* labels, const T* weights, double smoothing, int direction_only,
                                   int64_t n, int64_t k) {
  launch_row(stream, {"cross_entropy_backward", n, bytes_of<T>(2, n * k)}, k, cross_entropy_backward<T>, dlogits, dloss,
             logits, labels, weights, smoothing, direction_only, n, k);
}

template <class T>
void launch_softmax(const Stream& stream, T* y, const T* x, int64_t n, int64_t k) {
  launch_row(stream, {"softmax", n, bytes_of<T>(2, n * k)}, k, softmax<T>, y, x, n, k);
}

template <class T>
void launch_softmax_backward(const Stream& stream, T* dx, const T* dy, const T* y, int64_t n, int64_t k) {
  launch_row(stream, {"softmax_backward", n, bytes_of<T>(3, n * k)}, k, softmax_backward<T>, dx, dy, y, n, k);
}

KERNEL_FLOATS(cross_entropy_forward, launch_cross_entropy_forward);
KERNEL_FLOATS(cross_entropy_backward, launch_cross_entropy_backward);
KERNEL_FLOATS(softmax, launch_softmax);
KERNEL_FLOATS(softmax_backward, launch_softmax_backward);

}  // namespace mith::MITH_SPACE
