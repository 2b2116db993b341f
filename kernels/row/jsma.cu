// The saliency map attack's search for the best pair of features (Papernot et al. 2016, algorithm 3 and eq. 8), exact,
// over all D (D - 1) / 2 pairs and without a table of them. With a_i the target logit's gradient and b_i minus the sum
// of the other logits' gradients (both with the sign of the change), the pair maximises
//
//   value(p, q) = max(a_p + a_q, 0) max(b_p + b_q, 0)    in f32, if that is positive; ties go to the least (p, q).
//
// Pairs are left out where a bound says that they lose. With A, B and S the largest a, b and a + b of some features, no
// pair of p with one of them exceeds (a_p + A)(b_p + B), nor ((a_p + b_p + S) / 2)^2, since a product is at most the
// square of the mean. Rounding is monotone, so the first holds in f32 as it stands; the second is given a margin.
// Signatures:
//
//   jsma_gradients (float* a, float* b, const float* adv, const float* x, const float* target, const float* sum,
//                   float theta, int64_t* nan_count, int64_t n)
//   jsma_pool      (float* a, float* b, int64_t pool, int64_t images, int64_t features)
//   jsma_bounds    (float* bounds, const float* a, const float* b, int64_t images, int64_t features)
//   jsma_pairs     (float* values, int64_t* pairs, const float* a, const float* b, const float* bounds, int64_t images,
//                   int64_t features)
//   jsma_move      (float* adv, int64_t* moved, const float* values, const int64_t* pairs, float theta, int64_t images,
//                   int64_t features)
#include "kernels/row/jsma.h"

#include <bit>

#include "kernels/launch/bytes.h"
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

constexpr int64_t no_pair = INT64_MAX;

#if defined(__CUDA_ARCH__)
MITH_DEVICE int32_t bits_of(float v) { return __float_as_int(v); }
MITH_DEVICE float float_of(int32_t bits) { return __int_as_float(bits); }
#else
MITH_DEVICE int32_t bits_of(float v) { return std::bit_cast<int32_t>(v); }
MITH_DEVICE float float_of(int32_t bits) { return std::bit_cast<float>(bits); }
#endif

/// max(v, 0) through the bits: negative numbers are negative integers, and integers have vector maxima.
MITH_DEVICE float positive_part(float v) {
  int32_t const bits = bits_of(v);
  return float_of(bits > 0 ? bits : 0);
}
/// The bits of the pair's value; non-negative floats are ordered as their bits.
MITH_DEVICE int32_t value_bits(float a, float b) { return bits_of(positive_part(a) * positive_part(b)); }

/// a + b, rounded up by more than the sums and products of a search can round.
MITH_DEVICE float sum_bound(float a, float b) {
  float const size = (a < 0 ? -a : a) + (b < 0 ? -b : b);
  return size < __builtin_inff() ? a + b + 1e-6f * size : -__builtin_inff();
}

/// What is known of some features.
struct PairBounds {
  float a, b, sum;  ///< largest a, b and a + b
  /// No pair of (p_a, p_b) with one of them has a value above this.
  MITH_DEVICE float with(float p_a, float p_b, float p_sum) const {
    float const product = positive_part(p_a + a) * positive_part(p_b + b);
    float const mean = positive_part(p_sum + sum);
    float const square_of_mean = 0.250001f * mean * mean;
    return product < square_of_mean ? product : square_of_mean;
  }
};

/// Gradients with the sign of theta. A feature that has been changed before, or has no room (within .01 of the end), or
/// whose gradient is not finite, gets -infinity and is in no pair.
__global__ void jsma_gradients(float* __restrict__ a, float* __restrict__ b, const float* __restrict__ adv,
                               const float* __restrict__ x, const float* __restrict__ target,
                               const float* __restrict__ sum, float theta, int64_t* nan_count, int64_t n) {
  float const side = sign(theta), infinity = __builtin_inff();
  int32_t bad = 0;
  for (auto i : grid_stride(n)) {
    float const up = side * target[i], down = side * (target[i] - sum[i]);
    bool const room = theta > 0 ? x[i] < 0.99f : x[i] > 0.01f;
    bool const open = room && adv[i] == x[i] && up - up == 0 && down - down == 0;
    bad += is_nan(up) || is_nan(down);
    a[i] = open ? up : -infinity;
    b[i] = open ? down : -infinity;
  }
  if (bad) atomic_add(nan_count, bad);
}

/// Whole numbers in the order of the floats.
MITH_DEVICE int32_t float_order(float v) {
  int32_t const bits = bits_of(v);
  return bits ^ ((bits >> 31) & INT32_MAX);
}

