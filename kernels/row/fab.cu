// One step of FAB for each image: both projections onto a hyperplane and the box, and the point between them. f32, one
// block an image, sums in double. Signature, for linf, l2 and l1:
//
//   fab_projection_linf (float* x1, const float* x0, const float* gradients, const int64_t* chosen, const float* gap,
//                        float eta, float alpha_max, int64_t n_images, int64_t per_image)
//
// The hyperplane of an image is {v : <w, v - x1> + gap = 0}, w = gradients[chosen[image]]. Elements of w that are not
// finite, or less than 1e-8 of the largest, do not move.
#include "kernels/launch/bytes.h"
#include "kernels/row/norms.h"

namespace mith::MITH_SPACE {

/// A point of the box and the hyperplane that it is to reach by going against side * w.
struct Plane {
  const float* x;
  const float* w;
  float floor, largest;  ///< of |w|: not above the first, an element does not move
  float side;            ///< -1 or 1: the side of the hyperplane on which x lies; 0: x lies on it
  double distance;       ///< |<w, x> - b|

  MITH_DEVICE float weight(int64_t i) const {
    float const size = magnitude(finite_or_zero(w[i]));
    return size > floor ? size : 0.0f;
  }
  /// How far x_i may go.
  MITH_DEVICE float room(int64_t i) const { return side * w[i] > 0 ? x[i] : 1 - x[i]; }
};

/// The least L-infinity or L2 move to the hyperplane in the box: x_i goes by min(multiplier * rate(|w_i|), room_i).
/// What that reaches is concave and piecewise linear in the multiplier, so that Newton's method climbs to the root from
/// the left, exactly and in a few steps. Where no multiplier reaches the hyperplane, every element goes to its end.
template <class Rate>
struct Multiplied {
  Plane plane;
  float multiplier;

  MITH_DEVICE float move(int64_t i) const {
    float const weight = plane.weight(i);
    return weight > 0 ? kmin(multiplier * Rate::of(weight), plane.room(i)) : 0.0f;
  }

  static __device__ Multiplied solve(const Plane& plane, int64_t n) {
    double multiplier = 0;
    for (int step = 0; step < 100; ++step) {
      double reached = 0, slope = 0;
      for (auto i : block_stride(n)) {
        double const weight = static_cast<double>(plane.weight(i)), rate = Rate::of(weight);
        double const room = static_cast<double>(plane.room(i)), wanted = multiplier * rate;
        reached += weight * (wanted < room ? wanted : room);
        slope += wanted < room ? weight * rate : 0;
      }
      reached = block_sum(reached);
      slope = block_sum(slope);
      double const missing = plane.distance - reached;
      if (!(slope > 0 && missing > 1e-9 * plane.distance)) break;
      multiplier += missing / slope;
    }
    return {plane, static_cast<float>(kmin(multiplier, 3e38))};
  }
};

struct SameRate {
  template <class T>
  MITH_DEVICE static T of(T weight) {
    return weight > 0 ? T(1) : T(0);
  }
};
struct RateOfWeight {
  template <class T>
  MITH_DEVICE static T of(T weight) {
    return weight;
  }
};

/// The least L1 move: elements go to their ends in order of falling |w_i|, and those of the last weight share what is
/// left. The weight is found by halving the interval it lies in until no float is left inside.
struct Greedy {
  Plane plane;
  float last;   ///< above it elements go all the way
  float share;  ///< of their way, for elements of the last weight

  MITH_DEVICE float move(int64_t i) const {
    float const weight = plane.weight(i);
    return weight > last ? plane.room(i) : weight == last && weight > 0 ? share * plane.room(i) : 0.0f;
  }

  /// What the elements of weights in (above, upto] reach by going all the way.
  static __device__ double reach(const Plane& plane, float above, float upto, int64_t n) {
    double sum = 0;
    for (auto i : block_stride(n)) {
      float const weight = plane.weight(i);
      sum += weight > above && weight <= upto ? static_cast<double>(weight) * static_cast<double>(plane.room(i)) : 0;
    }
    return block_sum(sum);
  }

