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

/// Random draws in sequence for one image: the key and the id determine them all. C++ leaves the order of a call's
/// arguments open, so at most one of them may draw.
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
  /// Half the width and height of a box about the centre that holds the outline.
  Point half_box() const {
    float const stretch = 1 + slack_;
    return {std::hypot(along_ * cos_, across_ * sin_) * stretch, std::hypot(along_ * sin_, across_ * cos_) * stretch};
  }
  /// Whether that box, grown by a tenth of the view for soft edges and what surrounds the blob, meets the view.
  bool visible() const {
    Point const half = half_box() + Point{0.1f, 0.1f};
    return std::abs(centre_.x - 0.5f) < half.x + 0.5f && std::abs(centre_.y - 0.5f) < half.y + 0.5f;
  }
  struct Depth {
    float level;  ///< relative radius: 0 at the centre, 1 on the outline, proportional between and beyond
    float scale;  ///< view units that one unit of level is worth here (exact for a plain ellipse)
    float distance() const { return (level - 1) * scale; }  ///< to the outline, negative inside; first order
  };
  Depth depth(Point p) const;
  /// Whether p lies inside or within `margin` of the outline (a negative margin: at least that far inside).
  bool covers(Point p, float margin) const {
    float const reach = std::max(along_, across_) * (1 + slack_) + std::max(margin, 0.0f);
    Point const d = p - centre_;
    return dot(d, d) < reach * reach && depth(p).distance() < margin;
  }
  /// The point of this level in direction `angle` (an angle of the unit circle that the ellipse is stretched from).
  Point at(float angle, float level) const;
  /// Direction of the outline at `at(angle, 1)`, as an angle.
  float tangent(float angle) const;
  /// The same outline about the same centre, `factor` times as large.
  Blob scaled(float factor) const;

 private:
  static constexpr int kHarmonics = 4;  // of order 2, 3, 4, 5; order 1 would move the centre
  float outline(Point unit_direction) const;
  Point centre_;
  float along_, across_, cos_, sin_, slack_ = 0;
  std::array<float, kHarmonics> cosine_{}, sine_{};
};

/// From a point to the nearest of a line through these points.
float distance_to(const std::vector<Point>& line, Point p);
/// A smooth curve from a to b that bows by `bow` to the right of the way (to the left if negative).
std::vector<Point> arc(Point a, Point b, float bow);

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