/// Leaves the `pool` features with the largest a + b, and those equal to the last of them, open. The threshold is found
/// bit by bit.
__global__ void jsma_pool(float* __restrict__ a, float* __restrict__ b, int64_t pool, int64_t images,
                          int64_t features) {
  for (auto image : block_items(images)) {
    float *const as = a + image * features, *const bs = b + image * features;
    int64_t low = INT32_MIN, high = INT32_MAX;  // the largest threshold that `pool` features reach lies between
    while (low < high) {
      int64_t const middle = low + (high - low + 1) / 2;
      int32_t const threshold = static_cast<int32_t>(middle);
      int32_t reached = 0;
      for (auto i : block_stride(features)) reached += float_order(as[i] + bs[i]) >= threshold;
      if (block_sum(reached) >= pool)
        low = middle;
      else
        high = middle - 1;
    }
    int32_t const threshold = static_cast<int32_t>(low);
    for (auto i : block_stride(features)) {
      bool const out = float_order(as[i] + bs[i]) < threshold;
      as[i] = out ? -__builtin_inff() : as[i];
      bs[i] = out ? -__builtin_inff() : bs[i];
    }
  }
}

/// Largest a, b and a + b of features [first, first + n).
__device__ PairBounds bounds_of(const float* a, const float* b, int64_t first, int64_t n) {
  return {block_max<float>(n, [=](int64_t i) { return a[first + i]; }),
          block_max<float>(n, [=](int64_t i) { return b[first + i]; }),
          block_max<float>(n, [=](int64_t i) { return sum_bound(a[first + i], b[first + i]); })};
}

/// The feature whose pair with (p_a, p_b) has the largest value, p itself excepted.
__device__ ValueIndex<float> best_partner(const float* a, const float* b, int64_t features, float p_a, float p_b,
                                          int64_t p) {
  ValueIndex<float> best{0, no_pair};
  for (auto q : block_stride(features)) {
    float const v = positive_part(p_a + a[q]) * positive_part(p_b + b[q]);
    if (v > best.value && q != p) best = {v, q};
  }
  return block_argmax(best);
}

/// PairBounds of the blocks and of all features, and the value of a pair that is good: the feature that has the most to
/// hope for, its best partner, and the better one of that partner's.
__global__ void jsma_bounds(float* __restrict__ bounds, const float* __restrict__ a, const float* __restrict__ b,
                            int64_t images, int64_t features) {
  int64_t const blocks = jsma_blocks(features);
  for (auto image : block_items(images)) {
    const float *const as = a + image * features, *const bs = b + image * features;
    float* const out = bounds + image * jsma_bounds_size(features);
    for (int64_t block = 0; block <= blocks; ++block) {  // the last one: all
      int64_t const first = block < blocks ? block * jsma_block : 0;
      int64_t const left = features - first;
      PairBounds const of = bounds_of(as, bs, first, block < blocks && left > jsma_block ? jsma_block : left);
      if (block_leader()) {
        out[3 * block] = of.a;
        out[3 * block + 1] = of.b;
        out[3 * block + 2] = of.sum;
      }
      if (block < blocks) continue;
      ValueIndex<float> pair = best_partner(as, bs, features, of.a, of.b, -1);
      float value = 0;
      for (int turn = 0; turn < 3 && pair.index != no_pair; ++turn) {
        pair = best_partner(as, bs, features, as[pair.index], bs[pair.index], pair.index);
        if (pair.value > value) value = pair.value;
      }
      if (block_leader()) out[3 * block + 3] = value;
    }
  }
}