  static __device__ Greedy solve(const Plane& plane, int64_t n) {
    float low = plane.floor, high = plane.largest, share = 0;
    if (!(reach(plane, low, high, n) > plane.distance)) return {plane, low, share};  // also if nothing does
    double beyond = 0;                                                               // reached by weights above `high`
    for (;;) {
      float const middle = low + (high - low) / 2;
      if (!(middle > low && middle < high)) break;
      double const more = reach(plane, middle, high, n);
      if (beyond + more < plane.distance) {
        high = middle;
        beyond += more;
      } else {
        low = middle;
      }
    }
    double const equal = reach(plane, low, high, n);
    if (equal > 0) share = static_cast<float>((plane.distance - beyond) / equal);
    return {plane, high, share};
  }
};

/// What x_i becomes less x_i.
template <class Projection>
MITH_DEVICE float shift(const Projection& p, int64_t i) {
  return -p.plane.side * sign(p.plane.w[i]) * p.move(i);
}

/// x1 <- clamp((1 - alpha)(x1 + eta d1) + alpha (x0 + eta d0), 0, 1), where d1 and d0 lead from x1 and x0 to their
/// projections and alpha = min(|d1| / (|d1| + |d0|), alpha_max) (Croce & Hein 2020, eq. 7 to 9).
template <class Norm, class Projection>
__global__ void fab_projection(float* __restrict__ x1, const float* __restrict__ x0,
                               const float* __restrict__ gradients, const int64_t* __restrict__ chosen,
                               const float* __restrict__ gap, float eta, float alpha_max, int64_t images,
                               int64_t per_image) {
  for (auto image : block_items(images)) {
    float* const current = x1 + image * per_image;
    const float* const origin = x0 + image * per_image;
    const float* const w = gradients + chosen[image] * per_image;
    float const largest = static_cast<float>(LinfNorm::of(per_image, [=](int64_t i) { return finite_or_zero(w[i]); }));
    float const floor = 1e-8f * largest;
    double between = 0;
    for (auto i : block_stride(per_image)) {
      double const apart = static_cast<double>(origin[i]) - static_cast<double>(current[i]);
      between += static_cast<double>(finite_or_zero(w[i])) * apart;
    }
    double const here = static_cast<double>(gap[image]), there = here + block_sum(between);
    auto const plane = [=](const float* x, double side) {
      return Plane{x, w, floor, largest, static_cast<float>(sign(side)), side < 0 ? -side : side};
    };
    Projection const from_current = Projection::solve(plane(current, here), per_image);
    Projection const from_origin = Projection::solve(plane(origin, there), per_image);
    auto const move1 = [=](int64_t i) { return from_current.move(i); };
    auto const move0 = [=](int64_t i) { return from_origin.move(i); };
    double const a1 = kmax(Norm::of(per_image, move1), 1e-8), a0 = kmax(Norm::of(per_image, move0), 1e-8);
    float const alpha = kmin(static_cast<float>(a1 / (a1 + a0)), alpha_max);
    for (auto i : block_stride(per_image)) {
      float const ahead = current[i] + eta * shift(from_current, i), back = origin[i] + eta * shift(from_origin, i);
      current[i] = clamp((1 - alpha) * ahead + alpha * back, 0.0f, 1.0f);
    }
  }
}

template <class Norm, class Projection>
void run_fab_projection(const Stream& stream, const char* name, float* x1, const float* x0, const float* gradients,
                        const int64_t* chosen, const float* gap, float eta, float alpha_max, int64_t images,
                        int64_t per_image) {
  launch_row(stream, {name, images, bytes_of<float>(4, images * per_image)}, per_image,
             fab_projection<Norm, Projection>, x1, x0, gradients, chosen, gap, eta, alpha_max, images, per_image);
}

void launch_fab_projection_linf(const Stream& stream, float* x1, const float* x0, const float* gradients,
                                const int64_t* chosen, const float* gap, float eta, float alpha_max, int64_t images,
                                int64_t per_image) {
  run_fab_projection<LinfNorm, Multiplied<SameRate>>(stream, "fab_projection_linf", x1, x0, gradients, chosen, gap, eta,
                                                     alpha_max, images, per_image);
}

void launch_fab_projection_l2(const Stream& stream, float* x1, const float* x0, const float* gradients,
                              const int64_t* chosen, const float* gap, float eta, float alpha_max, int64_t images,
                              int64_t per_image) {
  run_fab_projection<L2Norm, Multiplied<RateOfWeight>>(stream, "fab_projection_l2", x1, x0, gradients, chosen, gap, eta,
                                                       alpha_max, images, per_image);
}

void launch_fab_projection_l1(const Stream& stream, float* x1, const float* x0, const float* gradients,
                              const int64_t* chosen, const float* gap, float eta, float alpha_max, int64_t images,
                              int64_t per_image) {
  run_fab_projection<L1Norm, Greedy>(stream, "fab_projection_l1", x1, x0, gradients, chosen, gap, eta, alpha_max,
                                     images, per_image);
}

KERNEL(fab_projection_linf, launch_fab_projection_linf);
KERNEL(fab_projection_l2, launch_fab_projection_l2);
KERNEL(fab_projection_l1, launch_fab_projection_l1);

}  // namespace mith::MITH_SPACE
