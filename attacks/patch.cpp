#include "attacks/patch.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "attacks/draws.h"
#include "attacks/steps.h"
#include "kernels/launch/table.h"

namespace mith {
namespace {

const Kernel<float*, const float*, const float*, float, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t>
    patch_blend{"patch_blend"};
const Kernel<float*, const float*, float, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t>
    patch_blend_gradient{"patch_blend_gradient"};
const Kernel<float*, const float*, const float*, const float*, float, int64_t, int64_t, int64_t, int64_t, int64_t>
    patch_warp{"patch_warp"};
const Kernel<float*, const float*, const float*, float, int64_t, int64_t, int64_t, int64_t, int64_t>
    patch_warp_gradient{"patch_warp_gradient"};
const Kernel<float*, const float*, const float*, int64_t, int64_t, int64_t, int64_t> gaussian_smooth_axis{
    "gaussian_smooth_axis"};

Shape image_of(const Tensor& batch) { return {batch.dim(1), batch.dim(2), batch.dim(3)}; }

}  // namespace

void Patch::Config::fields(Fields& f) {
  f.integer("size", size, "side of the patch in pixels; at most the image's", 1, 65536);
  f.number("beta", beta, "share of the patch in its window, the rest being the image: bounds every change", 0, 1);
  f.number("rate", rate, "Adam's learning rate", 0, 1);
  f.integer("passes", passes, "passes over the crafting set", 0, 1000000);
  f.integer("batch", batch, "images of one step", 1, 65536);
  f.integer("row", row, "first row of the window; -1: in the middle", -1, 65536);
  f.integer("col", col, "first column of the window; -1: in the middle", -1, 65536);
  f.number("smooth_sigma", smooth_sigma, "deviation in pixels of the smoothing after every step; 0: none", 0, 100);
  f.integer("target", target, "class to be mistaken for; -1: any other", -1, 1 << 30);
}

Patch::Window Patch::window(const Shape& image) const {
  int64_t const size = std::min({c_.size, image[0], image[1]});
  Window const window{.row = c_.row < 0 ? (image[0] - size) / 2 : c_.row,
                      .col = c_.col < 0 ? (image[1] - size) / 2 : c_.col,
                      .size = size};
  require(window.row + size <= image[0] && window.col + size <= image[1], "attack patch: a patch of ", size, "x", size,
          " at row ", window.row, ", column ", window.col, " does not lie inside images of ", image[0], "x", image[1]);
  return window;
}

Tensor Patch::start(const Shape& image, const AttackOptions& options) const {
  int64_t const size = window(image).size;
  // The ball of radius 1/2 around grey: U(0, 1).
  Batch const grey{Tensor::full({1, size, size, image[2]}, 0.5), Tensor(), Tensor::from(std::vector<int64_t>{0}, {1})};
  DrawKey const key = draw_key(name(), options, Purpose::initialise, 0, 0);
  return uniform_in_linf_ball(grey, 0.5f, key).view({size, size, image[2]});
}

Tensor Patch::compose(const Tensor& patch, const Batch& b, const DrawKey&) const {
  Window const at = window(image_of(b.x));
  check(patch.shape() == Shape{at.size, at.size, b.x.dim(3)}, "attack patch: a patch ", patch.shape(), " for images ",
        b.x.shape());
  Tensor out = Tensor::empty_like(b.x);
  patch_blend(out.stream(), out.data<float>(), b.x.data<float>(), patch.data<float>(), c_.beta, at.row, at.col, at.size,
              b.x.dim(0), b.x.dim(1), b.x.dim(2), b.x.dim(3));
  return out;
}

Tensor Patch::gradient(const Tensor& patch, const Batch& b, const Outputs& out, const DrawKey&) const {
  Window const at = window(image_of(b.x));
  Tensor mean = Tensor::empty_like(patch);
  patch_blend_gradient(mean.stream(), mean.data<float>(), out.input_gradient.data<float>(), c_.beta, at.row, at.col,
                       at.size, b.x.dim(0), b.x.dim(1), b.x.dim(2), b.x.dim(3));
  return mean;
}

Tensor Patch::gaussian_smooth(const Tensor& patch, float sigma) {
  if (!(sigma > 0)) return patch;
  int64_t const radius = static_cast<int64_t>(std::ceil(3 * double(sigma))), size = patch.dim(0), c = patch.dim(2);
  std::vector<float> weights;
  double sum = 0;
  for (int64_t t = -radius; t <= radius; ++t) sum += std::exp(-0.5 * std::pow(double(t) / double(sigma), 2));
  for (int64_t t = -radius; t <= radius; ++t)
    weights.push_back(static_cast<float>(std::exp(-0.5 * std::pow(double(t) / double(sigma), 2)) / sum));
  Tensor const w = Tensor::from(weights, {2 * radius + 1});
  Tensor down = Tensor::empty_like(patch), both = Tensor::empty_like(patch);
  gaussian_smooth_axis(patch.stream(), down.data<float>(), patch.data<float>(), w.data<float>(), radius, 1, size,
                       size * c);
  gaussian_smooth_axis(patch.stream(), both.data<float>(), down.data<float>(), w.data<float>(), radius, size, size, c);
  return both;
}

void PatchEot::Config::fields(Fields& f) {
  f.integer("size", size, "side of the patch itself in pixels; 0: what its largest scale covers", 0, 65536);
  f.number("beta", beta, "opacity: 1 hides what is behind", 0, 1);
  f.number("rate", rate, "Adam's learning rate", 0, 1);
  f.integer("passes", passes, "passes over the crafting set", 0, 1000000);
  f.integer("batch", batch, "images of one step", 1, 65536);
  f.number("rotation", rotation, "turned by up to this many degrees, either way", 0, 180);
  f.number("scale_min", scale_min, "smallest diameter, a share of the image's shorter side", 1e-3, 1);
  f.number("scale_max", scale_max, "largest diameter, a share of the image's shorter side", 1e-3, 1);
  f.integer("target", target, "class to be mistaken for; -1: any other", -1, 1 << 30);
}

PatchEot::PatchEot(const Config& config) : c_(config) {
  require(c_.scale_min <= c_.scale_max, "attack patch-eot: scale_min=", c_.scale_min,
          " is above scale_max=", c_.scale_max);
}

Tensor PatchEot::start(const Shape& image, const AttackOptions&) const {
  double const widest = double(c_.scale_max) * double(std::min(image[0], image[1]));
  int64_t const size = c_.size > 0 ? c_.size : std::max(int64_t{1}, static_cast<int64_t>(std::ceil(widest)));
  return Tensor::full({size, size, image[2]}, 0.5);
}

/// Four draws an image: angle, scale, and the centre's place.
Tensor PatchEot::poses(const Batch& b, const DrawKey& key) const {
  float const h = static_cast<float>(b.x.dim(1)), w = static_cast<float>(b.x.dim(2));
  std::vector<float> all;
  for (int64_t id : b.ids.to_host<int64_t>()) {
    auto const draw = [&](uint64_t element, float low, float high) {
      return low + (high - low) * uniform(key, static_cast<uint64_t>(id), element);
    };
    float const angle = draw(0, -c_.rotation, c_.rotation) * std::numbers::pi_v<float> / 180;
    float const side = draw(1, c_.scale_min, c_.scale_max) * std::min(h, w), half = side / 2;
    all.insert(all.end(), {draw(2, half, w - half), draw(3, half, h - half), side, std::cos(angle), std::sin(angle)});
  }
  return Tensor::from(all, {b.size(), 5});
}

Tensor PatchEot::compose(const Tensor& patch, const Batch& b, const DrawKey& key) const {
  check(patch.dim(2) == b.x.dim(3), "attack patch-eot: a patch ", patch.shape(), " for images ", b.x.shape());
  Tensor const at = poses(b, key);
  Tensor out = Tensor::empty_like(b.x);
  patch_warp(out.stream(), out.data<float>(), b.x.data<float>(), patch.data<float>(), at.data<float>(), c_.beta,
             patch.dim(0), b.x.dim(0), b.x.dim(1), b.x.dim(2), b.x.dim(3));
  return out;
}

Tensor PatchEot::gradient(const Tensor& patch, const Batch& b, const Outputs& out, const DrawKey& key) const {
  Tensor const at = poses(b, key);
  Tensor mean = Tensor::empty_like(patch);
  patch_warp_gradient(mean.stream(), mean.data<float>(), out.input_gradient.data<float>(), at.data<float>(), c_.beta,
                      patch.dim(0), b.x.dim(0), b.x.dim(1), b.x.dim(2), b.x.dim(3));
  return mean;
}

double PatchEot::success_at_scale(Classifier& model, const Universal& u, const BatchSource& set,
                                  const AttackOptions& options, float scale) const {
  Config at_scale = c_;
  at_scale.scale_min = at_scale.scale_max = scale;
  PatchEot const fixed(at_scale);
  constexpr int64_t images_a_pass = 64;
  int64_t const at_a_time = at_once(options, std::min(images_a_pass, set.size()));
  AttackOptions evaluation = options;
  evaluation.evaluation = true;
  evaluation.batch = at_a_time;
  int64_t right = 0, fooled = 0;
  for (int64_t first = 0; first < set.size(); first += at_a_time) {
    std::vector<int64_t> positions;
    for (int64_t p = first; p < std::min(first + at_a_time, set.size()); ++p) positions.push_back(p);
    Batch const b = set.batch(positions, false, {});
    auto const result = fixed.attack(model, u, b, evaluation);
    for (size_t i = 0; i < positions.size(); ++i) {
      right += result.clean_correct[i] && set.labels()[static_cast<size_t>(positions[i])] != c_.target;
      fooled += result.success[i];
    }
  }
  return right ? double(fooled) / double(right) : 0;
}

namespace {

const AttackRegistry::Add patch(
    {
        .name = "patch",
        .summary = "one faint patch at a fixed place of every image, by Adam on a crafting set",
        .paper = "after Brown et al., Adversarial patch, 2017, blended at a fixed place",
        .rule = "P ~ U(0, 1); x_adv = (1 - beta M) x + beta M P,  M: a square window\n"
                "for each batch B of each pass:\n"
                "  P <- G * clamp(P + Adam(grad_P mean_B CE(f(x_adv), y)), 0, 1),  G: a Gaussian",
        .facts = {{"norm", "region"},
                  {"access", "universal"},
                  {"targeted", "yes"},
                  {"draws", "start, order of the set"},
                  {"cost", "1 gradient per crafting image and pass"}},
    },
    default_fields<Patch::Config>(), [](const Spec& spec) -> std::unique_ptr<Attack> {
      return std::make_unique<Patch>(configure<Patch::Config>(spec, "attack patch"));
    });

const AttackRegistry::Add patch_eot(
    {
        .name = "patch-eot",
        .summary = "one round patch, turned, scaled and moved anew for every image",
        .paper = "Brown et al., Adversarial patch, 2017, eq. (1); poses as an expectation: Athalye et al., ICML 2018",
        .rule = "P = 1/2; T: turned by U(-rotation, rotation), scaled by U(scale_min, scale_max), moved inside x\n"
                "x_adv = (1 - beta m) x + beta m T(P),  m = 1 - min((u^2 + v^2)^40, 1) across the patch\n"
                "for each batch B of each pass:  P <- clamp(P + Adam(grad_P mean_B CE(f(x_adv), y)), 0, 1)",
        .facts = {{"norm", "region"},
                  {"access", "universal"},
                  {"targeted", "yes"},
                  {"draws", "poses, order of the set"},
                  {"cost", "1 gradient per crafting image and pass"}},
    },
    default_fields<PatchEot::Config>(), [](const Spec& spec) -> std::unique_ptr<Attack> {
      return std::make_unique<PatchEot>(configure<PatchEot::Config>(spec, "attack patch-eot"));
    });

}  // namespace
}  // namespace mith