/// values[image][chunk], pairs[image][chunk] = p * features + q: the best pair whose first feature is in the chunk;
/// no_pair if none reaches the good one.
__global__ void jsma_pairs(float* __restrict__ values, int64_t* __restrict__ pairs, const float* __restrict__ a,
                           const float* __restrict__ b, const float* __restrict__ bounds, int64_t images,
                           int64_t features) {
  int64_t const blocks = jsma_blocks(features);
  int64_t const chunks = jsma_chunks(features);
  for (auto item : block_items(images * chunks)) {
    int64_t const image = item / chunks;
    const float *const as = a + image * features, *const bs = b + image * features;
    const float* const bound = bounds + image * jsma_bounds_size(features);
    auto const bounds_at = [=](int64_t block) {
      return PairBounds{bound[3 * block], bound[3 * block + 1], bound[3 * block + 2]};
    };
    PairBounds const all = bounds_at(blocks);
    float best = bound[3 * blocks + 3];
    int64_t best_pair = no_pair;
    auto const may_win = [&](float most) { return most > 0 && most >= best; };
    for (int64_t p = item - image * chunks; p < features; p += chunks) {
      float const p_a = as[p], p_b = bs[p], p_sum = sum_bound(p_a, p_b);
      if (!may_win(all.with(p_a, p_b, p_sum))) continue;
      for (int64_t block = p / jsma_block; block < blocks; ++block) {
        if (!may_win(bounds_at(block).with(p_a, p_b, p_sum))) continue;
        int64_t const first = kmax(block * jsma_block, p + 1);
        int64_t const n = kmin((block + 1) * jsma_block, features) - first;
        int32_t most = 0;  // of this thread's pairs
        for (auto j : block_stride(n)) {
          int32_t const v = value_bits(p_a + as[first + j], p_b + bs[first + j]);
          most = v > most ? v : most;
        }
        if (!may_win(float_of(most))) continue;
        for (auto j : block_stride(n)) {
          int64_t const pair = p * features + first + j;
          bool const reached = value_bits(p_a + as[first + j], p_b + bs[first + j]) == most;
          if (!reached || (float_of(most) == best && pair >= best_pair)) continue;
          best = float_of(most);
          best_pair = pair;
        }
      }
    }
    ValueIndex<float> const found = block_argmax(ValueIndex<float>{best, best_pair});
    if (block_leader()) {
      values[item] = found.value;
      pairs[item] = found.index;
    }
  }
}

/// Changes the best pair of every image by theta, within [0, 1]; moved[image] says which, -1 if there is none.
__global__ void jsma_move(float* __restrict__ adv, int64_t* __restrict__ moved, const float* __restrict__ values,
                          const int64_t* __restrict__ pairs, float theta, int64_t images, int64_t features) {
  int64_t const chunks = jsma_chunks(features);
  for (auto image : block_items(images)) {
    ValueIndex<float> best{0, no_pair};
    for (auto chunk : block_stride(chunks)) {
      int64_t const at = image * chunks + chunk;
      bool const better = values[at] > best.value || (values[at] == best.value && pairs[at] < best.index);
      if (better) best = {values[at], pairs[at]};
    }
    best = block_argmax(best);
    if (!block_leader()) continue;
    moved[image] = best.index == no_pair ? -1 : best.index;
    if (best.index == no_pair) continue;
    float *const p = adv + image * features + best.index / features, *const q =
                                                                         adv + image * features + best.index % features;
    *p = clamp(*p + theta, 0.0f, 1.0f);
    *q = clamp(*q + theta, 0.0f, 1.0f);
  }
}

void launch_jsma_gradients(const Stream& stream, float* a, float* b, const float* adv, const float* x,
                           const float* target, const float* sum, float theta, int64_t* nan_count, int64_t n) {
  launch_map(stream, {"jsma_gradients", n, bytes_of<float>(6, n)}, jsma_gradients, a, b, adv, x, target, sum, theta,
             nan_count, n);
}

void launch_jsma_pool(const Stream& stream, float* a, float* b, int64_t pool, int64_t images, int64_t features) {
  launch_row(stream, {"jsma_pool", images, bytes_of<float>(66, images * features)}, features, jsma_pool, a, b, pool,
             images, features);
}

void launch_jsma_bounds(const Stream& stream, float* bounds, const float* a, const float* b, int64_t images,
                        int64_t features) {
  launch_row(stream, {"jsma_bounds", images, bytes_of<float>(12, images * features)}, features, jsma_bounds, bounds, a,
             b, images, features);
}

void launch_jsma_pairs(const Stream& stream, float* values, int64_t* pairs, const float* a, const float* b,
                       const float* bounds, int64_t images, int64_t features) {
  if (features >= (int64_t(1) << 31)) throw_too_many("jsma_pairs", features);  // pairs are numbered in 63 bits
  launch_row(stream, {"jsma_pairs", images * jsma_chunks(features), bytes_of<float>(2, images * features)},
             4 * (features < jsma_block ? features : jsma_block), jsma_pairs, values, pairs, a, b, bounds, images,
             features);
}

void launch_jsma_move(const Stream& stream, float* adv, int64_t* moved, const float* values, const int64_t* pairs,
                      float theta, int64_t images, int64_t features) {
  launch_row(stream, {"jsma_move", images, images * jsma_chunks(features) * 12}, jsma_chunks(features), jsma_move, adv,
             moved, values, pairs, theta, images, features);
}

KERNEL(jsma_gradients, launch_jsma_gradients);
KERNEL(jsma_pool, launch_jsma_pool);
KERNEL(jsma_bounds, launch_jsma_bounds);
KERNEL(jsma_pairs, launch_jsma_pairs);
KERNEL(jsma_move, launch_jsma_move);

}  // namespace mith::MITH_SPACE
