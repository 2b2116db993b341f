// The kernels of APGD between guard bands, against the same moves in plain double loops.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "kernels/launch/table.h"
#include "tests/guarded.h"

using namespace mith;

namespace {

using Pixels = std::vector<float>;
using Ids = std::vector<int64_t>;
using Move = Kernel<float*, float*, const float*, const float*, const float*, float, float, int64_t*, int64_t, int64_t>;

const Move linf_move{"apgd_linf_step"}, l2_move{"apgd_l2_step"};
const Kernel<float*, const float*, const int64_t*, DrawKey, float, int64_t, int64_t> sphere_start{"linf_sphere_start"};

const Stream& stream() { return stream_of(default_device()); }
float const not_a_number = std::nanf("");

/// What a move reads, image by image, and the size of one.
struct State {
  Pixels adv, old, x, gradient, step;
  size_t per_image() const { return adv.size() / step.size(); }
};
struct Moved {
  Pixels adv, old;
  int64_t nan_count;
};

Moved move(const Move& kernel, const State& s, float share, float eps) {
  GuardedValues const adv(s.adv), old(s.old), x(s.x), g(s.gradient), step(s.step);
  Tensor const count = Tensor::zeros({1}, DType::i64);
  kernel(stream(), adv.data(), old.data(), x.data(), g.data(), step.data(), share, eps, count.data<int64_t>(),
         int64_t(s.step.size()), int64_t(s.per_image()));
  CHECK(x.read() == s.x);
  return {adv.read(), old.read(), count.to_host<int64_t>()[0]};
}

double limited(double v, double low, double high) { return std::min(std::max(v, low), high); }

/// One image's move with a projection of whole images.
template <class Direction, class Project>
std::vector<double> reference(const State& s, size_t image, float share, Direction direction, Project project) {
  size_t const d = s.per_image(), first = image * d;
  std::vector<double> const along = direction(first, d);
  std::vector<double> u, next;
  for (size_t i = 0; i < d; ++i) u.push_back(s.adv[first + i] + double(s.step[image]) * along[i]);
  u = project(first, u);
  for (size_t i = 0; i < d; ++i) {
    double const z = s.adv[first + i];
    next.push_back(z + double(share) * (u[i] - z) + (1 - double(share)) * (z - s.old[first + i]));
  }
  return project(first, next);
}

/// Three images with iterates inside the ball of radius eps around x.
State draw_state(size_t d, float reach) {
  State s;
  s.x = uniform_values(3 * d, 1);
  s.gradient = uniform_values(3 * d, 2, -1, 1);
  for (Pixels* p : {&s.adv, &s.old}) {
    Pixels const noise = uniform_values(3 * d, p == &s.adv ? 3 : 4, -reach, reach);
    for (size_t i = 0; i < 3 * d; ++i) p->push_back(std::clamp(s.x[i] + noise[i], 0.0f, 1.0f));
  }
  s.step = {0.1f, 0.02f, 0.005f};
  return s;
}

}  // namespace

TEST_CASE("apgd_linf_step: each image's own step, momentum and both projections") {
  for (size_t d : {1, 37, 1000}) {
    float const eps = 0.05f;
    State s = draw_state(d, eps);
    s.gradient[0] = 0;
    for (float share : {1.0f, 0.75f}) {
      Moved const m = move(linf_move, s, share, eps);
      CHECK(m.old == s.adv);
      CHECK(m.nan_count == 0);
      double worst = 0;
      for (size_t image = 0; image < 3; ++image) {
        auto const expected = reference(
            s, image, share,
            [&](size_t first, size_t n) {
              std::vector<double> sign;
              for (size_t i = first; i < first + n; ++i) sign.push_back((s.gradient[i] > 0) - (s.gradient[i] < 0));
              return sign;
            },
            [&](size_t first, std::vector<double> v) {
              for (size_t i = 0; i < v.size(); ++i)
                v[i] = limited(limited(v[i], double(s.x[first + i]) - eps, double(s.x[first + i]) + eps), 0, 1);
              return v;
            });
        for (size_t i = 0; i < d; ++i) worst = std::max(worst, std::abs(m.adv[image * d + i] - expected[i]));
      }
      CHECK(worst <= 3e-7);  // a handful of roundings below 1
    }
  }
}

TEST_CASE("apgd_linf_step: a NaN gradient leaves the momentum alone and is counted, a NaN pixel stays NaN") {
  State const s{{0.5f, not_a_number, 0.5f}, {0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}, {not_a_number, 1, -0.0f}, {0.1f}};
  Moved const m = move(linf_move, s, 0.75f, 0.2f);
  CHECK(m.adv[0] == 0.5f);
  CHECK(std::isnan(m.adv[1]));
  CHECK(m.adv[2] == 0.5f);
  CHECK(m.nan_count == 1);
}

