// Phantom of a blood smear under Wright and Giemsa's stain: red cells with a pale centre, platelets, one white cell.
// Five classes, the white cells, that differ by structure alone:
//   basophil    coarse dark granules that hide a nucleus of two lobes
//   eosinophil  two lobes, packed bright orange granules
//   lymphocyte  a round dense nucleus that leaves a thin rim of blue cytoplasm
//   monocyte    a folded, kidney-shaped nucleus in wide grey-blue cytoplasm with vacuoles
//   neutrophil  three to five lobes joined by threads, fine pale granules
// Stain, exposure, magnification, crowding and the cell's place vary alike in every class.
#include "data/dataset.h"
#include "data/draw.h"

namespace mith {
namespace {

using namespace draw;

enum Label : int32_t { basophil, eosinophil, lymphocyte, monocyte, neutrophil };

/// Amounts of the two stains at a pixel: optical densities in units of the stain's own colour.
struct Stain {
  float azure, eosin;
};
constexpr Stain kPlasma{0.02f, 0.03f}, kChromatin{1.45f, 0.45f}, kPlatelet{0.42f, 0.22f};

void blend(float* pixel, Stain stain, float coverage) {
  pixel[0] = mix(pixel[0], stain.azure, coverage);
  pixel[1] = mix(pixel[1], stain.eosin, coverage);
}

/// The slide while it is drawn, and where its white cell lies.
struct Smear {
  Smear(int64_t size, const DrawKey& key, int64_t id)
      : draws(key, id),
        canvas(size, 2),
        noise(draws),
        scale(draws.uniform(0.85f, 1.18f)),
        origin(draws.point(0, 32)),
        centre(draws.point(0.32f, 0.68f)),
        heading(draws.angle()) {}
  Draws draws;
  Canvas canvas;
  ValueNoise noise;
  float scale;  ///< magnification
  Point origin, centre;
  float heading;  ///< direction in which the white cell's nucleus lies
};

/// Red cells everywhere but where the white cell lies: they are as large in every class, and crowd around it.
void red_cells(Smear& s, float clearance) {
  float const crowding = s.draws.uniform(0.35f, 0.95f), pallor = s.draws.uniform(0.35f, 0.75f);
  for (Point const p : Cells(0.205f * s.scale, 0.3f, s.draws).seeds()) {
    bool const present = s.draws.chance(crowding), platelet = s.draws.chance(0.25f);
    float const radius = 0.096f * s.scale * s.draws.uniform(0.88f, 1.1f), squeeze = s.draws.uniform(1.0f, 1.12f);
    Blob const cell(p, radius * squeeze, radius / squeeze, s.draws.angle(), 0.03f, s.draws);
    Blob const chip(p, 0.024f * s.scale, 0.019f * s.scale, s.draws.angle(), 0.2f, s.draws);
    if (length(p - s.centre) < clearance + 0.85f * radius) continue;
    if (present) {
      s.canvas.inside(cell, 0.004f, [&](float* pixel, float coverage, Point, float level) {
        float const thick = 1 - pallor * (1 - smoothstep(0.15f, 0.75f, level));
        pixel[0] += 0.10f * thick * coverage, pixel[1] += 0.78f * thick * coverage;  // cells overlap: stains add up
      });
    } else if (platelet) {
      s.canvas.inside(chip, 0.006f, [&](float* pixel, float coverage, Point p2, float) {
        float const grain = 0.6f + 0.8f * s.noise.at(p2 * 70 + s.origin);
        blend(pixel, {kPlatelet.azure * grain, kPlatelet.eosin * grain}, coverage);
      });
    }
  }
}

/// Chromatin in clumps, darker at its border.
void chromatin(Smear& s, float* pixel, float coverage, Point p, float level, float darkness) {
  float const clump = s.noise.rough(p * 34 + s.origin) - 0.5f;
  float const d = darkness * (1 + 0.55f * clump + 0.12f * level);
  blend(pixel, {kChromatin.azure * d, kChromatin.eosin * d}, coverage);
}
void nucleus(Smear& s, const Blob& outline, float darkness) {
  s.canvas.inside(outline, 0.004f, [&](float* pixel, float coverage, Point p, float level) {
    chromatin(s, pixel, coverage, p, level, darkness);
  });
}
void nucleus(Smear& s, const std::vector<Point>& line, float half_width, float darkness) {
  s.canvas.along(line, half_width, 0.004f, [&](float* pixel, float coverage, Point p, float level) {
    chromatin(s, pixel, coverage, p, level, darkness);
  });
}

/// Lobes in a row on an arc about the cell's middle, joined by threads.
void lobes(Smear& s, int count, float cell, float size, float sweep, float darkness) {
  Point last;
  for (int i = 0; i < count; ++i) {
    float const t = count == 1 ? 0 : float(i) / float(count - 1) - 0.5f;
    float const angle = s.heading + sweep * t + s.draws.uniform(-0.12f, 0.12f);
    Point const p = s.centre + direction(angle) * (cell * s.draws.uniform(0.40f, 0.54f));
    float const radius = size * cell * s.draws.uniform(0.88f, 1.12f), stretch = std::sqrt(s.draws.uniform(1.1f, 1.6f));
    nucleus(s, Blob(p, radius * stretch, radius / stretch, angle + kPi / 2, 0.10f, s.draws), darkness);
    if (i > 0) nucleus(s, {last, p}, 0.06f * cell, darkness);
    last = p;
  }
}

/// Granules thrown into the cell; `packing` is the share of its area they would cover side by side.
void granules(Smear& s, const Blob& cell, float radius, float packing, Stain stain) {
  float const ratio = cell.radius() / radius;
  for (int i = static_cast<int>(packing * ratio * ratio); i > 0; --i) {
    float const around = s.draws.angle(), level = 0.93f * std::sqrt(s.draws.uniform());
    float const size = radius * s.draws.uniform(0.75f, 1.25f), tone = s.draws.uniform(0.75f, 1.2f);
    s.canvas.inside(Blob(cell.at(around, level), size, size, 0), 0.002f,
                    [&](float* pixel, float coverage, Point, float) {
                      blend(pixel, {stain.azure * tone, stain.eosin * tone}, coverage);
                    });
  }
}

void cytoplasm(Smear& s, const Blob& cell, Stain stain, float mottle) {
  s.canvas.inside(cell, 0.004f, [&](float* pixel, float coverage, Point p, float level) {
    float const m = 1 + mottle * (s.noise.rough(p * 26 + s.origin) - 0.5f) + 0.25f * smoothstep(0.85f, 1, level);
    blend(pixel, {stain.azure * m, stain.eosin * m}, coverage);
  });
}

void white_cell(Smear& s, int32_t label, float radius) {
  float const darkness = s.draws.uniform(0.8f, 1.15f), stretch = std::sqrt(s.draws.uniform(1.0f, 1.18f));
  Blob const cell(s.centre, radius * stretch, radius / stretch, s.draws.angle(), label == monocyte ? 0.06f : 0.03f,
                  s.draws);
  switch (label) {
    case basophil:
      cytoplasm(s, cell, {0.28f, 0.30f}, 0.4f);
      lobes(s, 2, radius, 0.44f, 2.2f, 0.62f * darkness);
      granules(s, cell, 0.105f * radius, 0.75f, {1.9f * darkness, 0.6f});
      break;
    case eosinophil:
      cytoplasm(s, cell, {0.10f, 0.45f}, 0.4f);
      granules(s, cell, 0.10f * radius, 1.1f, {0.10f, 1.35f});
      lobes(s, 2, radius, 0.38f, 2.3f, darkness);
      break;
    case lymphocyte: {
      cytoplasm(s, cell, {0.48f, 0.08f}, 0.2f);
      float const size = radius * s.draws.uniform(0.78f, 0.88f);
      nucleus(s,
              Blob(s.centre + direction(s.heading) * (0.09f * radius), size, size * 0.93f, s.heading, 0.04f, s.draws),
              0.92f * darkness);
      break;
    }
    case monocyte: {
      cytoplasm(s, cell, {0.36f, 0.24f}, 0.5f);
      for (int i = s.draws.integer(3, 7); i > 0; --i) {
        float const around = s.draws.angle(), level = s.draws.uniform(0.5f, 0.9f),
                    size = radius * s.draws.uniform(0.05f, 0.09f);
        s.canvas.inside(Blob(cell.at(around, level), size, size, 0), 0.003f,
                        [](float* pixel, float coverage, Point, float) {
                          blend(pixel, {0.08f, 0.08f}, coverage);
                        });
      }
      Point const out = direction(s.heading), across{-out.y, out.x};
      nucleus(s,
              arc(s.centre + across * (0.45f * radius) - out * (0.15f * radius),
                  s.centre - across * (0.45f * radius) - out * (0.15f * radius), -radius * s.draws.uniform(0.4f, 0.6f)),
              radius * s.draws.uniform(0.30f, 0.37f), 0.72f * darkness);
      break;
    }
    case neutrophil: {
      cytoplasm(s, cell, {0.07f, 0.26f}, 0.3f);
      granules(s, cell, 0.035f * radius, 0.25f, {0.28f, 0.42f});
      int const count = s.draws.integer(3, 5);
      lobes(s, count, radius, 0.27f, 1.15f * float(count), darkness);
      break;
    }
    default:
      check(false, "smear: label ", label, " is not in [0, 5)");
  }
}

class BloodSmear final : public Phantom {
 public:
  std::vector<std::string> class_names() const override {
    return {"basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil"};
  }
  int64_t channels() const override { return 3; }
  int64_t default_size() const override { return 64; }
  int64_t default_count() const override { return 2000; }

