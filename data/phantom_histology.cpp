// Phantom of tissue under haematoxylin and eosin: nuclei blue-purple, cytoplasm and fibres pink, lumens and air white.
// Five classes, named after the lung and colon set, that differ by structure alone:
//   colon_benign          round crypts in even spacing: one row of small nuclei, goblet cells, a narrow lumen
//   colon_adenocarcinoma  fused (cribriform) sheets: crowded long nuclei, many punched-out lumens, debris
//   lung_benign           thin septa around wide air spaces
//   lung_adenocarcinoma   separate irregular (acinar) glands of large uneven nuclei in a fibrous stroma
//   lung_squamous         solid nests of polygonal cells with borders, keratin pearls, no lumen
// Stain, hue, brightness, magnification, direction and position vary alike in every class.
#include "data/dataset.h"
#include "data/draw.h"

namespace mith {
namespace {

using namespace draw;

enum Label : int32_t { colon_adenocarcinoma, colon_benign, lung_adenocarcinoma, lung_benign, lung_squamous };

/// Amounts of the two stains at a pixel: optical densities in units of the stain's own colour.
struct Stain {
  float haematoxylin, eosin;
};
constexpr Stain kOpen{0.02f, 0.03f}, kBenignCytoplasm{0.30f, 0.42f}, kMalignantCytoplasm{0.42f, 0.50f},
    kSquamousCytoplasm{0.20f, 0.78f}, kMucin{0.13f, 0.07f}, kKeratin{0.03f, 1.25f}, kRedCell{0.05f, 1.6f},
    kDebris{0.35f, 0.85f};

void blend(float* pixel, Stain stain, float coverage) {
  pixel[0] = mix(pixel[0], stain.haematoxylin, coverage);
  pixel[1] = mix(pixel[1], stain.eosin, coverage);
}

/// Nuclei of one cell type. Lengths in view units at magnification 1.
struct NucleusType {
  float radius;
  float size_spread;   ///< deviation of log radius: pleomorphism
  float elongation;    ///< long over short axis
  float roughness;     ///< of the outline
  float haematoxylin;  ///< darkness
  float chromatin;     ///< strength of the texture inside
  float pale_centre;   ///< 0: solid; 1: a vesicular nucleus with a dark rim
  float nucleolus;     ///< chance of a dark dot
};
constexpr NucleusType kBasal{0.0185f, 0.08f, 1.35f, 0.04f, 1.75f, 0.5f, 0.1f, 0},
    kLymphocyte{0.0150f, 0.10f, 1.05f, 0.03f, 2.0f, 0.5f, 0, 0},
    kFibroblast{0.0145f, 0.20f, 3.4f, 0.05f, 1.45f, 0.4f, 0, 0}, kSeptal{0.0150f, 0.15f, 1.9f, 0.06f, 1.7f, 0.5f, 0, 0},
    kCigar{0.0250f, 0.20f, 1.9f, 0.09f, 1.75f, 0.9f, 0.15f, 0.2f},
    kAcinar{0.0260f, 0.26f, 1.2f, 0.10f, 1.6f, 0.9f, 0.4f, 0.7f},
    kSquamousNucleus{0.0230f, 0.22f, 1.25f, 0.08f, 1.55f, 0.9f, 0.35f, 0.4f},
    kPyknotic{0.0120f, 0.25f, 2.4f, 0.1f, 1.9f, 0.2f, 0, 0},
    kMacrophage{0.0160f, 0.15f, 1.1f, 0.05f, 1.35f, 0.6f, 0.2f, 0};

/// The slide while it is drawn: stain densities, noise, and the direction in which the fibres run.
struct Slide {
  Slide(int64_t size, const DrawKey& key, int64_t id)
      : draws(key, id),
        canvas(size, 2),
        noise(draws),
        scale(draws.uniform(0.85f, 1.2f)),
        heading(direction(draws.angle())),
        origin(draws.point(0, 32)),
        swirl(draws.uniform(0.15f, 0.45f)) {}
  /// Stream function of the fibres: they run along its level lines.
  float stream(Point p) const { return dot(p, heading) + swirl * noise.at(p * 2.2f + origin); }
  float fibre_angle(Point p) const {
    float const step = 0.01f, here = stream(p);
    float const dx = stream(p + Point{step, 0}) - here, dy = stream(p + Point{0, step}) - here;
    return std::atan2(dx, -dy);
  }
  float fibre(Point p) const {
    float const along = p.y * heading.x - p.x * heading.y;
    return noise.rough(Point{stream(p) * 26 / scale, along * 3.5f} + origin);
  }
  Draws draws;
  Canvas canvas;
  ValueNoise noise;
  float scale;  ///< magnification
  Point heading, origin;
  float swirl;
};

void nucleus(Slide& s, Point centre, const NucleusType& type, float angle) {
  float const radius = type.radius * s.scale * s.draws.spread(type.size_spread);
  float const elongation = std::sqrt(1 + (type.elongation - 1) * s.draws.uniform(0.6f, 1.3f));
  Blob const outline(centre, radius * elongation, radius / elongation, angle, type.roughness, s.draws);
  float const darkness = type.haematoxylin * s.draws.uniform(0.82f, 1.15f);
  Point const grain = s.draws.point(0, 32);
  bool const has_nucleolus = s.draws.chance(type.nucleolus);
  Blob const nucleolus(centre + direction(s.draws.angle()) * (0.3f * radius), 0.25f * radius, 0.25f * radius, 0);
  s.canvas.inside(outline, 0.003f, [&](float* pixel, float coverage, Point p, float level) {
    float const texture = type.chromatin * (s.noise.at((p - centre) * (2.4f / radius) + grain) - 0.5f);
    float const pale = type.pale_centre * (1 - smoothstep(0.55f, 0.9f, level));
    blend(pixel, {darkness * (1 + 0.6f * texture) * (1 - 0.55f * pale), 0.30f}, coverage);
  });
  if (has_nucleolus)
    s.canvas.inside(nucleolus, 0, [&](float* pixel, float coverage, Point, float) {
      blend(pixel, {1.25f * darkness, 0.6f}, coverage);
    });
}

/// Fills an outline with cytoplasm: one stain, mottled.
void cytoplasm(Slide& s, const Blob& outline, Stain stain, float mottle) {
  s.canvas.inside(outline, 0.004f, [&](float* pixel, float coverage, Point p, float) {
    float const m = 1 + mottle * (s.noise.rough(p * 14 + s.origin) - 0.5f);
    blend(pixel, {stain.haematoxylin * m, stain.eosin * m}, coverage);
  });
}

void lumen(Slide& s, const Blob& outline) {
  s.canvas.inside(outline, 0.004f, [](float* pixel, float coverage, Point, float) { blend(pixel, kOpen, coverage); });
}

/// Pink fibrous ground in which everything lies; `density` is the share that is not cleft.
void stroma(Slide& s, float strength, float density) {
  s.canvas.each([&](float* pixel, Point p) {
    float const fibre = s.fibre(p), cleft = smoothstep(density - 0.04f, density + 0.06f, fibre);
    blend(pixel, {0.14f, strength * (0.45f + 1.0f * fibre)}, 1);
    blend(pixel, kOpen, 0.9f * cleft);
  });
}

template <class Accept>
void stroma_cells(Slide& s, float spacing, float lymphocytes, Accept&& accept) {
  for (Point const p : Cells(spacing * s.scale, 0.42f, s.draws).seeds()) {
    bool const round = s.draws.chance(lymphocytes), skip = s.draws.chance(0.25f);
    if (!skip && accept(p)) nucleus(s, p, round ? kLymphocyte : kFibroblast, s.fibre_angle(p));
  }
}

/// Nuclei in a row along an outline, at a level of it, `gap` view units from one to the next.
void nuclei_along(Slide& s, const Blob& outline, float level, float gap, const NucleusType& type, float turn,
                  float disorder) {
  int const count = std::max(3, static_cast<int>(2 * kPi * outline.radius() * level / (gap * s.scale)));
  float const start = s.draws.angle();
  for (int i = 0; i < count; ++i) {
    float const angle = start + 2 * kPi * (float(i) + disorder * s.draws.uniform(-1, 1)) / float(count);
    float const depth = level * (1 + 0.25f * disorder * s.draws.uniform(-1, 1));
    nucleus(s, outline.at(angle, depth), type, outline.tangent(angle) + turn + disorder * s.draws.uniform(-1, 1));
  }
}

/// Leaves out what does not reach the view, which costs time and shows nothing.
void keep_visible(std::vector<Blob>& blobs) {
  std::erase_if(blobs, [](const Blob& b) { return !b.visible(); });
}

bool inside_any(const std::vector<Blob>& blobs, Point p, float margin) {
  return std::any_of(blobs.begin(), blobs.end(), [&](const Blob& b) { return b.covers(p, margin); });
}

void crypt(Slide& s, const Blob& outline) {
  s.canvas.inside(outline.scaled(1.07f), 0.01f, [](float* pixel, float coverage, Point, float) {
    blend(pixel, {0.10f, 0.18f}, coverage);  // the pale cuff that sets a crypt off from its stroma
  });
  cytoplasm(s, outline, kBenignCytoplasm, 0.3f);
  int const goblets = static_cast<int>(2 * kPi * outline.radius() * 0.55f / (0.055f * s.scale));
  float const start = s.draws.angle(), length = 0.23f * outline.radius();
  for (int i = 0; i < goblets; ++i) {
    float const angle = start + 2 * kPi * (float(i) + s.draws.uniform(-0.3f, 0.3f)) / float(goblets);
    float const deep = length * s.draws.uniform(0.7f, 1.15f), wide = 0.021f * s.scale * s.draws.uniform(0.75f, 1.1f);
    Blob const goblet(outline.at(angle, 0.55f), deep, wide, outline.tangent(angle) + kPi / 2);
    s.canvas.inside(goblet, 0.004f, [](float* pixel, float coverage, Point, float level) {
      blend(pixel, kMucin, coverage * (1 - 0.3f * level * level));
    });
  }
  nuclei_along(s, outline, 0.87f, 0.040f, kBasal, 0, 0.22f);
  float const opening = outline.radius() * s.draws.uniform(0.15f, 0.26f);
  lumen(s, Blob(outline.centre(), opening * 1.2f, opening / 1.2f, s.draws.angle(), 0.12f, s.draws));
}

void draw_colon_benign(Slide& s) {
  stroma(s, 0.50f, s.draws.uniform(0.72f, 0.9f));
  float const spacing = s.draws.uniform(0.37f, 0.43f) * s.scale, stretch = s.draws.uniform(1.0f, 1.22f),
              angle = s.draws.angle();
  std::vector<Blob> crypts;
  for (Point const p : Cells(spacing, 0.09f, s.draws).seeds()) {
    float const radius = spacing * s.draws.uniform(0.36f, 0.43f);
    crypts.emplace_back(p, radius * stretch, radius / stretch, angle, 0.04f, s.draws);
  }
  keep_visible(crypts);
  stroma_cells(s, 0.055f, 0.7f, [&](Point p) { return !inside_any(crypts, p, 0.012f); });
  for (const Blob& outline : crypts) crypt(s, outline);
}

/// Irregular islands that together hold most of the view, wherever it lies.
std::vector<Blob> islands(Slide& s) {
  std::vector<Blob> all;
  float const spacing = s.draws.uniform(0.65f, 0.85f) * s.scale;
  for (Point const p : Cells(spacing, 0.2f, s.draws).seeds()) {
    float const radius = spacing * s.draws.uniform(0.46f, 0.57f), axis = std::sqrt(s.draws.uniform(1.0f, 1.6f));
    all.emplace_back(p, radius * axis, radius / axis, s.draws.angle(), 0.10f, s.draws);
  }
  keep_visible(all);
  return all;
}

/// Outlines thrown at random into the view, none nearer than `gap` to another; accept(blob) may refuse more.
template <class Accept>
std::vector<Blob> scattered(Slide& s, int tries, float smallest, float largest, float stretch, float roughness,
                            float gap, Accept&& accept) {
  std::vector<Blob> placed;
  for (int i = 0; i < tries; ++i) {
    Point const centre = s.draws.point(-0.08f, 1.08f);
    float const radius = s.draws.uniform(smallest, largest) * s.scale, axis = std::sqrt(s.draws.uniform(1, stretch));
    Blob const blob(centre, radius * axis, radius / axis, s.draws.angle(), roughness, s.draws);
    bool const apart = std::all_of(placed.begin(), placed.end(), [&](const Blob& other) {
      return length(other.centre() - centre) > other.radius() + radius + gap * s.scale;
    });
    if (apart && accept(blob)) placed.push_back(blob);
  }
  return placed;
}

void draw_colon_adenocarcinoma(Slide& s) {
  stroma(s, 0.62f, s.draws.uniform(0.66f, 0.85f));
  std::vector<Blob> const sheets = islands(s);
  std::vector<Blob> const lumens = scattered(s, 120, 0.035f, 0.100f, 1.8f, 0.08f, 0.09f, [&](const Blob& b) {
    return inside_any(sheets, b.centre(), -b.radius() - 0.03f);
  });
  stroma_cells(s, 0.075f, 0.25f, [&](Point p) { return !inside_any(sheets, p, 0.015f); });
  for (const Blob& sheet : sheets) cytoplasm(s, sheet, kMalignantCytoplasm, 0.5f);
  for (Point const p : Cells(0.056f * s.scale, 0.33f, s.draws).seeds()) {
    float const angle = s.draws.angle();
    if (inside_any(sheets, p, -0.012f) && !inside_any(lumens, p, 0.085f * s.scale)) nucleus(s, p, kCigar, angle);
  }
  for (const Blob& hole : lumens) {
    nuclei_along(s, hole, 1 + 0.052f * s.scale / hole.radius(), 0.038f, kCigar, kPi / 2, 0.22f);
    lumen(s, hole);
    if (!s.draws.chance(0.45f)) continue;
    cytoplasm(s, Blob(hole.centre(), 0.55f * hole.radius(), 0.45f * hole.radius(), s.draws.angle(), 0.2f, s.draws),
              kDebris, 1.2f);
    for (int i = s.draws.integer(2, 4); i > 0; --i) {
      float const around = s.draws.angle(), level = s.draws.uniform(0.1f, 0.5f);
      nucleus(s, hole.at(around, level), kPyknotic, s.draws.angle());
    }
  }
}

void draw_lung_adenocarcinoma(Slide& s) {
  stroma(s, 0.68f, s.draws.uniform(0.68f, 0.88f));
  std::vector<Blob> const glands =
      scattered(s, 160, 0.085f, 0.19f, 1.9f, 0.10f, 0.030f, [](const Blob&) { return true; });
  stroma_cells(s, 0.085f, 0.3f, [&](Point p) { return !inside_any(glands, p, 0.02f); });
  for (const Blob& gland : glands) {
    cytoplasm(s, gland, kMalignantCytoplasm, 0.5f);
    float const width = 0.078f * s.scale, opening = std::clamp(1 - width / gland.radius(), 0.15f, 0.75f);
    lumen(s, gland.scaled(opening));
    nuclei_along(s, gland, 0.62f + 0.38f * opening, 0.056f, kAcinar, kPi / 2, 0.3f);
  }
}

/// A ragged band across the view. Its place is drawn so that every pixel is equally often inside.
struct Band {
  Band(Slide& s, float widest)
      : across(direction(s.draws.angle())),
        offset(s.draws.uniform(-0.95f, 0.95f)),
        half(s.draws.uniform(0.03f, widest)) {}
  /// 1 inside, 0 outside.
  float covers(const Slide& s, Point p) const {
    float const bent = dot(p - Point{0.5f, 0.5f}, across) + 0.22f * (s.noise.rough(p * 4 + s.origin) - 0.5f);
    return 1 - smoothstep(half - 0.006f, half + 0.006f, std::abs(bent - offset));
  }
  Point across;
  float offset, half;  ///< distance from the view's centre, and half of the width
};

/// Air spaces and the septa between them.
struct Septa {
  explicit Septa(Slide& s)
      : spaces(s.draws.uniform(0.24f, 0.34f) * s.scale, 0.26f, s.draws, 0.15f),
        thickness(s.draws.uniform(0.017f, 0.032f) * s.scale) {}
  Cells::Place at(const Slide& s, Point p) const {
    Point const q = p * 5 + s.origin;
    return spaces.at(p + Point{s.noise.at(q) - 0.5f, s.noise.at(q + Point{7.7f, 3.1f}) - 0.5f} * 0.07f);
  }
  Cells spaces;
  float thickness;  ///< half of a septum's, view units
};

void septal_cells(Slide& s, const Septa& septa, const Band& bundle) {
  for (Point const p : Cells(0.036f * s.scale, 0.4f, s.draws).seeds()) {
    bool const nucleated = s.draws.chance(0.6f), red = s.draws.chance(0.3f), free = s.draws.chance(0.012f);
    if (bundle.covers(s, p) > 0) continue;
    Cells::Place const place = septa.at(s, p);
    float const along = std::atan2(place.normal.x, -place.normal.y);
    if (place.edge < 0.8f * septa.thickness && nucleated) {
      nucleus(s, p, kSeptal, along);
    } else if (place.edge < septa.thickness && red) {
      cytoplasm(s, Blob(p, 0.011f * s.scale, 0.011f * s.scale, 0), kRedCell, 0.2f);
    } else if (place.edge > 0.05f && free) {
      cytoplasm(s, Blob(p, 0.032f * s.scale, 0.027f * s.scale, along, 0.06f, s.draws), {0.25f, 0.55f}, 0.8f);
      nucleus(s, p, kMacrophage, along);
    }
  }
}

void draw_lung_benign(Slide& s) {
  stroma(s, 0.62f, s.draws.uniform(0.70f, 0.88f));
  Band const bundle(s, 0.16f);
  stroma_cells(s, 0.075f, 0.3f, [&](Point p) { return bundle.covers(s, p) > 0; });
  Septa const septa(s);
  float const edge = 0.5f * s.canvas.pixel_width() + 0.002f;
  s.canvas.each([&](float* pixel, Point p) {
    float const aerated = 1 - bundle.covers(s, p);
    if (aerated == 0) return;
    float const local = septa.thickness * (0.6f + 0.9f * s.noise.at(p * 9 + s.origin));
    float const wall = std::clamp(0.5f - 0.5f * (septa.at(s, p).edge - local) / edge, 0.0f, 1.0f);
    blend(pixel, kOpen, aerated);
    blend(pixel, {0.22f, 0.45f + 0.5f * s.noise.rough(p * 25)}, aerated * wall);
  });
  septal_cells(s, septa, bundle);
}

/// A whorl of flattened, keratinised cells.
void pearl(Slide& s, const Blob& outline) {
  float const turns = s.draws.uniform(4.0f, 5.5f);
  s.canvas.inside(outline, 0.02f, [&](float* pixel, float coverage, Point p, float level) {
    float const lamella = std::sin(2 * kPi * (turns * level + 1.4f * s.noise.rough(p * 11 + s.origin)));
    blend(pixel, {kKeratin.haematoxylin, kKeratin.eosin * (1 + 0.32f * lamella)}, coverage);
  });
  for (int i = s.draws.integer(3, 7); i > 0; --i) {
    float const angle = s.draws.angle();
    nucleus(s, outline.at(angle, s.draws.uniform(0.3f, 0.85f)), kPyknotic, outline.tangent(angle));
  }
}

void draw_lung_squamous(Slide& s) {
  stroma(s, 0.62f, s.draws.uniform(0.66f, 0.85f));
  std::vector<Blob> const nests = islands(s);
  std::vector<Blob> const pearls = scattered(s, 25, 0.08f, 0.15f, 1.4f, 0.05f, 0.16f,
                                             [&](const Blob& b) { return inside_any(nests, b.centre(), -b.radius()); });
  stroma_cells(s, 0.075f, 0.5f, [&](Point p) { return !inside_any(nests, p, 0.015f); });
  for (const Blob& nest : nests) cytoplasm(s, nest, kSquamousCytoplasm, 0.3f);
  Cells const cells(s.draws.uniform(0.078f, 0.092f) * s.scale, 0.25f, s.draws);
  s.canvas.each([&](float* pixel, Point p) {
    if (!inside_any(nests, p, -0.004f)) return;
    float const border = 1 - smoothstep(0.002f, 0.011f, cells.at(p).edge);
    blend(pixel, {0.08f, 0.30f}, 0.8f * border);
  });
  for (Point const p : cells.seeds()) {
    float const angle = s.draws.angle();
    if (inside_any(nests, p, -0.015f) && !inside_any(pearls, p, 0.01f)) nucleus(s, p, kSquamousNucleus, angle);
  }
  for (const Blob& outline : pearls) pearl(s, outline);
}

/// White glass where the section is torn, so that the share of white says little about the class.
void tear(Slide& s) {
  Band const crack(s, 0.16f);
  s.canvas.each([&](float* pixel, Point p) { blend(pixel, kOpen, crack.covers(s, p)); });
}

/// The draws of exposure, stain and lamp, none of which knows the class.
void finish(Slide& s, uint8_t* out, const DrawKey& noise_key, int64_t id) {
  float const haematoxylin = 0.44f * s.draws.spread(0.22f), eosin = 0.47f * s.draws.spread(0.22f);
  expose(s.canvas, {haematoxylin, eosin});
  Rgb const blue = mix(Rgb{0.70f, 0.68f, 0.24f}, Rgb{0.55f, 0.74f, 0.36f}, s.draws.uniform());
  Rgb const pink = mix(Rgb{0.07f, 0.86f, 0.34f}, Rgb{0.15f, 0.80f, 0.52f}, s.draws.uniform());
  photograph(s.canvas, {blue, pink}, Lamp(s.draws), out, noise_key, id);
}

class Histology final : public Phantom {
 public:
  std::vector<std::string> class_names() const override {
    return {"colon_adenocarcinoma", "colon_benign", "lung_adenocarcinoma", "lung_benign", "lung_squamous"};
  }
  int64_t channels() const override { return 3; }
  int64_t default_size() const override { return 64; }
  int64_t default_count() const override { return 2000; }

