// Phantom of a frontal chest radiograph. Two classes that differ by structure alone:
//   normal     clear lungs
//   pneumonia  one or more fluffy consolidations in a lung, lobar or patchy, crossed by dark air bronchograms
// A consolidation whitens its lung, which a mean or a linear rule would find. So every image has one drawn: where the
// class is normal its opacity is spread evenly over the same lung, as a turned patient's or an overlying soft part's
// is. Build, pose, breath, penetration, contrast, noise, leads and the side marker vary alike in both classes.
#include "data/dataset.h"
#include "data/draw.h"

namespace mith {
namespace {

using namespace draw;

enum Label : int32_t { normal, pneumonia };

/// Planes of the canvas: attenuation (bright on the film), how much lies in each lung, and the consolidation.
enum Plane : int64_t { density, right_lung, left_lung, opacity, planes };

constexpr float kSoftTissue = 0.62f, kAbdomen = 0.86f, kLung = 0.20f, kMediastinum = 0.80f;

/// The patient while the film is drawn. Body coordinates: the origin between the lungs, y towards the feet; the
/// patient's right is the viewer's left.
struct Film {
  Film(int64_t size, const DrawKey& key, int64_t id)
      : draws(key, id),
        canvas(size, planes),
        noise(draws),
        pose(draws, 0.055f, 0.09f, 0.07f),
        origin(draws.point(0, 32)),
        width(draws.uniform(0.36f, 0.43f)),
        breath(draws.uniform(-0.035f, 0.06f)),
        mediastinum(draws.uniform(0.045f, 0.065f)),
        apex(draws.uniform(-0.40f, -0.35f)),
        blade(draws.uniform(0.02f, 0.12f)) {}
  /// Distance of the chest's inner wall from the midline.
  float wall(float y) const {
    float const up = 1 - std::clamp((y - apex) / 0.60f, 0.0f, 1.0f);
    return width * std::sqrt(1 - up * up) * (1 - 0.12f * up);
  }
  /// The diaphragm's dome, higher on the right where the liver lies.
  float diaphragm(float x, int side) const {
    float const off = x - 0.16f;
    return 0.23f + breath + (side > 0 ? 0.025f : 0.0f) + 2.6f * off * off;
  }
  /// Share of the ray that lies in the lung of this side (-1 right, 1 left).
  float in_lung(Point q, int side) const {
    float const x = q.x * float(side);
    float const inside = std::min({wall(q.y) - x, x - mediastinum, diaphragm(x, side) - q.y});
    return smoothstep(-0.010f, 0.014f, inside);
  }
  Point at(float x, float y) const { return pose.view({x, y}); }
  std::vector<Point> line(Point a, Point b, float bow) const {
    return arc(pose.view(a), pose.view(b), bow * pose.scale);
  }

