#include "data/draw.h"

namespace mith::draw {

float Draws::normal(float mean, float deviation) {
  element_ += element_ & 1;  // a normal draw takes an aligned pair of elements
  float const z = mith::normal(key_, id_, element_);
  element_ += 2;
  return mean + deviation * z;
}

int Draws::integer(int low, int high) {
  return low + std::min(high - low, static_cast<int>(uniform() * float(high - low + 1)));
}

ValueNoise::ValueNoise(Draws& draws) {
  for (float& value : lattice_) value = draws.uniform();
}

Blob::Blob(Point centre, float along, float across, float angle)
    : centre_(centre), along_(along), across_(across), cos_(std::cos(angle)), sin_(std::sin(angle)) {}

Blob::Blob(Point centre, float along, float across, float angle, float roughness, Draws& draws)
    : Blob(centre, along, across, angle) {
  for (int k = 0; k < kHarmonics; ++k) {
    float const size = roughness * 1.2f / std::sqrt(float(k + 1));
    cosine_[k] = draws.uniform(-size, size);
    sine_[k] = draws.uniform(-size, size);
    slack_ += std::hypot(cosine_[k], sine_[k]);
  }
}

Point Blob::at(float angle, float level) const {
  Point const u = direction(angle);
  float const r = level * outline(u), x = r * u.x * along_, y = r * u.y * across_;
  return centre_ + Point{x * cos_ - y * sin_, x * sin_ + y * cos_};
}

float Blob::tangent(float angle) const {
  Point const step = at(angle + 0.05f, 1) - at(angle - 0.05f, 1);
  return std::atan2(step.y, step.x);
}

Blob Blob::scaled(float factor) const {
  Blob copy = *this;
  copy.along_ *= factor;
  copy.across_ *= factor;
  return copy;
}

namespace {
constexpr float kRowHeight = 0.8660254f;  // of a hexagonal lattice, in spacings
constexpr float kHalfDiagonal = 0.7071068f;

/// The smaller of two, rounded where they differ by less than k.
float smooth_min(float a, float b, float k) {
  float const h = std::max(k - std::abs(a - b), 0.0f);
  return std::min(a, b) - h * h / (4 * k);
}
}  // namespace

Cells::Cells(float spacing, float jitter, Draws& draws, float merge) : spacing_(spacing) {
  float const angle = draws.angle();
  cos_ = std::cos(angle);
  sin_ = std::sin(angle);
  // A square lattice of side_ x side_ seeds about the centre of the view reaches its corners and three seeds beyond.
  side_ = 2 * static_cast<int>(std::ceil(kHalfDiagonal / (spacing * kRowHeight) + 3)) + 1;
  Point const shift = draws.point(-0.5f, 0.5f);
  int const middle = side_ / 2;
  for (int row = 0; row < side_; ++row)
    for (int column = 0; column < side_; ++column) {
      Point const wobble = draws.point(-jitter, jitter);
      float const x = (float(column - middle) + 0.5f * float(row & 1) + shift.x + wobble.x) * spacing;
      float const y = (float(row - middle) + shift.y + wobble.y) * spacing * kRowHeight;
      seeds_.push_back({0.5f + x * cos_ - y * sin_, 0.5f + x * sin_ + y * cos_});
      size_t const self = group_.size();
      group_.push_back(self > 0 && draws.chance(merge) ? group_[self - 1] : self);
    }
  shift_ = shift;
}

Cells::Place Cells::at(Point p) const {
  Point const d = p - Point{0.5f, 0.5f};
  float const x = (d.x * cos_ + d.y * sin_) / spacing_ - shift_.x,
              y = (d.y * cos_ - d.x * sin_) / (spacing_ * kRowHeight) - shift_.y;
  int const row0 = std::clamp(static_cast<int>(std::lround(y)) + side_ / 2, 2, side_ - 3);
  int const column0 = std::clamp(static_cast<int>(std::lround(x)) + side_ / 2, 2, side_ - 3);
  auto const neighbours = [&](auto&& visit) {
    for (int row = row0 - 2; row <= row0 + 2; ++row)
      for (int column = column0 - 2; column <= column0 + 2; ++column)
        visit(size_t(row) * size_t(side_) + size_t(column));
  };
  size_t nearest = 0;
  float best = 1e9f;
  neighbours([&](size_t i) {
    Point const to = seeds_[i] - p;
    float const squared = dot(to, to);
    if (squared < best) best = squared, nearest = i;
  });
  Place place{nearest, spacing_, {1, 0}};
  float closest = 1e9f;
  neighbours([&](size_t i) {
    if (group_[i] == group_[nearest]) return;
    Point const across = seeds_[nearest] - seeds_[i];
    float const far = length(across), wall = dot(p - (seeds_[nearest] + seeds_[i]) * 0.5f, across) / far;
    if (wall < closest) closest = wall, place.normal = across * (1 / far);
    place.edge = smooth_min(place.edge, wall, 0.15f * spacing_);
  });
  return place;
}

}  // namespace mith::draw