  void draw(uint8_t* pixels, int64_t size, int32_t label, int64_t id, const DrawKey& key) const override {
    Slide slide(size, key.with(Purpose::phantom, 0), id);
    switch (label) {
      case colon_adenocarcinoma:
        draw_colon_adenocarcinoma(slide);
        break;
      case colon_benign:
        draw_colon_benign(slide);
        break;
      case lung_adenocarcinoma:
        draw_lung_adenocarcinoma(slide);
        break;
      case lung_benign:
        draw_lung_benign(slide);
        break;
      case lung_squamous:
        draw_lung_squamous(slide);
        break;
      default:
        check(false, "histology: label ", label, " is not in [0, 5)");
    }
    if (label != lung_benign) tear(slide);
    finish(slide, pixels, key.with(Purpose::phantom, 1), id);
  }
};

const PhantomRegistry::Add registration{
    Entry{"histology",
          "tissue under haematoxylin and eosin: benign and malignant, lung and colon; five classes by structure",
          "colour by the optical densities of Ruifrok & Johnston 2001; classes named after LC25000 (Borkowski et al. "
          "2019)",
          "x = lamp * exp(-(h * haematoxylin + e * eosin)), h and e drawn as glands, septa, nests and nuclei",
          {}},
    {},
    [](const Spec&) { return std::make_unique<Histology>(); }};

}  // namespace
}  // namespace mith