  Draws draws;
  Canvas canvas;
  ValueNoise noise;
  Pose pose;
  Point origin;
  float width, breath, mediastinum, apex, blade;
};

/// Adds a structure of this attenuation along a line; `rim` puts more of it at the border, as in a tube of bone.
void add_line(Film& f, const std::vector<Point>& line, float half_width, float amount, float rim) {
  f.canvas.along(line, half_width * f.pose.scale, 0.004f, [&](float* pixel, float coverage, Point, float level) {
    pixel[density] += amount * coverage * (1 - rim + rim * std::min(level * level, 1.0f));
  });
}

void body(Film& f) {
  float const shoulder = f.draws.uniform(0.25f, 0.5f), neck = f.draws.uniform(0.10f, 0.13f),
              flank = f.width + f.draws.uniform(0.05f, 0.11f);
  f.canvas.each([&](float* pixel, Point p) {
    Point const q = f.pose.body(p);
    float const x = std::abs(q.x), top = -0.43f + shoulder * std::max(x - neck, 0.0f);
    float const above = std::max(q.y - top, 1.3f * (neck - x));
    float const inside = std::min(above, flank + 0.25f * std::max(-0.18f - q.y, 0.0f) - x);
    float const skin = smoothstep(-0.006f, 0.05f, inside);
    float value = kSoftTissue * (0.55f + 0.45f * smoothstep(0, 0.12f, inside));
    for (int const side : {-1, 1}) {
      float const lung = f.in_lung(q, side);
      pixel[side < 0 ? right_lung : left_lung] = lung;
      // Lungs are thinner and darker towards the apex and the wall.
      value = mix(
          value, kLung + 0.10f * smoothstep(-0.1f, 0.3f, q.y) + 0.05f * (f.noise.rough(q * 6 + f.origin) - 0.5f), lung);
      bool const on_side = q.x * float(side) > 0;
      if (on_side) value = mix(value, kAbdomen, smoothstep(-0.005f, 0.02f, q.y - f.diaphragm(x, side)));
    }
    pixel[density] = value * skin;
  });
}

void mediastinum(Film& f) {
  float const heart = f.draws.uniform(0.115f, 0.150f), lean = f.draws.uniform(0.035f, 0.075f);
  auto const dense = [&](float* pixel, float coverage, Point, float) {
    pixel[density] = std::max(pixel[density], mix(pixel[density], kMediastinum, coverage));
  };
  f.canvas.inside(Blob(f.at(lean, 0.135f + 0.5f * f.breath), heart * 1.18f, heart / 1.12f, f.pose.angle + 0.55f),
                  0.012f, dense);
  f.canvas.inside(Blob(f.at(-0.035f, 0.12f), 0.085f, 0.06f, f.pose.angle + 1.4f), 0.012f, dense);  // right atrium
  f.canvas.inside(Blob(f.at(0.052f, -0.115f), 0.042f, 0.036f, 0), 0.010f, dense);                  // aortic knob
  f.canvas.along({f.at(0.01f, -0.30f), f.at(0.015f, 0.1f)}, f.mediastinum * f.pose.scale, 0.012f, dense);
  // Vertebrae: bodies with the lucent discs between them.
  f.canvas.along({f.at(0, -0.6f), f.at(0, 0.6f)}, 0.034f * f.pose.scale, 0.006f,
                 [&](float* pixel, float coverage, Point p, float) {
                   float const phase = f.pose.body(p).y / 0.062f;
                   pixel[density] += coverage * (0.035f + 0.045f * std::cos(2 * kPi * phase));
                 });
  add_line(f, {f.at(0, -0.6f), f.at(0.006f, -0.09f)}, 0.015f, -0.17f, 0);  // trachea
  add_line(f, {f.at(0.006f, -0.09f), f.at(-0.05f, -0.03f)}, 0.010f, -0.14f, 0);
  add_line(f, {f.at(0.006f, -0.09f), f.at(0.065f, -0.02f)}, 0.009f, -0.14f, 0);
}

void bones(Film& f) {
  float const strength = f.draws.uniform(0.7f, 1.25f), slant = f.draws.uniform(0.06f, 0.12f);
  for (int const side : {-1, 1}) {
    float const s = float(side);
    for (int i = 0; i < 10; ++i) {
      float const y = f.apex + 0.035f + 0.068f * float(i), out = f.wall(y + slant) + 0.02f;
      // Posterior ribs fall gently outwards; the anterior ones come back steeply, fainter.
      add_line(f, f.line({0.035f * s, y}, {out * s, y + slant}, -0.035f * s), 0.0125f, 0.13f * strength, 0.5f);
      if (i > 0 && i < 7)
        add_line(f, f.line({(out + 0.012f) * s, y + slant}, {0.15f * s, y + slant + 0.13f}, 0.03f * s), 0.012f,
                 0.065f * strength, 0.4f);
    }
    float const lift = f.draws.uniform(-0.02f, 0.03f);
    add_line(f, f.line({0.04f * s, -0.255f}, {0.22f * s, -0.275f - lift}, 0.018f * s), 0.016f, 0.17f * strength, 0.4f);
    add_line(f, f.line({0.22f * s, -0.275f - lift}, {0.40f * s, -0.335f - lift}, -0.02f * s), 0.016f, 0.17f * strength,
             0.4f);
    float const out = f.width + f.blade - 0.07f;
    add_line(f, f.line({out * s, -0.25f}, {(out - 0.03f) * s, 0.02f}, 0.02f * s), 0.035f, 0.08f, 0.6f);  // scapula
  }
}

/// Vessels that fan out from the hila and thin as they branch.
void vessels(Film& f) {
  float const strength = f.draws.uniform(0.08f, 0.16f);
  for (int const side : {-1, 1}) {
    Point const hilum{0.075f * float(side), side > 0 ? -0.015f : 0.01f};
    f.canvas.inside(Blob(f.pose.view(hilum), 0.05f, 0.026f, f.pose.angle + 1.4f, 0.15f, f.draws), 0.02f,
                    [&](float* pixel, float coverage, Point, float) { pixel[density] += 1.3f * strength * coverage; });
    for (int i = 0; i < 9; ++i) {
      float const angle = -1.35f + 2.75f * (float(i) + f.draws.uniform()) / 9;
      float const reach = f.draws.uniform(0.11f, 0.2f);
      Point const way{std::cos(angle) * float(side), std::sin(angle)}, fork = hilum + way * reach;
      add_line(f, f.line(hilum + way * 0.03f, fork, f.draws.uniform(-0.02f, 0.02f)), 0.0058f, strength, 0);
      for (float const turn : {-0.4f, 0.4f}) {
        float const far = 0.6f * reach * f.draws.uniform(0.6f, 1.2f), bend = angle + turn * f.draws.uniform(0.6f, 1.4f);
        Point const tip = fork + Point{std::cos(bend) * float(side), std::sin(bend)} * far;
        add_line(f, f.line(fork, tip, 0), 0.0036f, 0.7f * strength, 0);
      }
    }
  }
}

/// Draws the consolidation's opacity into its plane; returns the lung's plane it lies in.
int64_t consolidate(Film& f) {
  int const side = f.draws.chance(0.5f) ? 1 : -1;
  int64_t const lung = side < 0 ? right_lung : left_lung;
  int const patches = f.draws.integer(1, 3);
  float const raggedness = f.draws.uniform(0.5f, 0.9f);
  float y = f.draws.uniform(-0.20f, 0.17f);
  for (int i = 0; i < patches; ++i) {
    float const x = f.draws.uniform(0.13f, std::max(0.16f, f.wall(y) - 0.06f)),
                radius = f.draws.uniform(0.095f, 0.15f) / std::sqrt(0.6f + 0.4f * float(patches));
    Blob const patch(f.at(x * float(side), y), radius * 1.15f * f.pose.scale, radius / 1.15f * f.pose.scale,
                     f.draws.angle(), 0.15f, f.draws);
    f.canvas.inside(patch.scaled(1.5f), 0, [&](float* pixel, float, Point p, float level) {
      float const cloud = f.noise.rough(f.pose.body(p) * 17 + f.origin);
      float const here = 1 - smoothstep(0.72f, 1.12f, 1.5f * level + raggedness * (cloud - 0.5f));
      pixel[opacity] = std::max(pixel[opacity], here * (0.72f + 0.56f * (cloud - 0.5f)));
    });
    y = std::clamp(y + f.draws.uniform(-0.16f, 0.16f), -0.22f, 0.18f);
  }
  for (int i = 0; i < 6; ++i) {  // air bronchograms
    float const angle = f.draws.uniform(-1.2f, 1.2f), reach = f.draws.uniform(0.16f, 0.28f);
    Point const hilum{0.07f * float(side), 0};
    Point const tip = hilum + Point{std::cos(angle) * float(side), std::sin(angle)} * reach;
    f.canvas.along(f.line(hilum, tip, f.draws.uniform(-0.02f, 0.02f)), 0.0045f * f.pose.scale, 0.003f,
                   [](float* pixel, float coverage, Point, float) { pixel[opacity] *= 1 - 0.55f * coverage; });
  }
  return lung;
}

/// Puts the opacity where it was drawn, or spreads the same amount over where it might have been.
void opacify(Film& f, Label label) {
  int64_t const lung = consolidate(f);
  float const strength = f.draws.uniform(0.38f, 0.55f);
  auto const room = [&](const float* pixel, Point p) {
    Point const q = f.pose.body(p);
    return pixel[lung] * smoothstep(-0.34f, -0.16f, q.y) * (1 - smoothstep(0.10f, 0.30f, q.y)) *
           smoothstep(0.04f, 0.15f, std::abs(q.x));
  };
  double total = 0, rooms = 1e-6;
  f.canvas.each([&](float* pixel, Point p) {
    float const air = std::max(0.0f, kMediastinum + 0.05f - pixel[density]) / (kMediastinum - kLung);
    pixel[lung] *= air;
    pixel[opacity] *= pixel[lung];
    total += pixel[opacity], rooms += room(pixel, p);
  });
  float const veil = float(total / rooms);
  f.canvas.each([&](float* pixel, Point p) {
    pixel[density] += strength * (label == pneumonia ? pixel[opacity] : veil * room(pixel, p));
  });
}

/// What any film may show: breasts, a stomach bubble, leads with electrodes, the side marker.
void bystanders(Film& f) {
  float const breasts = f.draws.chance(0.5f) ? f.draws.uniform(0.03f, 0.12f) : 0.0f,
              low = f.draws.uniform(0.14f, 0.22f);
  for (int const side : {-1, 1})
    f.canvas.inside(Blob(f.at(0.24f * float(side), low), 0.15f * f.pose.scale, 0.12f * f.pose.scale, 0), 0.02f,
                    [&](float* pixel, float coverage, Point, float) { pixel[density] += breasts * coverage; });
  Point const stomach = f.draws.point(-0.02f, 0.02f) + Point{0.19f, 0.32f + f.breath};
  float const gas = f.draws.chance(0.6f) ? -0.3f : 0.0f;
  f.canvas.inside(Blob(f.pose.view(stomach), 0.06f, 0.035f, f.pose.angle, 0.1f, f.draws), 0.02f,
                  [&](float* pixel, float coverage, Point, float) { pixel[density] += gas * coverage; });
  for (int i = f.draws.chance(0.35f) ? f.draws.integer(1, 3) : 0; i > 0; --i) {
    float const x = f.draws.uniform(-0.32f, 0.32f), y = f.draws.uniform(-0.28f, 0.28f);
    Point const pad{x, y};
    float const bow = f.draws.uniform(-0.1f, 0.1f);
    add_line(f, f.line(pad, pad + Point{f.draws.uniform(-0.3f, 0.3f), 0.6f}, bow), 0.004f, 0.35f, 0);
    f.canvas.inside(Blob(f.pose.view(pad), 0.014f, 0.014f, 0), 0,
                    [](float* pixel, float coverage, Point, float) { pixel[density] += 0.45f * coverage; });
  }
  float const across = f.draws.uniform(0.86f, 0.92f), down = f.draws.uniform(0.03f, 0.14f);
  auto const lead = [](float* pixel, float coverage, Point, float) {
    pixel[density] = mix(pixel[density], 1.15f, coverage);
  };
  f.canvas.along({{across, down}, {across, down + 0.06f}, {across + 0.035f, down + 0.06f}}, 0.007f, 0, lead);
}

/// Penetration, contrast and scatter: the film's mean and deviation come from draws that do not know the class.
void expose(Film& f, uint8_t* out, const DrawKey& noise_key, int64_t id) {
  double sum = 0, squares = 0;
  double const pixels = double(f.canvas.size() * f.canvas.size());
  f.canvas.each(
      [&](float* pixel, Point) { sum += pixel[density], squares += double(pixel[density]) * pixel[density]; });
  float const mean = float(sum / pixels), deviation = std::sqrt(std::max(float(squares / pixels) - mean * mean, 1e-4f));
  float const brightness = f.draws.uniform(0.40f, 0.60f), contrast = f.draws.uniform(0.20f, 0.27f),
              noise = f.draws.uniform(2, 9);
  Point const heel = f.draws.point(-0.12f, 0.12f);  // the tube is brighter on one side
  f.canvas.each([&](float* pixel, Point p) {
    pixel[density] = brightness + contrast * (pixel[density] - mean) / deviation + dot(p - Point{0.5f, 0.5f}, heel);
  });
  write_grey(f.canvas, noise, out, noise_key, id);
}

class XRay final : public Phantom {
 public:
  std::vector<std::string> class_names() const override { return {"normal", "pneumonia"}; }
  int64_t channels() const override { return 1; }
  int64_t default_size() const override { return 64; }
  int64_t default_count() const override { return 2000; }

  void draw(uint8_t* pixels, int64_t size, int32_t label, int64_t id, const DrawKey& key) const override {
    check(label == normal || label == pneumonia, "xray: label ", label, " is not in [0, 2)");
    Film film(size, key.with(Purpose::phantom, 0), id);
    body(film);
    vessels(film);
    mediastinum(film);
    opacify(film, Label(label));
    bones(film);
    bystanders(film);
    expose(film, pixels, key.with(Purpose::phantom, 1), id);
  }
};

const PhantomRegistry::Add registration{
    Entry{"xray",
          "frontal chest radiographs: normal lungs, and pneumonia as lobar or patchy consolidation",
          "two classes named after the chest X-rays of Kermany et al. 2018",
          "x = brightness + contrast * standardised(sum of attenuations along a ray)",
          {}},
    {},
    [](const Spec&) { return std::make_unique<XRay>(); }};

}  // namespace
}  // namespace mith