TEST_CASE("apgd_l2_step: along the gradient, whatever its size, with momentum and both projections") {
  for (size_t d : {1, 37, 1000}) {
    float const eps = 0.3f;
    State s = draw_state(d, 0.2f / std::sqrt(float(d)));
    s.step = {0.6f, 0.1f, 0.02f};
    for (size_t i = 0; i < d; ++i) s.gradient[d + i] *= 1e-30f;
    for (float share : {1.0f, 0.75f}) {
      Moved const m = move(l2_move, s, share, eps);
      CHECK(m.old == s.adv);
      CHECK(m.nan_count == 0);
      double worst = 0;
      for (size_t image = 0; image < 3; ++image) {
        auto const expected = reference(
            s, image, share,
            [&](size_t first, size_t n) {
              double sum = 0;
              for (size_t i = first; i < first + n; ++i) sum += double(s.gradient[i]) * double(s.gradient[i]);
              std::vector<double> unit;
              for (size_t i = first; i < first + n; ++i) unit.push_back(s.gradient[i] / std::sqrt(sum));
              return unit;
            },
            [&](size_t first, std::vector<double> v) {
              double sum = 0;
              for (size_t i = 0; i < v.size(); ++i) sum += std::pow(v[i] - double(s.x[first + i]), 2);
              double const shrink = std::min(1.0, eps / std::max(std::sqrt(sum), 1e-300));
              for (size_t i = 0; i < v.size(); ++i) {
                double const x = s.x[first + i];
                v[i] = limited(x + shrink * (v[i] - x), 0, 1);
              }
              return v;
            });
        for (size_t i = 0; i < d; ++i) worst = std::max(worst, std::abs(m.adv[image * d + i] - expected[i]));
      }
      CHECK(worst <= 3e-7);
    }
  }
}

TEST_CASE("apgd_l2_step: without a gradient the momentum alone moves; what is not finite counts as zero") {
  State const flat{{0.5f, 0.6f}, {0.5f, 0.5f}, {0.5f, 0.5f}, {0, 0}, {0.1f}};
  Moved const still = move(l2_move, flat, 0.75f, 1);
  CHECK(std::abs(still.adv[0] - 0.5f) <= 1e-7f);
  CHECK(std::abs(still.adv[1] - 0.625f) <= 1e-7f);  // a quarter of the last move
  float const infinity = std::numeric_limits<float>::infinity();
  State const spoilt{{0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}, {not_a_number, -infinity, -2}, {0.1f}};
  Moved const m = move(l2_move, spoilt, 1, 1);
  CHECK(m.nan_count == 2);
  CHECK(m.adv[0] == 0.5f);
  CHECK(m.adv[1] == 0.5f);
  CHECK(std::abs(m.adv[2] - 0.4f) <= 1e-7f);
}

TEST_CASE("apgd moves: nothing moves in a ball without radius") {
  State s = draw_state(50, 0);
  for (const Move* kernel : {&linf_move, &l2_move}) CHECK(move(*kernel, s, 0.75f, 0).adv == s.x);
}

TEST_CASE("linf_sphere_start: some pixel moves by eps, none by more, keyed by image") {
  size_t const d = 301;
  auto const start = [&](const Pixels& x, const Ids& ids, float eps) {
    GuardedValues const out(Pixels(x.size(), not_a_number)), origin(x);
    Tensor const id = Tensor::from(ids, {int64_t(ids.size())});
    sphere_start(stream(), out.data(), origin.data(), id.data<int64_t>(),
                 DrawKey{.seed = 8, .purpose = Purpose::attack_start}, eps, int64_t(ids.size()),
                 int64_t(x.size() / ids.size()));
    return out.read();
  };
  Pixels const x(3 * d, 0.5f), adv = start(x, {7, 1, 4}, 0.25f);
  for (size_t image = 0; image < 3; ++image) {
    double largest = 0, sum = 0;
    for (size_t i = image * d; i < (image + 1) * d; ++i) {
      largest = std::max(largest, std::abs(double(adv[i]) - 0.5));
      sum += (double(adv[i]) - 0.5) / 0.25;
    }
    CHECK(std::abs(largest - 0.25) <= 6e-8);   // a rounding below 1
    CHECK(std::abs(sum / double(d)) <= 0.17);  // five standard errors of a uniform on [-1, 1]
  }
  CHECK(start(Pixels(d, 0.5f), {1}, 0.25f) == Pixels(adv.begin() + long(d), adv.begin() + long(2 * d)));
  for (float v : start({0, 1, 0, 1, 1, 0}, {1, 2}, 1)) CHECK((v >= 0 && v <= 1));
}
