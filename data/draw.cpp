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

float distance_to(const std::vector<Point>& line, Point p) {
  float best = 1e9f;
  for (size_t i = 0; i + 1 < line.size(); ++i) {
    Point const way = line[i + 1] - line[i], from = p - line[i];
    float const t = std::clamp(dot(from, way) / std::max(dot(way, way), 1e-12f), 0.0f, 1.0f);
    Point const off = from - way * t;
    best = std::min(best, dot(off, off));
  }
  return std::sqrt(best);
}

std::vector<Point> arc(Point a, Point b, float bow) {
  constexpr int kSteps = 8;
  Point const way = b - a, aside = Point{-way.y, way.x} * (1 / std::max(length(way), 1e-6f));
  std::vector<Point> line;
  for (int i = 0; i <= kSteps; ++i) {
    float const t = float(i) / kSteps;
    line.push_back(a + way * t + aside * (4 * bow * t * (1 - t)));
  }
  return line;
}

Pose::Pose(Draws& draws, float shift, float turn, float zoom)
    : origin(Point{0.5f, 0.5f} + draws.point(-shift, shift)),
      angle(draws.uniform(-turn, turn)),
      scale(draws.spread(zoom)),
      cosine(std::cos(angle)),
      sine(std::sin(angle)) {}

Lamp::Lamp(Draws& draws)
    : tint(mix(Rgb{0.96f, 0.94f, 0.97f}, Rgb{0.98f, 0.97f, 0.95f}, draws.uniform())),
      brightness(draws.uniform(0.88f, 1.02f)) {
  float const slope = draws.uniform(0, 0.06f);
  tilt = direction(draws.angle()) * slope;
}

void expose(Canvas& stains, const std::array<float, 2>& targets) {
  double sum[2] = {0, 0};
  stains.each([&](float* pixel, Point) { sum[0] += pixel[0], sum[1] += pixel[1]; });
  float const pixels = float(stains.size() * stains.size());
  float gain[2];
  for (size_t k = 0; k < 2; ++k)
    gain[k] = std::clamp(std::pow(targets[k] * pixels / float(sum[k] + 1e-6), 0.95f), 0.62f, 1.8f);
  stains.each([&](float* pixel, Point) { pixel[0] *= gain[0], pixel[1] *= gain[1]; });
}

void photograph(Canvas& stains, const std::array<Rgb, 2>& colours, const Lamp& lamp, uint8_t* out,
                const DrawKey& noise_key, int64_t id) {
  uint64_t element = 0;
  stains.each([&](float* pixel, Point p) {
    float const light = lamp.brightness * (1 + dot(p - Point{0.5f, 0.5f}, lamp.tilt));
    for (size_t c = 0; c < 3; ++c) {
      float const density = pixel[0] * colours[0][c] + pixel[1] * colours[1][c];
      float const grain = 4 * (mith::uniform(noise_key, uint64_t(id), element++) - 0.5f);
      *out++ = static_cast<uint8_t>(
          std::clamp(255 * light * lamp.tint[c] * std::exp(-density) + grain + 0.5f, 0.0f, 255.0f));
    }
  });
}

void write_grey(Canvas& canvas, float noise, uint8_t* out, const DrawKey& noise_key, int64_t id) {
  uint64_t element = 0;
  canvas.each([&](float* pixel, Point) {
    float const grain = 2 * noise * (mith::uniform(noise_key, uint64_t(id), element++) - 0.5f);
    *out++ = static_cast<uint8_t>(std::clamp(255 * pixel[0] + grain + 0.5f, 0.0f, 255.0f));
  });
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