  void draw(uint8_t* pixels, int64_t size, int32_t label, int64_t id, const DrawKey& key) const override {
    Smear s(size, key.with(Purpose::phantom, 0), id);
    float const radius = 0.205f * s.scale * s.draws.spread(0.10f);
    s.canvas.each([&](float* pixel, Point p) {
      float const m = 0.6f + 0.8f * s.noise.at(p * 3 + s.origin);
      blend(pixel, {kPlasma.azure * m, kPlasma.eosin * m}, 1);
    });
    red_cells(s, radius);
    white_cell(s, label, radius);
    float const azure = 0.21f * s.draws.spread(0.22f), eosin = 0.36f * s.draws.spread(0.22f);
    expose(s.canvas, {azure, eosin});
    Rgb const blue = mix(Rgb{0.86f, 0.92f, 0.30f}, Rgb{0.68f, 0.95f, 0.42f}, s.draws.uniform());
    Rgb const pink = mix(Rgb{0.10f, 0.62f, 0.52f}, Rgb{0.14f, 0.66f, 0.40f}, s.draws.uniform());
    photograph(s.canvas, {blue, pink}, Lamp(s.draws), pixels, key.with(Purpose::phantom, 1), id);
  }
};

const PhantomRegistry::Add registration{
    Entry{
        "smear",
        "blood smears: the white cell is a basophil, eosinophil, lymphocyte, monocyte or neutrophil",
        "colour by the optical densities of Ruifrok & Johnston 2001; classes among those of BloodMNIST (Acevedo et al. "
        "2020)",
        "x = lamp * exp(-(a * azure + e * eosin)), a and e drawn as red cells, lobes and granules",
        {}},
    {},
    [](const Spec&) { return std::make_unique<BloodSmear>(); }};

}  // namespace
}  // namespace mith
