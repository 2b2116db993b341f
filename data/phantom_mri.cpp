// Phantom of an axial slice of the head in magnetic resonance. Four classes that differ by structure alone:
//   glioma      within the brain: a ragged ring around a necrotic core, with oedema fingering into the white matter
//   meningioma  on the brain's surface: round, smooth and even, broad at the skull, with a dural tail
//   notumor     no mass
//   pituitary   a smooth mass in the midline at the sella, in the suprasellar cistern
// Sequence (T1 with contrast agent, T2, FLAIR), level of the slice, head shape, pose, gain, coil shading and noise vary
// alike in every class; a pituitary mass is only seen at the level of its cistern, so half of the others lie there too.
#include "data/dataset.h"
#include "data/draw.h"

namespace mith {
namespace {

using namespace draw;

enum Label : int32_t { glioma, meningioma, notumor, pituitary };

/// Signals of the tissues in one sequence, 1 the brightest.
struct Sequence {
  float fat, bone, fluid, grey, white, tumour, oedema, necrosis;
};
/// T1 with contrast agent, T2, FLAIR; the first is taken twice as often as the others.
constexpr std::array<Sequence, 3> kSequences{{{0.85f, 0.07f, 0.12f, 0.42f, 0.56f, 0.96f, 0.33f, 0.17f},
                                              {0.62f, 0.06f, 0.95f, 0.56f, 0.38f, 0.74f, 0.84f, 0.98f},
                                              {0.50f, 0.05f, 0.12f, 0.54f, 0.42f, 0.86f, 0.76f, 0.25f}}};

/// The head while it is drawn. Body coordinates: origin in the middle of the brain, y towards the back of the head.
struct Head {
  Head(int64_t size, const DrawKey& key, int64_t id)
      : draws(key, id),
        canvas(size, 1),
        noise(draws),
        pose(draws, 0.045f, 0.17f, 0.06f),
        origin(draws.point(0, 32)),
        tissue(kSequences[size_t(std::max(draws.integer(-1, 2), 0))]),
        atrophy(draws.uniform(0.6f, 1.5f)),
        narrow(draws.uniform(0.76f, 0.86f)),
        scalp(pose.origin, 0.455f * pose.scale, 0.455f * narrow * pose.scale, pose.angle + kPi / 2, 0.010f, draws),
        brain(scalp.scaled(draws.uniform(0.855f, 0.885f))) {
    float* const signals[] = {&tissue.fat,    &tissue.fluid,  &tissue.grey,    &tissue.white,
                              &tissue.tumour, &tissue.oedema, &tissue.necrosis};
    for (float* signal : signals) *signal *= draws.spread(0.05f);
  }
  Point at(float x, float y) const { return pose.view(Point{x * narrow / 0.8f, y}); }
  Draws draws;
  Canvas canvas;
  ValueNoise noise;
  Pose pose;
  Point origin;
  Sequence tissue;
  float atrophy, narrow;  ///< width of the spaces filled with fluid; width over length
  Blob scalp, brain;      ///< the skin, and the brain's surface
};

void paint(float* pixel, float signal, float coverage) { pixel[0] = mix(pixel[0], signal, coverage); }

/// Fills a blob with one tissue, mottled a little.
void fill(Head& h, const Blob& blob, float signal, float softness) {
  h.canvas.inside(blob, softness, [&](float* pixel, float coverage, Point p, float) {
    paint(pixel, signal * (0.94f + 0.12f * h.noise.at(p * 30 + h.origin)), coverage);
  });
}
/// A line of one tissue, as far as the dura that wraps the brain.
void fill_line(Head& h, const std::vector<Point>& line, float half_width, float signal) {
  h.canvas.along(line, half_width * h.pose.scale, 0.003f, [&](float* pixel, float coverage, Point p, float) {
    if (h.brain.covers(p, 0.008f)) paint(pixel, signal, coverage);
  });
}

/// Scalp, skull, and the brain's folded surface: a ribbon of grey matter around white, fluid in the sulci.
void head(Head& h) {
  Blob const skull = h.scalp.scaled(0.955f), inner = h.brain.scaled(1.02f);
  fill(h, h.scalp, h.tissue.fat, 0);
  fill(h, skull, h.tissue.bone, 0.002f);
  fill(h, inner, h.tissue.fluid, 0.002f);
  float const folds = h.draws.uniform(15, 20);
  h.canvas.inside(h.brain, 0.003f, [&](float* pixel, float coverage, Point p, float) {
    float const deep = -h.brain.depth(p).distance() / h.pose.scale;
    Point const q = h.pose.body(p) * folds + h.origin;
    float const valley = std::abs(h.noise.at(q) - 0.5f) / folds * 1.3f;  // from the floor of the nearest sulcus
    float const open = (1 - smoothstep(0.004f, 0.010f, valley / h.atrophy)) * (1 - smoothstep(0.05f, 0.10f, deep));
    float const ribbon = std::max(1 - smoothstep(0.022f, 0.034f, deep),
                                  (1 - smoothstep(0.014f, 0.026f, valley)) * (1 - smoothstep(0.09f, 0.14f, deep)));
    float const signal = mix(mix(h.tissue.white, h.tissue.grey, ribbon), h.tissue.fluid, 0.85f * open);
    paint(pixel, signal * (0.96f + 0.08f * h.noise.at(p * 40 + h.origin)), coverage);
  });
}

/// The slice through the lateral ventricles: their horns, the deep grey nuclei, the third ventricle, the fissure.
void ventricles(Head& h) {
  float const wide = 0.020f * h.atrophy, back = h.draws.uniform(0.13f, 0.2f);
  fill_line(h, {h.at(0, -0.5f), h.at(0, -0.17f)}, 0.0045f * h.atrophy, h.tissue.fluid);
  fill_line(h, {h.at(0, 0.17f), h.at(0, 0.5f)}, 0.0045f * h.atrophy, h.tissue.fluid);
  for (float const side : {-1.0f, 1.0f}) {
    fill(h,
         Blob(h.at(0.135f * side, -0.01f), 0.095f * h.pose.scale, 0.034f * h.pose.scale,
              h.pose.angle + kPi / 2 - 0.22f * side),
         h.tissue.grey, 0.006f);  // putamen
    fill(h,
         Blob(h.at(0.055f * side, 0.055f), 0.058f * h.pose.scale, 0.036f * h.pose.scale,
              h.pose.angle + kPi / 2 - 0.35f * side),
         h.tissue.grey, 0.006f);  // thalamus
    fill(h,
         Blob(h.at(0.078f * side, -0.10f), 0.042f * h.pose.scale, 0.024f * h.pose.scale,
              h.pose.angle + kPi / 2 - 0.3f * side),
         h.tissue.grey, 0.006f);  // head of the caudate
    fill_line(h, arc(h.at(0.018f * side, -0.03f), h.at(0.062f * side, -0.155f), 0.012f * side), wide, h.tissue.fluid);
    fill_line(h, arc(h.at(0.045f * side, 0.10f), h.at(0.10f * side, back + 0.04f), -0.02f * side), 0.85f * wide,
              h.tissue.fluid);
    fill_line(h, arc(h.at(0.33f * side, -0.06f), h.at(0.20f * side, 0.02f), 0.02f), 0.007f * h.atrophy, h.tissue.fluid);
  }
  fill_line(h, {h.at(0, -0.02f), h.at(0, 0.085f)}, 0.006f * h.atrophy, h.tissue.fluid);
}

constexpr Point kSella{0, -0.075f};

/// The slice through the suprasellar cistern: its star, the midbrain, Sylvian fissures, the cerebellum's folia.
void cistern(Head& h) {
  float const open = 0.75f + 0.25f * h.atrophy;
  fill_line(h, {h.at(0, -0.5f), h.at(0, -0.11f)}, 0.0045f * h.atrophy, h.tissue.fluid);
  Blob const cerebellum(h.at(0, 0.225f), 0.185f * h.pose.scale, 0.115f * h.pose.scale, h.pose.angle);
  fill(h, cerebellum.scaled(1.05f), h.tissue.fluid, 0.004f);
  h.canvas.inside(cerebellum, 0.004f, [&](float* pixel, float coverage, Point p, float level) {
    Point const q = h.pose.body(p);
    // Folia are thin arcs about the front of the cerebellum; the vermis lies between its hemispheres.
    float const out = length({0.75f * q.x, q.y - 0.07f}) + 0.012f * h.noise.at(p * 13 + h.origin);
    float const folia = smoothstep(0.3f, 1, std::sin(2 * kPi * out / 0.024f)) * smoothstep(0.25f, 0.5f, level);
    float const vermis = 1 - smoothstep(0.003f, 0.008f, std::abs(std::abs(q.x) - 0.028f));
    float const matter = mix(h.tissue.white, h.tissue.grey, smoothstep(0.35f, 0.75f, level));
    paint(pixel, mix(matter, h.tissue.fluid, std::min(0.45f * folia + 0.3f * vermis, 0.5f)), coverage);
  });
  fill(h, Blob(h.at(0, 0.135f), 0.022f * h.pose.scale, 0.014f * h.pose.scale, h.pose.angle), h.tissue.fluid, 0.003f);
  for (float const angle : {-2.75f, -1.5708f, -0.39f, 0.75f, 2.39f}) {  // the star's points
    Point const tip = kSella + direction(angle) * (0.098f * open);
    fill_line(h, {h.at(kSella.x, kSella.y), h.at(tip.x, tip.y)}, 0.014f * open, h.tissue.fluid);
  }
  fill(h, Blob(h.at(kSella.x, kSella.y), 0.052f * open * h.pose.scale, 0.046f * open * h.pose.scale, h.pose.angle),
       h.tissue.fluid, 0.004f);
  for (float const side : {-1.0f, 1.0f}) {
    fill_line(h, arc(h.at(0.10f * side, -0.125f), h.at(0.34f * side, -0.10f), -0.03f * side), 0.009f * h.atrophy,
              h.tissue.fluid);
    fill(h, Blob(h.at(0.042f * side, 0.045f), 0.055f * h.pose.scale, 0.042f * h.pose.scale, h.pose.angle + 0.9f * side),
         0.5f * (h.tissue.grey + h.tissue.white), 0.004f);  // cerebral peduncles
    fill_line(h, arc(h.at(0.085f * side, 0.0f), h.at(0.075f * side, 0.105f), -0.02f * side), 0.007f * open,
              h.tissue.fluid);
    fill_line(h, arc(h.at(0.16f * side, 0.01f), h.at(0.175f * side, 0.055f), 0.01f), 0.008f * h.atrophy,
              h.tissue.fluid);  // temporal horns
  }
  fill(h, Blob(h.at(0, 0.07f), 0.045f * h.pose.scale, 0.038f * h.pose.scale, h.pose.angle),
       0.5f * (h.tissue.grey + h.tissue.white), 0.004f);
  fill_line(h, {h.at(0, 0.085f), h.at(0, 0.095f)}, 0.006f, h.tissue.fluid);  // aqueduct
}

/// A mass's even inside: one signal with a fine grain.
void solid(Head& h, const Blob& mass, float signal) {
  h.canvas.inside(mass, 0.002f, [&](float* pixel, float coverage, Point p, float) {
    paint(pixel, signal * (0.92f + 0.16f * h.noise.rough(p * 35 + h.origin)), coverage);
  });
}

void draw_glioma(Head& h) {
  float const side = h.draws.chance(0.5f) ? 1.0f : -1.0f, x = h.draws.uniform(0.10f, 0.21f) * side;
  float const y = h.draws.uniform(-0.22f, 0.22f), radius = h.draws.uniform(0.075f, 0.115f) * h.pose.scale,
              stretch = std::sqrt(h.draws.uniform(1.0f, 1.5f));
  Blob const mass(h.at(x, y), radius * stretch, radius / stretch, h.draws.angle(), 0.09f, h.draws);
  float const spread = h.draws.uniform(1.5f, 2.0f), core = h.draws.uniform(0.5f, 0.68f);
  h.canvas.inside(mass.scaled(spread), 0, [&](float* pixel, float, Point p, float level) {
    bool const in_brain = h.brain.covers(p, -0.012f);
    float const finger = level + 0.9f * (h.noise.rough(p * 16 + h.origin) - 0.5f);
    if (in_brain) paint(pixel, h.tissue.oedema, 0.9f * (1 - smoothstep(0.72f, 0.92f, finger)));
  });
  h.canvas.inside(mass, 0.004f, [&](float* pixel, float coverage, Point p, float level) {
    float const ragged = level + 0.45f * (h.noise.rough(p * 24 + h.origin) - 0.5f);
    float const signal = mix(h.tissue.necrosis, h.tissue.tumour, smoothstep(core - 0.05f, core + 0.05f, ragged));
    if (h.brain.covers(p, -0.006f)) paint(pixel, signal, coverage);
  });
}

void draw_meningioma(Head& h) {
  float const radius = h.draws.uniform(0.080f, 0.120f), depth = h.draws.uniform(0.35f, 0.7f);
  float const around = h.draws.angle();
  Point const base = h.brain.at(around, 1.0f), inward = h.brain.centre() - base;
  Point const centre = base + inward * (depth * radius * h.pose.scale / length(inward));
  float const along = h.brain.tangent(around), stretch = std::sqrt(h.draws.uniform(1.0f, 1.4f));
  Blob const mass(centre, radius * stretch * h.pose.scale, radius / stretch * h.pose.scale, along, 0.03f, h.draws);
  Blob const inner = h.brain.scaled(1.02f);
  auto const within = [&](const Blob& blob, float signal) {
    h.canvas.inside(blob, 0.002f, [&](float* pixel, float coverage, Point p, float) {
      if (inner.covers(p, 0)) paint(pixel, signal * (0.92f + 0.16f * h.noise.rough(p * 35 + h.origin)), coverage);
    });
  };
  within(mass.scaled(1.12f), h.tissue.fluid);  // the cleft that shows it lies outside the brain
  within(mass, h.tissue.tumour);
  for (float const turn : {-1.0f, 1.0f}) {  // the dural tail
    std::vector<Point> tail;
    float const reach = h.draws.uniform(0.25f, 0.45f);
    for (int i = 0; i <= 4; ++i) tail.push_back(h.brain.at(around + turn * (0.12f + reach * float(i) / 4), 1.0f));
    fill_line(h, tail, 0.007f, h.tissue.tumour);
  }
}

void draw_pituitary(Head& h) {
  float const radius = h.draws.uniform(0.065f, 0.100f) * h.pose.scale, waist = h.draws.uniform(-0.01f, 0.01f);
  float const stretch = std::sqrt(h.draws.uniform(1.0f, 1.35f));
  Blob const mass(h.at(kSella.x + waist, kSella.y), radius * stretch, radius / stretch, h.pose.angle, 0.04f, h.draws);
  fill(h, mass.scaled(1.1f), h.tissue.fluid, 0.003f);
  solid(h, mass, h.tissue.tumour);
  if (h.draws.chance(0.35f)) fill(h, mass.scaled(0.4f), h.tissue.necrosis, 0.01f);  // a cyst
}

/// Receive coil, gain and window, and noise. None knows the class: the gain brings the head's mean signal to a draw.
void scan(Head& h, uint8_t* out, const DrawKey& noise_key, int64_t id) {
  double sum = 0, pixels = 1e-6;
  h.canvas.inside(h.scalp, 0,
                  [&](float* pixel, float coverage, Point, float) { sum += pixel[0] * coverage, pixels += coverage; });
  float const gain = 0.42f * h.draws.spread(0.12f) / float(sum / pixels + 0.02), gamma = h.draws.uniform(0.9f, 1.2f),
              floor = h.draws.uniform(0.01f, 0.05f), noise = h.draws.uniform(2, 7);
  float const slope = h.draws.uniform(0, 0.4f);
  Point const coil = direction(h.draws.angle()) * slope;
  h.canvas.each([&](float* pixel, Point p) {
    float const signal = std::pow(std::max(pixel[0], 0.0f) * gain * (1 + dot(p - Point{0.5f, 0.5f}, coil)), gamma);
    // The window's shoulder: what is very bright stays brighter than what is bright.
    float const beyond = std::max(signal - 0.65f, 0.0f);
    pixel[0] = floor + std::min(signal, 0.65f) + 0.32f * (1 - std::exp(-beyond / 0.32f));
  });
  write_grey(h.canvas, noise, out, noise_key, id);
}

class BrainMri final : public Phantom {
 public:
  std::vector<std::string> class_names() const override { return {"glioma", "meningioma", "notumor", "pituitary"}; }
  int64_t channels() const override { return 1; }
  int64_t default_size() const override { return 64; }
  int64_t default_count() const override { return 2000; }

  void draw(uint8_t* pixels, int64_t size, int32_t label, int64_t id, const DrawKey& key) const override {
    Head h(size, key.with(Purpose::phantom, 0), id);
    bool const low = h.draws.chance(0.5f) || label == pituitary;
    head(h);
    if (low) {
      cistern(h);
    } else {
      ventricles(h);
    }
    switch (label) {
      case glioma:
        draw_glioma(h);
        break;
      case meningioma:
        draw_meningioma(h);
        break;
      case notumor:
        break;
      case pituitary:
        draw_pituitary(h);
        break;
      default:
        check(false, "mri: label ", label, " is not in [0, 4)");
    }
    scan(h, pixels, key.with(Purpose::phantom, 1), id);
  }
};

const PhantomRegistry::Add registration{
    Entry{"mri",
          "axial slices of the head in T1, T2 and FLAIR: glioma, meningioma, pituitary tumour, no tumour",
          "three tumours named after CE-MRI (Cheng 2017)",
          "x = floor + (gain * coil * signal)^gamma, signal by tissue and sequence",
          {}},
    {},
    [](const Spec&) { return std::make_unique<BrainMri>(); }};

}  // namespace
}  // namespace mith
