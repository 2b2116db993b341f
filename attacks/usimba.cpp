#include "attacks/usimba.h"

#include <algorithm>
#include <cmath>

#include "attacks/draws.h"

namespace mith {
namespace {

/// Softmax probability of one class.
double probability(const float* z, int64_t classes, int32_t of) {
  double others = 0;
  for (int64_t c = 0; c < classes; ++c)
    if (c != of) others += std::exp(double(z[c]) - double(z[of]));
  return 1 / (1 + others);
}

}  // namespace

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

/// All directions, each once: the low frequencies first, then square after square around them.
DirectionOrder USimba::direction_order(const Shape& image, const AttackOptions& options, int64_t round) const {
  DrawKey const key = draw_key(name(), options, Purpose::shuffle, static_cast<int>(round), 0);
  if (c_.basis == "pixel") return {image, std::max(image[0], image[1]), 0, key, 0};
  return {image, c_.freq_dim, c_.stride, key, 0};
}

/// v + step * direction, projected.
Tensor USimba::moved(const Tensor& v, const Directions& directions, const Direction& d, float step) const {
  Tensor const out = v.clone();
  Tensor state = out.view({1, v.dim(0), v.dim(1), v.dim(2)});
  directions.move(state, {{.taken = directions.step(d, step), .tried = {}}});
  return project_universal(out, c_.norm, c_.eps);
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
  Directions const directions(c_.basis == "dct" ? Basis::dct : Basis::pixel, image, u.values.device());
  // The order goes on where the last pass left it, and is drawn anew when it is used up.
  DirectionOrder order = direction_order(image, c.options, u.steps / image.numel());
  for (int64_t used = u.steps % image.numel(); used > 0; --used) order.next();
  auto const done = [&] { return double(u.fooled) >= (1 - double(c_.delta)) * n; };
  for (int i = 0; i < directions_a_pass && u.steps < c_.steps && !done(); ++i, ++u.steps) {
    if (order.exhausted()) order = direction_order(image, c.options, u.steps / image.numel());
    Direction const d = order.next();
    std::vector<Tensor> const candidates{moved(u.values, directions, d, -c_.step),
                                         moved(u.values, directions, d, c_.step)};
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
      return std::make_unique<USimba>(configure<USimba::Config>(spec, "attack u-simba"));
    });

}  // namespace
}  // namespace mith
