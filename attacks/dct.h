// Orthonormal bases of images in which attacks take steps: the 2-D DCT-II of whole images, or single pixels. Directions
// are outer products and are made where they are used; no image of one is ever stored.
#pragma once
#include <unordered_map>
#include <vector>

#include "engine/tensor/tensor.h"
#include "kernels/launch/philox.h"
#include "kernels/map/basis_step.h"

namespace mith {

enum class Basis : uint8_t { dct, pixel };

/// One direction: frequencies (or the place, of a pixel) down and across, and the channel.
struct Direction {
  int64_t u = 0, v = 0, channel = 0;
};

/// The directions of images of one shape, and steps along them.
class Directions {
 public:
  Directions(Basis, const Shape& image, Device = default_device());  ///< image [h,w,c]

  /// What moves images along a direction; a step of 0 goes nowhere.
  BasisStep step(const Direction&, float length) const;
  /// state += taken, one move an image; then, of the new state, candidate = clamp(state + tried, 0, 1). States are
  /// images or noise, f32 [n,h,w,c], not limited to [0, 1].
  void move(Tensor& candidate, Tensor& state, const std::vector<BasisMove>&) const;
  /// state += taken, without a candidate.
  void move(Tensor& state, const std::vector<BasisMove>&) const;

 private:
  void launch(float* candidate, Tensor& state, const std::vector<BasisMove>&) const;
  Shape image_;
  Tensor rows_, columns_;
};

/// The orthonormal DCT-II: row u holds c_u cos(pi (2 i + 1) u / 2n), i < n; c_0 = sqrt(1 / n), else sqrt(2 / n).
std::vector<double> dct_matrix(int64_t n);

/// A random order of directions without repetition, in O(directions drawn) memory: first those with u, v < `first`,
/// then, in growing squares of `stride` more rows and columns, all the others; stride 0: the first square only. Every
/// image has an order of its own.
class DirectionOrder {
 public:
  DirectionOrder(const Shape& image, int64_t first, int64_t stride, const DrawKey&, uint64_t id);
  bool exhausted() const { return size_ == 0; }
  Direction next();  ///< not when exhausted

 private:
  void open(int64_t side);  ///< the directions with u, v < side that are not in the last square
  Shape image_;
  int64_t stride_, side_ = 0, low_h_ = 0, low_w_ = 0, high_h_ = 0, high_w_ = 0, size_ = 0;
  DrawKey key_;
  uint64_t id_, draws_ = 0;
  std::unordered_map<int64_t, int64_t> swapped_;  ///< Fisher and Yates's list where it is no longer the identity
};

}  // namespace mith
