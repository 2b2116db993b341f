#include "attacks/quantize.h"

#include <algorithm>
#include <cmath>

namespace mith {
namespace {

constexpr double slack = 1e-4;  // levels: what rounding in float may add to a pixel or to the radius

/// The level nearest to `wanted` among the whole numbers of [low, high] and [0, 255]; with none, the nearest to
/// `fallback`.
uint8_t nearest_level(double wanted, double low, double high, double fallback) {
  double const first = std::max(0.0, std::ceil(low - slack)), last = std::min(255.0, std::floor(high + slack));
  double const level = first <= last ? std::clamp(std::nearbyint(wanted), first, last) : std::nearbyint(fallback);
  return static_cast<uint8_t>(std::clamp(level, 0.0, 255.0));
}

}  // namespace

Tensor quantize_in_ball(const Tensor& adv, const Tensor& x, float eps, const std::string& norm) {
  check(adv.shape() == x.shape(), "quantize_in_ball: images ", adv.shape(), " with ", x.shape());
  auto const a = adv.to_host<float>(), clean = x.to_host<float>();
  bool const ball = norm == "linf" && eps >= 0;
  std::vector<uint8_t> levels(a.size());
  for (size_t i = 0; i < a.size(); ++i) {
    double const wanted = 255.0 * double(a[i]), from = 255.0 * double(clean[i]), radius = 255.0 * double(eps);
    levels[i] = ball ? nearest_level(wanted, from - radius, from + radius, from)
                     : nearest_level(wanted, std::min(wanted, from), std::max(wanted, from), from);
  }
  return Tensor::from(levels, x.shape(), Device::cpu);
}

}  // namespace mith
