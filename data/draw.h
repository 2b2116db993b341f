// What procedural phantoms are drawn with: keyed random draws, smooth noise, wobbly outlines, jittered cells and a
// canvas of float planes. Everything is in view coordinates: the image is the square [0, 1] x [0, 1], x to the right
// and y down, so a scene is the same at every image size.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/launch/philox.h"

namespace mith::draw {

inline constexpr float kPi = 3.14159265f;

struct Point {
  float x = 0, y = 0;
  Point operator+(Point o) const { return {x + o.x, y + o.y}; }
  Point operator-(Point o) const { return {x - o.x, y - o.y}; }
  Point operator*(float s) const { return {x * s, y * s}; }
};
inline float dot(Point a, Point b) { return a.x * b.x + a.y * b.y; }
inline float length(Point a) { return std::sqrt(dot(a, a)); }
inline Point direction(float angle) { return {std::cos(angle), std::sin(angle)}; }
inline float mix(float a, float b, float t) { return a + (b - a) * t; }
/// 0 below `low`, 1 above `high`, a smooth cubic between.
inline float smoothstep(float low, float high, float value) {
  float const t = std::clamp((value - low) / (high - low), 0.0f, 1.0f);
  return t * t * (3 - 2 * t);
}

using Rgb = std::array<float, 3>;
inline Rgb mix(const Rgb& a, const Rgb& b, float t) {
  return {mix(a[0], b[0], t), mix(a[1], b[1], t), mix(a[2], b[2], t)};
}

/// Random draws in sequence for one image: the key and the id determine them all.
class Draws {
 public:
  Draws(const DrawKey& key, int64_t id) : key_(key), id_(static_cast<uint64_t>(id)) {}
  float uniform() { return mith::uniform(key_, id_, element_++); }
  float uniform(float low, float high) { return mix(low, high, uniform()); }
  float normal(float mean, float deviation);
  /// A factor that doubles as often as it halves: exp of a normal draw, cut at two deviations.
  float spread(float deviation) { return std::exp(std::clamp(normal(0, deviation), -2 * deviation, 2 * deviation)); }
  float angle() { return uniform(0, 2 * kPi); }
  bool chance(float probability) { return uniform() < probability; }
  int integer(int low, int high);  ///< uniform in [low, high], both included
  Point point(float low, float high) {
    float const x = uniform(low, high);
    return {x, uniform(low, high)};
  }

 private:
  DrawKey key_;
  uint64_t id_, element_ = 0;
};

/// Value noise on a periodic lattice of 32 x 32 draws: smooth, in [0, 1), one bump a unit length.
class ValueNoise {
 public:
  explicit ValueNoise(Draws& draws);
  float at(Point p) const;
  float at(float x, float y) const { return at(Point{x, y}); }
  /// Two octaves, the finer at 40 % of the weight; in [0, 1).
  float rough(Point p) const { return 0.6f * at(p) + 0.4f * at(p.x * 2.17f + 11.3f, p.y * 2.17f + 5.9f); }

 private:
  static constexpr int kPeriod = 32;
  std::array<float, kPeriod * kPeriod> lattice_;
};

/// A closed outline around a centre: an ellipse whose radius wobbles by a few harmonics of the angle.
class Blob {
 public:
  /// Semi-axes along and across `angle`; `roughness` is the relative deviation of the radius (0: a plain ellipse).
  Blob(Point centre, float along, float across, float angle, float roughness, Draws& draws);
  Blob(Point centre, float along, float across, float angle);

  Point centre() const { return centre_; }
  float radius() const { return std::sqrt(along_ * across_); }  ///< of the circle of the same area
  float reach() const { return std::max(along_, across_) * (1 + slack_); }
  /// Relative radius: 0 at the centre, 1 on the outline, proportional between and beyond.
  float level(Point p) const;
  /// Distance to the outline, negative inside; first order in the distance.
  float distance(Point p) const { return (level(p) - 1) * scale(p); }
  /// View units a unit of level is worth at p (one over the level's gradient, for the plain ellipse).
  float scale(Point p) const;
  /// The point of this level in direction `angle` (an angle of the unit circle that the ellipse is stretched from).
  Point at(float angle, float level) const;
  /// Direction of the outline at `at(angle, 1)`, as an angle.
  float tangent(float angle) const;
  /// The same outline about the same centre, `factor` times as large.
  Blob scaled(float factor) const;

