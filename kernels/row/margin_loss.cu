// The margin of a rival class over the label, and its ratio to the spread of the logits (DLR): a block an image.
#include "kernels/launch/bytes.h"
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

/// The loss is lead / spread, and its classes; -1 stands for none.
template <class T>
struct Margin {
  T lead = static_cast<T>(__builtin_nan(""));  ///< z_rival - z_label
  T spread = 1;                                ///< z_first - (z_low + z_lower) / 2 + 1e-12
  int64_t label = -1, rival = -1, first = -1, low = -1, lower = -1;
};

/// The largest logit behind `last`; of equal ones the lowest index comes first. With `last.index` -1 the largest of
/// all, where NaN wins.
template <class T>
__device__ ValueIndex<T> largest_behind(const T* __restrict__ z, int64_t k, ValueIndex<T> last) {
  int64_t const none = INT64_MAX;
  ValueIndex<T> best{static_cast<T>(-__builtin_inf()), none};
  for (auto j : block_stride(k)) {
    T const v = z[j];
    bool const behind = last.index < 0 || v < last.value || (v == last.value && j > last.index);
    bool const better = best.index == none || v > best.value || (is_nan(v) && !is_nan(best.value));
    if (behind && better) best = {v, j};
  }
  return block_argmax(best);
}

/// The label y against `other`, or against the largest of the rest if that is negative. `lowest` is the rank of the
/// last logit in the spread: 3 or 4, or 0 for a spread of 1. NaN for classes out of range and where a logit that takes
/// part is NaN.
template <class T>
__device__ Margin<T> margin_of(const T* __restrict__ z, int64_t k, int32_t y, bool against_other, int32_t other,
                               int lowest) {
  if (y < 0 || y >= k || (against_other && (other < 0 || other >= k))) return {};
  Margin<T> m;
  m.label = y;
  m.rival = other;
  if (!against_other || lowest > 0) {
    ValueIndex<T> const first = largest_behind(z, k, {T(0), -1});
    if (is_nan(first.value)) return {};
    ValueIndex<T> const second = largest_behind(z, k, first);
    if (!against_other) m.rival = first.index == y ? second.index : first.index;
    if (lowest > 0) {
      ValueIndex<T> const third = largest_behind(z, k, second);
      ValueIndex<T> const last = lowest > 3 ? largest_behind(z, k, third) : third;
      m.first = first.index;
      m.low = third.index;
      m.lower = last.index;
      // Added to a difference of 0 alone: in a sum of three, which may be added up in any order, it would vanish.
      T const spread = first.value - (third.value + last.value) / 2;
      m.spread = spread == 0 ? T(1e-12) : spread + T(1e-12);
    }
  }
  m.lead = z[m.rival] - z[y];
  return m;
}

template <class T>
__global__ void margin_loss_forward(T* __restrict__ loss, const T* __restrict__ logits,
                                    const int32_t* __restrict__ labels, const int32_t* __restrict__ others, int lowest,
                                    int64_t n, int64_t k) {
  for (auto i : block_items(n)) {
    Margin<T> const m = margin_of(logits + i * k, k, labels[i], others != nullptr, others ? others[i] : -1, lowest);
    if (block_leader()) loss[i] = m.lead / m.spread;
  }
}

/// dlogits_j = dloss / spread * (dlead_j - loss * dspread_j).
template <class T>
__global__ void margin_loss_backward(T* __restrict__ dlogits, const T* __restrict__ dloss, const T* __restrict__ logits,
                                     const int32_t* __restrict__ labels, const int32_t* __restrict__ others, int lowest,
                                     int64_t n, int64_t k) {
  for (auto i : block_items(n)) {
    Margin<T> const m = margin_of(logits + i * k, k, labels[i], others != nullptr, others ? others[i] : -1, lowest);
    T const value = m.lead / m.spread, factor = dloss[i] / m.spread;
    for (auto j : block_stride(k)) {
      T const lead = T(j == m.rival) - T(j == m.label);
      T const spread = T(j == m.first) - (T(j == m.low) + T(j == m.lower)) / 2;
      dlogits[i * k + j] = factor * (lead - value * spread);
    }
  }
}

template <class T>
void launch_margin_loss_forward(const Stream& stream, T* loss, const T* logits, const int32_t* labels,
                                const int32_t* others, int lowest, int64_t n, int64_t k) {
  launch_row(stream, {"margin_loss_forward", n, bytes_of<T>(1, n * k)}, k, margin_loss_forward<T>, loss, logits, labels,
             others, lowest, n, k);
}

template <class T>
void launch_margin_loss_backward(const Stream& stream, T* dlogits, const T* dloss, const T* logits,
                                 const int32_t* labels, const int32_t* others, int lowest, int64_t n, int64_t k) {
  launch_row(stream, {"margin_loss_backward", n, bytes_of<T>(2, n * k)}, k, margin_loss_backward<T>, dlogits, dloss,
             logits, labels, others, lowest, n, k);
}

KERNEL_FLOATS(margin_loss_forward, launch_margin_loss_forward);
KERNEL_FLOATS(margin_loss_backward, launch_margin_loss_backward);

}  // namespace mith::MITH_SPACE