/// Where a body lies in the view: turned, magnified and shifted by draws. Body coordinates have their origin at the
/// view's centre and the view's unit.
struct Pose {
  /// Shift and turn (radians) are uniform up to the given sizes, the log of the magnification is as Draws::spread.
  Pose(Draws& draws, float shift, float turn, float zoom);
  Point view(Point body) const {
    Point const p = body * scale;
    return origin + Point{p.x * cosine - p.y * sine, p.x * sine + p.y * cosine};
  }
  Point body(Point view) const {
    Point const p = (view - origin) * (1 / scale);
    return {p.x * cosine + p.y * sine, p.y * cosine - p.x * sine};
  }
  Point origin;
  float angle, scale, cosine, sine;
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
  /// The same for a line of constant width through the given points; paint's level is 0 on the line, 1 on its border.
  template <class Paint>
  void along(const std::vector<Point>& line, float half_width, float softness, Paint&& paint);

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

/// A camera over stained glass: how the light falls, then what it photographs.
struct Lamp {
  explicit Lamp(Draws& draws);
  Rgb tint;
  float brightness;
  Point tilt;  ///< gradient of the light over the view
};
/// Scales two stains so that their means come near the targets, as a camera that exposes by itself and a stainer's hand
/// do: mean colour then says little about what was drawn.
void expose(Canvas& stains, const std::array<float, 2>& targets);
/// Beer and Lambert's law with two stain colours (Ruifrok and Johnston 2001), the lamp's light, sensor noise.
void photograph(Canvas& stains, const std::array<Rgb, 2>& colours, const Lamp& lamp, uint8_t* out,
                const DrawKey& noise_key, int64_t id);
/// Writes the first plane, 0 black and 1 white, with noise of this amplitude in grey levels.
void write_grey(Canvas& canvas, float noise, uint8_t* out, const DrawKey& noise_key, int64_t id);

inline float Blob::outline(Point u) const {
  // cos(k angle) and sin(k angle) as powers of the unit complex number u.
  float radius = 1, c = u.x, s = u.y;
  for (int k = 0; k < kHarmonics; ++k) {
    float const next = c * u.x - s * u.y;
    s = s * u.x + c * u.y;
    c = next;
    radius += cosine_[k] * c + sine_[k] * s;
  }
  return std::max(radius, 0.2f);
}

inline Blob::Depth Blob::depth(Point p) const {
  Point const d = p - centre_;
  Point const q{(d.x * cos_ + d.y * sin_) / along_, (d.y * cos_ - d.x * sin_) / across_};
  float const rho = length(q);
  if (rho < 1e-6f) return {0, std::min(along_, across_)};
  float const radius = slack_ == 0 ? 1.0f : outline(q * (1 / rho));
  return {rho / radius, rho * radius / length({q.x / along_, q.y / across_})};
}

inline float ValueNoise::at(Point p) const {
  float const floor_x = std::floor(p.x), floor_y = std::floor(p.y);
  auto const wrap = [](float whole) { return static_cast<size_t>(static_cast<int>(whole) & (kPeriod - 1)); };
  size_t const x0 = wrap(floor_x), x1 = wrap(floor_x + 1), y0 = wrap(floor_y) * kPeriod,
               y1 = wrap(floor_y + 1) * kPeriod;
  float const tx = smoothstep(0, 1, p.x - floor_x), ty = smoothstep(0, 1, p.y - floor_y);
  return mix(mix(lattice_[y0 + x0], lattice_[y0 + x1], tx), mix(lattice_[y1 + x0], lattice_[y1 + x1], tx), ty);
}

template <class Paint>
void Canvas::inside(const Blob& blob, float softness, Paint&& paint) {
  float const edge = pixel_width() + softness;
  Point const c = blob.centre(), reach = blob.half_box() + Point{edge, edge};
  if (c.x + reach.x < 0 || c.y + reach.y < 0 || c.x - reach.x > 1 || c.y - reach.y > 1) return;
  for (int64_t row = index(c.y - reach.y); row <= index(c.y + reach.y); ++row)
    for (int64_t column = index(c.x - reach.x); column <= index(c.x + reach.x); ++column) {
      Point const p = centre(row, column);
      Blob::Depth const depth = blob.depth(p);
      float const coverage = std::clamp(0.5f - depth.distance() / edge, 0.0f, 1.0f);
      if (coverage > 0) paint(pixel(row, column), coverage, p, depth.level);
    }
}

template <class Paint>
void Canvas::along(const std::vector<Point>& line, float half_width, float softness, Paint&& paint) {
  float const edge = pixel_width() + softness, reach = half_width + edge;
  Point low = line[0], high = line[0];
  for (Point const p : line) {
    low = {std::min(low.x, p.x), std::min(low.y, p.y)};
    high = {std::max(high.x, p.x), std::max(high.y, p.y)};
  }
  if (high.x + reach < 0 || high.y + reach < 0 || low.x - reach > 1 || low.y - reach > 1) return;
  for (int64_t row = index(low.y - reach); row <= index(high.y + reach); ++row)
    for (int64_t column = index(low.x - reach); column <= index(high.x + reach); ++column) {
      Point const p = centre(row, column);
      float const distance = distance_to(line, p);
      // A line thinner than a pixel covers no more of it than its width.
      float const widest = std::min(1.0f, 2 * half_width / edge);
      float const coverage = std::clamp(0.5f - (distance - half_width) / edge, 0.0f, widest);
      if (coverage > 0) paint(pixel(row, column), coverage, p, distance / half_width);
    }
}

}  // namespace mith::draw