 private:
  static constexpr int kHarmonics = 4;  // of order 2, 3, 4, 5; order 1 would move the centre
  Point unit(Point p) const;
  float outline(Point unit_direction) const;
  Point centre_;
  float along_, across_, cos_, sin_, slack_ = 0;
  std::array<float, kHarmonics> cosine_{}, sine_{};
};

/// A jittered hexagonal lattice that covers the view and a margin, and its Voronoi cells.
class Cells {
 public:
  /// `jitter` is in spacings (0: a perfect lattice; 0.3: natural). `merge`: the share of cells joined to a neighbour.
  Cells(float spacing, float jitter, Draws& draws, float merge = 0);
  const std::vector<Point>& seeds() const& { return seeds_; }
  std::vector<Point> seeds() && { return std::move(seeds_); }
  struct Place {
    size_t cell;   ///< index of the nearest seed
    float edge;    ///< distance to the nearest wall, corners rounded
    Point normal;  ///< unit vector across that wall
  };
  Place at(Point p) const;

 private:
  float spacing_, cos_, sin_;
  Point shift_;  // of the lattice, in spacings
  int side_;
  std::vector<Point> seeds_;
  std::vector<size_t> group_;  // cells of one group have no wall between them
};

/// Square image of `planes` floats a pixel, drawn on with soft edges.
class Canvas {
 public:
  Canvas(int64_t size, int64_t planes) : size_(size), planes_(planes), values_(size * size * planes) {}
  int64_t size() const { return size_; }
  int64_t planes() const { return planes_; }
  float pixel_width() const { return 1.0f / float(size_); }
  float* pixel(int64_t row, int64_t column) { return &values_[(row * size_ + column) * planes_]; }
  std::vector<float>& values() { return values_; }

  /// paint(float* pixel, Point p) for every pixel, p its centre.
  template <class Paint>
  void each(Paint&& paint) {
    for (int64_t row = 0; row < size_; ++row)
      for (int64_t column = 0; column < size_; ++column) paint(pixel(row, column), centre(row, column));
  }
  /// paint(float* pixel, float coverage, Point p, float level) for every pixel the blob covers; coverage in (0, 1] is
  /// the anti-aliased share, level the blob's relative radius there. `softness`: extra width of the edge, view units.
  template <class Paint>
  void inside(const Blob& blob, float softness, Paint&& paint);

 private:
  Point centre(int64_t row, int64_t column) const {
    return {(float(column) + 0.5f) * pixel_width(), (float(row) + 0.5f) * pixel_width()};
  }
  /// Index of the pixel that holds a coordinate, cut to the canvas.
  int64_t index(float coordinate) const {
    return static_cast<int64_t>(std::clamp(std::floor(coordinate * float(size_)), 0.0f, float(size_ - 1)));
  }
  int64_t size_, planes_;
  std::vector<float> values_;
};

template <class Paint>
void Canvas::inside(const Blob& blob, float softness, Paint&& paint) {
  float const edge = pixel_width() + softness, reach = blob.reach() + edge;
  Point const c = blob.centre();
  if (c.x + reach < 0 || c.y + reach < 0 || c.x - reach > 1 || c.y - reach > 1) return;
  for (int64_t row = index(c.y - reach); row <= index(c.y + reach); ++row)
    for (int64_t column = index(c.x - reach); column <= index(c.x + reach); ++column) {
      Point const p = centre(row, column);
      float const level = blob.level(p);
      float const coverage = std::clamp(0.5f - (level - 1) * blob.scale(p) / edge, 0.0f, 1.0f);
      if (coverage > 0) paint(pixel(row, column), coverage, p, level);
    }
}

}  // namespace mith::draw
