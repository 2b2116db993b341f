#include "attacks/usimba.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "attacks/draws.h"
#include "kernels/launch/table.h"

namespace mith {
namespace {

const Kernel<float*, const float*, const float*, const float*, float, float, int64_t, int64_t, int64_t, int64_t>
    universal_step{"universal_step"};

/// Wave k of n samples, of length 1.
std::vector<float> cosine_wave(int64_t k, int64_t n) {
  std::vector<float> wave;
  double const size = std::sqrt((k == 0 ? 1.0 : 2.0) / double(n));
  for (int64_t i = 0; i < n; ++i)
    wave.push_back(static_cast<float>(size * std::cos(std::numbers::pi * double((2 * i + 1) * k) / double(2 * n))));
  return wave;
}

std::vector<float> unit(int64_t k, int64_t n) {
  std::vector<float> v(static_cast<size_t>(n), 0.f);
  v[static_cast<size_t>(k)] = 1;
  return v;
}

/// Softmax probability of one class.
double probability(const float* z, int64_t classes, int32_t of) {
  double others = 0;
  for (int64_t c = 0; c < classes; ++c)
    if (c != of) others += std::exp(double(z[c]) - double(z[of]));
  return 1 / (1 + others);
}

}  // namespace

Direction cosine_direction(const Shape& image, int64_t index) {
  int64_t const c = image[2], frequency = index / c;
  return {.down = cosine_wave(frequency / image[1], image[0]),
          .across = cosine_wave(frequency % image[1], image[1]),
          .channel = index % c};
}

Direction pixel_direction(const Shape& image, int64_t index) {
  int64_t const c = image[2], pixel = index / c;
  return {.down = unit(pixel / image[1], image[0]), .across = unit(pixel % image[1], image[1]), .channel = index % c};
}

void USimba::Config::fields(Fields& f) {
  f.number("eps", eps, "radius of the ball of v, in pixel units; norm=l2 has no default", 0, 1e4);
  f.text("norm", norm, "of v", {"linf", "l2"});
  f.number("step", step, "length of a step along a direction", 0, 1e4);
  f.integer("steps", steps, "directions to try", 0, 1000000);
  f.text("basis", basis, "cosine waves, or single pixels", {"dct", "pixel"});
  f.integer("freq_dim", freq_dim, "lowest frequencies of each axis to begin with", 1, 65536);
  f.integer("stride", stride, "frequencies of each axis that follow when these are used up", 1, 65536);
  f.number("delta", delta, "finished when 1 - delta of the images are fooled", 0, 1);
  f.integer("target", target, "class to be mistaken for; -1: any other", -1, 1 << 30);
}

USimba::USimba(Config config) : c_(std::move(config)) {
  require(c_.norm == "l2" || c_.eps <= 1, "attack u-simba: eps=", c_.eps, " with norm=linf lies outside [0, 1]");
}

/// All directions, each once: the low frequencies first, in a drawn order, then ring after ring around them.
std::vector<int64_t> USimba::direction_order(const Shape& image, const AttackOptions& options, int64_t round) const {
  int64_t const h = image[0], w = image[1], c = image[2];
  DrawKey const key = draw_key(name(), options, Purpose::shuffle, static_cast<int>(round), 0);
  if (c_.basis == "pixel") return shuffled(h * w * c, key);
  std::vector<int64_t> order;
  uint16_t ring = 0;
  for (int64_t from = 0, to = c_.freq_dim; from < std::max(h, w); from = to, to += c_.stride, ++ring) {
    std::vector<int64_t> block;
    for (int64_t u = 0; u < std::min(h, to); ++u)
      for (int64_t v = u < from ? from : 0; v < std::min(w, to); ++v)
        for (int64_t k = 0; k < c; ++k) block.push_back((u * w + v) * c + k);
    DrawKey of_ring = key;
    of_ring.stream = static_cast<uint16_t>(key.stream + ring);
    for (int64_t p : shuffled(static_cast<int64_t>(block.size()), of_ring))
      order.push_back(block[static_cast<size_t>(p)]);
  }
  return order;
}

/// v + step * direction, projected.
Tensor USimba::moved(const Tensor& v, const Direction& d, float step) const {
  int64_t const h = v.dim(0), w = v.dim(1), c = v.dim(2);
  Tensor out = Tensor::empty_like(v);
  bool const linf = c_.norm == "linf";
  universal_step(v.stream(), out.data<float>(), v.data<float>(), Tensor::from(d.down, {h}).data<float>(),
                 Tensor::from(d.across, {w}).data<float>(), step,
                 linf ? c_.eps : std::numeric_limits<float>::infinity(), d.channel, h, w, c);
  return linf ? out : project_universal(out, c_.norm, c_.eps);
}

std::vector<USimba::Score> USimba::scores(const Crafting& c, Universal& u,
                                          const std::vector<Tensor>& candidates) const {
  constexpr int64_t images_a_pass = 64;
  int64_t const n = static_cast<int64_t>(c.positions.size()), k = c.model.classes();
  int64_t const at_a_time = at_once(c.options, std::min(images_a_pass, n));
  Passes const passes(c.model, at_a_time);
  std::vector<Score> all(candidates.size());
  for (int64_t first = 0; first < n; first += at_a_time) {
    auto const begin = c.positions.begin() + first;
    Batch const b = c.set.batch({begin, begin + std::min(at_a_time, n - first)}, false, {});
    auto const labels = b.y.to_host<int32_t>();
    for (size_t i = 0; i < candidates.size(); ++i) {
      Tensor const logits = passes.logits({add_universal(b.x, candidates[i]), b.y, b.ids});
      auto const z = logits.to_host<float>();
      for (size_t row = 0; row < labels.size(); ++row)
        all[i].probability += probability(z.data() + static_cast<int64_t>(row) * k, k,
                                          c_.target < 0 ? labels[row] : static_cast<int32_t>(c_.target));
      all[i].fooled += count_fooled(logits, labels, c_.target);
    }
  }
  u.queries += n * static_cast<int64_t>(candidates.size());
  return all;
}

void USimba::pass(const Crafting& c, Universal& u) const {
  Shape const image = u.values.shape();
  double const n = double(c.positions.size()), sign = c_.target < 0 ? -1 : 1;
  if (u.passes.empty() && u.steps == 0) {
    Score const before = scores(c, u, {u.values}).front();
    u.objective = sign * before.probability;
    u.fooled = before.fooled;
  }
  int64_t round = -1;
  std::vector<int64_t> order;
  auto const done = [&] { return double(u.fooled) >= (1 - double(c_.delta)) * n; };
  for (int i = 0; i < directions_a_pass && u.steps < c_.steps && !done(); ++i, ++u.steps) {
    if (round != u.steps / image.numel()) {
      round = u.steps / image.numel();
      order = direction_order(image, c.options, round);
    }
    int64_t const index = order[static_cast<size_t>(u.steps % image.numel())];
    Direction const d = c_.basis == "dct" ? cosine_direction(image, index) : pixel_direction(image, index);
    std::vector<Tensor> const candidates{moved(u.values, d, -c_.step), moved(u.values, d, c_.step)};
    auto const found = scores(c, u, candidates);
    size_t const better = sign * found[1].probability > sign * found[0].probability;
    if (!(sign * found[better].probability > u.objective)) continue;
    u.values = candidates[better];
    u.objective = sign * found[better].probability;
    u.fooled = found[better].fooled;
  }
  u.passes.push_back({.objective = u.objective / n, .fooled = double(u.fooled) / n});
  u.finished = u.steps >= c_.steps || done();
}

namespace {

const AttackRegistry::Add u_simba(
    {
        .name = "u-simba",
        .summary = "one perturbation for all images, by trying directions: scores are all it sees",
        .paper = "Koga & Takemoto, Simple black-box universal adversarial attacks on deep neural networks for medical "
                 "image classification, Algorithms 2022; after Guo et al., ICML 2019",
        .rule = "v = 0; for q in a drawn order of cosine waves, low frequencies first:\n"
                "  v' = the better of P(v - step q), P(v + step q) by sum_x p_y(clamp(x + v', 0, 1))\n"
                "  v <- v' if the sum decreases\n"
                "P: |v| <= eps in the norm;  x_adv = clamp(x + v, 0, 1)",
        .facts = {{"norm", "linf, l2"},
                  {"access", "universal"},
                  {"targeted", "yes"},
                  {"draws", "order of the directions"},
                  {"cost", "2 queries per crafting image and direction, no gradient"}},
    },
    default_fields<USimba::Config>(), [](const Spec& spec) -> std::unique_ptr<Attack> {
      auto config = configure<USimba::Config>(spec, "attack u-simba");
      bool const radius =
          std::any_of(spec.values.begin(), spec.values.end(), [](const auto& value) { return value.first == "eps"; });
      require(config.norm != "l2" || radius, "attack u-simba: norm=l2 needs an eps");
      return std::make_unique<USimba>(std::move(config));
    });

}  // namespace
}  // namespace mith
