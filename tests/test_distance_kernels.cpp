// The kernels of minimum-norm attacks between guard bands, against plain double arithmetic.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/tensor/tensor.h"
#include "kernels/launch/table.h"
#include "kernels/row/lbfgs.h"
#include "tests/guarded.h"

using namespace mith;

namespace {

using Values = std::vector<float>;
using Doubles = std::vector<double>;

using GradientNorm = Kernel<float*, const float*, int64_t*, int64_t, int64_t>;
const GradientNorm gradient_norm_linf{"gradient_norm_linf"}, gradient_norm_l2{"gradient_norm_l2"},
    gradient_norm_l1{"gradient_norm_l1"};
const Kernel<float*, const float*, const float*, int64_t, int64_t> l1_distance{"l1_distance"};
const Kernel<float*, float*, const float*, int64_t, int64_t> cw_tanh_start{"cw_tanh_start"};
const Kernel<float*, float*, float*, float*, const float*, const float*, const float*, double, int64_t, int64_t*,
             int64_t, int64_t>
    cw_tanh_step{"cw_tanh_step"};
const Kernel<float*, float*, float*, const float*, const float*, const float*, double, int64_t, int64_t*, int64_t,
             int64_t>
    cw_clip_step{"cw_clip_step"};
using DeepFoolStep =
    Kernel<float*, float*, const float*, const float*, const int64_t*, const float*, float, int64_t, int64_t>;
const DeepFoolStep deepfool_step_l2{"deepfool_step_l2"}, deepfool_step_linf{"deepfool_step_linf"};
const Kernel<float*, const float*, const float*, int64_t, int64_t> shrink_distance{"shrink_distance"};
using Projection =
    Kernel<float*, const float*, const float*, const int64_t*, const float*, float, float, int64_t, int64_t>;
const Projection fab_projection_linf{"fab_projection_linf"}, fab_projection_l2{"fab_projection_l2"},
    fab_projection_l1{"fab_projection_l1"};
const Kernel<float*, float*, float*, float*, float*, int32_t*, const float*, const float*, const float*, const float*,
             const uint8_t*, int64_t*, int64_t, int64_t>
    lbfgs_direction{"lbfgs_direction"};
const Kernel<float*, double*, const float*, const float*, const float*, const float*, const float*, int64_t, int64_t>
    lbfgs_trial{"lbfgs_trial"};

const Stream& stream() { return stream_of(default_device()); }
float const not_a_number = std::nanf("");
float const infinity = std::numeric_limits<float>::infinity();

Tensor counter() { return Tensor::zeros({1}, DType::i64); }
int64_t counted(const Tensor& t) { return t.to_host<int64_t>()[0]; }

/// 0: L-infinity, 1: L1, 2: L2.
double norm(int p, const Doubles& v) {
  double most = 0, sum = 0, squares = 0;
  for (double d : v) {
    most = std::max(most, std::abs(d));
    sum += std::abs(d);
    squares += d * d;
  }
  return p == 0 ? most : (p == 1 ? sum : std::sqrt(squares));
}
Doubles difference(const Values& a, const Values& b) {
  Doubles d;
  for (size_t i = 0; i < a.size(); ++i) d.push_back(double(a[i]) - double(b[i]));
  return d;
}
Doubles doubles(const Values& v) { return {v.begin(), v.end()}; }
Values image(const Values& batch, size_t index, size_t n) {
  return {batch.begin() + long(index * n), batch.begin() + long((index + 1) * n)};
}
double worst_gap(const Values& a, const Doubles& b) {
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    double const gap = std::abs(double(a[i]) - b[i]);
    if (!(gap <= worst)) worst = gap;
  }
  return worst;
}

}  // namespace

TEST_CASE("gradient norms: of every image, of any size of numbers, over what is finite") {
  for (size_t n : {size_t(1), size_t(7), size_t(2003)}) {
    for (float size : {1.0f, 1e-30f, 1e25f}) {
      Values g = uniform_values(3 * n, 3, -size, size);
      Values const whole = g;
      if (n > 7) g[n + 3] = not_a_number, g[2 * n - 1] = -infinity;
      int p = 0;
      for (const GradientNorm* kernel : {&gradient_norm_linf, &gradient_norm_l1, &gradient_norm_l2}) {
        GuardedValues const out(Values(3, not_a_number)), gradient(g);
        Tensor const bad = counter();
        (*kernel)(stream(), out.data(), gradient.data(), bad.data<int64_t>(), 3, int64_t(n));
        Values const norms = out.read();
        for (size_t i = 0; i < 3; ++i) {
          Values own = image(g, i, n);
          for (float& v : own)
            if (!std::isfinite(v)) v = 0;
          double const wanted = norm(p, doubles(own));
          CHECK(std::abs(norms[i] - wanted) <= 1e-7 * wanted);  // one rounding
        }
        CHECK(counted(bad) == (n > 7 ? 2 : 0));
        ++p;
      }
    }
  }
}

TEST_CASE("l1_distance of every image; NaN stays NaN") {
  size_t const n = 1501;
  Values a = uniform_values(3 * n, 1);
  Values const b = uniform_values(3 * n, 2);
  a[n] = not_a_number;
  GuardedValues const out(Values(3, 0)), left(a), right(b);
  l1_distance(stream(), out.data(), left.data(), right.data(), 3, int64_t(n));
  Values const d = out.read();
  CHECK(std::isnan(d[1]));
  for (size_t i : {size_t(0), size_t(2)}) {
    double const wanted = norm(1, difference(image(a, i, n), image(b, i, n)));
    CHECK(std::abs(d[i] - wanted) <= 1e-6 * wanted);  // each difference is rounded to f32
  }
}

TEST_CASE("cw_tanh_start: the image itself, and finite at black and white pixels") {
  Values x = uniform_values(1000, 4);
  x[0] = 0, x[999] = 1, x[5] = 1e-8f;
  GuardedValues const w(Values(1000, not_a_number)), adv(Values(1000, not_a_number)), origin(x);
  cw_tanh_start(stream(), w.data(), adv.data(), origin.data(), 4, 250);
  Values const at = w.read(), image = adv.read();
  for (size_t i = 0; i < 1000; ++i) {
    double const inside = 0.999999 * (2 * double(x[i]) - 1);
    CHECK(std::abs(at[i] - std::atanh(inside)) <= 1e-6 * (1 + std::abs(at[i])));
    CHECK(std::abs(image[i] - (inside + 1) / 2) <= 1e-6);
    CHECK((image[i] >= 0 && image[i] <= 1));
  }
}

namespace {

/// Adam in double, as Kingma & Ba write it.
struct Moments {
  double m = 0, v = 0;
  double step(double g, int t) {
    m = 0.9 * m + 0.1 * g;
    v = 0.999 * v + 0.001 * g * g;
    return 0.01 * (m / (1 - std::pow(0.9, t))) / (std::sqrt(v / (1 - std::pow(0.999, t))) + 1e-8);
  }
};

}  // namespace

TEST_CASE("C&W's steps: Adam on the distance and the weighted margin, in both boxes") {
  size_t const images = 3, n = 101, all = images * n;
  Values const x = uniform_values(all, 5, 0.05f, 0.95f), weight{0, 0.7f, 20};
  Values g = uniform_values(all, 6, -1, 1);
  g[n + 4] = not_a_number, g[2 * n] = infinity;
  for (bool tanh_box : {true, false}) {
    CAPTURE(tanh_box);
    Values start(all);
    for (size_t i = 0; i < all; ++i) start[i] = 0.25f * x[i] + 0.375f;  // not where the distance is 0
    Values place = start;
    if (tanh_box)
      for (size_t i = 0; i < all; ++i) place[i] = static_cast<float>(std::atanh(2 * double(start[i]) - 1));
    GuardedValues const w(place), m(Values(all, 0)), v(Values(all, 0)), adv(start), origin(x), gradient(g), c(weight);
    Tensor const bad = counter();
    std::vector<Moments> moments(all);
    Doubles at(place.begin(), place.end()), pixel(start.begin(), start.end());
    for (int t = 1; t <= 5; ++t) {
      if (tanh_box)
        cw_tanh_step(stream(), w.data(), m.data(), v.data(), adv.data(), origin.data(), gradient.data(), c.data(), 0.01,
                     t, bad.data<int64_t>(), int64_t(images), int64_t(n));
      else
        cw_clip_step(stream(), m.data(), v.data(), adv.data(), origin.data(), gradient.data(), c.data(), 0.01, t,
                     bad.data<int64_t>(), int64_t(images), int64_t(n));
      for (size_t i = 0; i < all; ++i) {
        double const margin = std::isfinite(g[i]) ? double(g[i]) : 0;
        double const slope = 2 * (pixel[i] - double(x[i])) - double(weight[i / n]) * margin;
        if (tanh_box) {
          double const tanh = std::tanh(at[i]);
          at[i] -= moments[i].step(slope * (1 - tanh * tanh) / 2, t);
          pixel[i] = (std::tanh(at[i]) + 1) / 2;
        } else {
          pixel[i] = std::clamp(pixel[i] - moments[i].step(slope, t), 0.0, 1.0);
        }
      }
    }
    CHECK(worst_gap(adv.read(), pixel) <= 2e-5);  // where the slope nearly cancels, f32 has few digits of it
    CHECK(counted(bad) == 5 * 2);
  }
}

TEST_CASE("C&W's tanh step survives any w") {
  Values const x{0, 1, 0.5f, 0}, place{-300, 300, 60, 45};
  GuardedValues const w(place), m(Values(4, 0)), v(Values(4, 0)), adv({0, 1, 1, 1}), origin(x),
      gradient({1, -1, 1, 1e10f}), c({1e10f});
  Tensor const bad = counter();
  cw_tanh_step(stream(), w.data(), m.data(), v.data(), adv.data(), origin.data(), gradient.data(), c.data(), 0.01, 1,
               bad.data<int64_t>(), 1, 4);
  for (float p : adv.read()) CHECK((p >= 0 && p <= 1));
  for (float p : w.read()) CHECK(std::isfinite(p));
}

TEST_CASE("deepfool steps: the sum along the chosen gradient, overshot and clipped") {
  size_t const images = 3, n = 77, all = images * n;
  Values const x = uniform_values(all, 7), before = uniform_values(all, 8, -0.05f, 0.05f), factor{0.03f, -0.2f, 0};
  Values g = uniform_values(4 * n, 9, -1, 1);
  g[3 * n + 5] = not_a_number;
  std::vector<int64_t> const chosen{3, 0, 2};
  Tensor const rows = Tensor::from(chosen, {3});
  for (bool linf : {false, true}) {
    GuardedValues const total(before), adv(Values(all, not_a_number)), origin(x), gradients(g), f(factor);
    (linf ? deepfool_step_linf : deepfool_step_l2)(stream(), total.data(), adv.data(), origin.data(), gradients.data(),
                                                   rows.data<int64_t>(), f.data(), 0.02f, 3, int64_t(n));
    Doubles sum, moved;
    for (size_t i = 0; i < all; ++i) {
      double w = double(g[size_t(chosen[i / n]) * n + i % n]);
      if (std::isnan(w)) w = 0;
      sum.push_back(double(before[i]) + double(factor[i / n]) * (linf ? (w > 0) - (w < 0) : w));
      moved.push_back(std::clamp(double(x[i]) + 1.02 * sum.back(), 0.0, 1.0));
    }
    CHECK(worst_gap(total.read(), sum) <= 1e-7);
    CHECK(worst_gap(adv.read(), moved) <= 2e-7);
  }
}

TEST_CASE("shrink_distance: by each image's share, and not at all by 1") {
  Values const x = uniform_values(30, 10), start = uniform_values(30, 11);
  GuardedValues const adv(start), origin(x), share({1, 0.9f, 0});
  shrink_distance(stream(), adv.data(), origin.data(), share.data(), 3, 10);
  Values const moved = adv.read();
  CHECK(image(moved, 0, 10) == image(start, 0, 10));
  for (size_t i = 10; i < 20; ++i)
    CHECK(std::abs(moved[i] - (double(x[i]) + 0.9 * (double(start[i]) - double(x[i])))) <= 1e-7);
  CHECK(image(moved, 2, 10) == image(x, 2, 10));
}

namespace {

struct Problem {
  Values x, w;
  float gap;  ///< <w, x> - b
};

/// The projection alone: from one point on both sides, without extrapolation, every mixture of the two is it.
Values project(const Projection& kernel, const std::vector<Problem>& problems) {
  Values x, w, gap;
  std::vector<int64_t> chosen;
  for (Problem const& p : problems) {
    x.insert(x.end(), p.x.begin(), p.x.end());
    w.insert(w.end(), p.w.begin(), p.w.end());
    gap.push_back(p.gap);
    chosen.push_back(int64_t(chosen.size()));
  }
  GuardedValues const x1(x), x0(x), gradients(w), gaps(gap);
  int64_t const n = int64_t(problems.size());
  Tensor const rows = Tensor::from(chosen, {n});
  kernel(stream(), x1.data(), x0.data(), gradients.data(), rows.data<int64_t>(), gaps.data(), 1.0f, 0.1f, n,
         int64_t(problems[0].x.size()));
  return x1.read();
}

double missed(const Problem& p, const Values& v) {
  double reached = double(p.gap);
  for (size_t i = 0; i < v.size(); ++i) reached += double(p.w[i]) * (double(v[i]) - double(p.x[i]));
  return std::abs(reached);
}

const Projection* const projections[] = {&fab_projection_linf, &fab_projection_l1, &fab_projection_l2};

/// The least norm of a move to the hyperplane in the unit cube, on a grid of its points: never below the true one.
double least_on_grid(int p, const Problem& problem) {
  int const cells = 60;
  double least = std::numeric_limits<double>::infinity();
  for (size_t last = 0; last < 3; ++last) {  // the coordinate that follows from the two others
    size_t const a = (last + 1) % 3, b = (last + 2) % 3;
    if (problem.w[last] == 0) continue;
    for (int i = 0; i <= cells; ++i)
      for (int j = 0; j <= cells; ++j) {
        Doubles move(3);
        move[a] = double(i) / cells - double(problem.x[a]);
        move[b] = double(j) / cells - double(problem.x[b]);
        move[last] = -(double(problem.gap) + move[a] * double(problem.w[a]) + move[b] * double(problem.w[b])) /
                     double(problem.w[last]);
        double const end = move[last] + double(problem.x[last]);
        if (end >= 0 && end <= 1) least = std::min(least, norm(p, move));
      }
  }
  return least;
}

}  // namespace

TEST_CASE("FAB's projections: worked examples") {
  auto const near = [](const Values& v, Doubles const& wanted) { CHECK(worst_gap(v, wanted) <= 1e-6); };
  Problem const clipped{{0.9f, 0.5f}, {1, 1}, -0.4f}, out_of_reach{{0.9f, 0.5f}, {1, 1}, -0.8f};
  Problem const inside{{0.5f, 0.5f}, {3, 4}, -1}, beyond{{0.5f, 0.5f}, {3, 4}, 1};
  for (const Projection* kernel : {&fab_projection_linf, &fab_projection_l2})
    near(project(*kernel, {clipped}), {1, 0.8});
  for (const Projection* kernel : projections) near(project(*kernel, {out_of_reach}), {1, 1});
  near(project(fab_projection_l2, {inside, beyond}), {0.62, 0.66, 0.38, 0.34});
  near(project(fab_projection_linf, {inside, beyond}), {0.5 + 1 / 7.0, 0.5 + 1 / 7.0, 0.5 - 1 / 7.0, 0.5 - 1 / 7.0});
  near(project(fab_projection_l1, {inside, beyond}), {0.5, 0.75, 0.5, 0.25});
  // Equal weights share what is left: any share is as near.
  Values const shared = project(fab_projection_l1, {clipped});
  CHECK(std::abs(norm(1, difference(shared, clipped.x)) - 0.4) <= 1e-6);
  CHECK(missed(clipped, shared) <= 1e-6);
}

TEST_CASE("FAB's projections: feasible, and no grid point in three dimensions is nearer") {
  std::vector<Problem> problems;
  for (uint64_t i = 0; i < 12; ++i) {
    Values const x = uniform_values(3, 100 + i), w = uniform_values(3, 200 + i, -1, 1), u = uniform_values(1, 300 + i);
    double low = 0, high = 0;  // what <w, v - x> can be in the cube
    for (size_t j = 0; j < 3; ++j) {
      double const down = -double(w[j]) * double(x[j]), up = double(w[j]) * (1 - double(x[j]));
      low += std::min(down, up);
      high += std::max(down, up);
    }
    problems.push_back({x, w, static_cast<float>(-(low + (high - low) * double(u[0])))});
  }
  for (int p : {0, 1, 2}) {
    Values const all = project(*projections[p], problems);
    for (size_t i = 0; i < problems.size(); ++i) {
      Values const v = image(all, i, 3);
      CHECK(missed(problems[i], v) <= 1e-6);
      for (float c : v) CHECK((c >= 0 && c <= 1));
      CHECK(norm(p, difference(v, problems[i].x)) <= least_on_grid(p, problems[i]) + 1e-6);
    }
  }
}

TEST_CASE("FAB's projections: many pixels, black borders, weights of any size, and gradients that are not numbers") {
  size_t const n = 3001;
  for (float size : {1.0f, 1e-12f, 1e12f}) {
    CAPTURE(size);
    std::vector<Problem> problems;
    for (uint64_t i = 0; i < 3; ++i) {
      Problem p{uniform_values(n, 20 + i), uniform_values(n, 30 + i, -size, size), 0};
      for (size_t j = 0; j < n; j += 3) p.x[j] = j % 2 ? 1 : 0;
      p.w[7] = p.w[8] = 0;
      double room = 0;
      for (size_t j = 0; j < n; ++j) room += double(p.w[j]) * double(p.w[j] > 0 ? 1 - p.x[j] : -p.x[j]);
      p.gap = static_cast<float>(-room * (i == 0 ? 0.02 : i == 1 ? 0.9 : 1.5));  // the last is out of reach
      problems.push_back(p);
    }
    for (int p : {0, 1, 2}) {
      Values const all = project(*projections[p], problems);
      for (size_t i = 0; i < 3; ++i) {
        Values const v = image(all, i, n);
        bool const reachable = i < 2;
        // v is rounded to f32: 3e-8 for each of 3001 pixels of weight about 1/2, at random.
        if (reachable) CHECK(missed(problems[i], v) <= 1e-5 * double(size));
        int64_t wrong = 0;
        for (size_t j = 0; j < n; ++j) {
          float const w = problems[i].w[j], corner = w > 0 ? 1 : (w < 0 ? 0 : problems[i].x[j]);
          wrong += !(v[j] >= 0 && v[j] <= 1);
          wrong += !reachable && std::abs(w) > 1e-6f * size && !(std::abs(v[j] - corner) <= 1e-6f);
        }
        CHECK(wrong == 0);
        CHECK(v[7] == problems[i].x[7]);
      }
    }
  }
  Problem const spoilt{{0.5f, 0.5f, 0.5f}, {not_a_number, infinity, 2}, -0.5f}, flat{{0.5f, 0, 1}, {0, 0, 0}, -0.5f};
  for (const Projection* kernel : projections) {
    Values const v = project(*kernel, {spoilt, flat});
    CHECK(worst_gap(v, {0.5, 0.5, 0.75, 0.5, 0, 1}) <= 1e-6);
  }
}

TEST_CASE("FAB's step mixes the projections of the point and of the image by their lengths") {
  size_t const n = 4;
  Values const x0{0.5f, 0.5f, 0.5f, 0.5f}, x1{0.6f, 0.45f, 0.5f, 0.4f}, w{3, -4, 0, 1};
  float const gap = -0.5f;  // at x1; at the image <w, x0 - x1> more
  double const there = -0.5 + 3 * -0.1 - 4 * 0.05 + 0.1;
  Doubles const rate[3] = {{1, -1, 0, 1}, {0, -1, 0, 0}, {3, -4, 0, 1}};
  double const reach[3] = {8, 4, 26};  // of a unit of each rate
  for (int p : {0, 1, 2}) {
    Doubles d1, d0;
    for (size_t i = 0; i < n; ++i) {
      d1.push_back(rate[p][i] * 0.5 / reach[p]);
      d0.push_back(rate[p][i] * -there / reach[p]);
    }
    double const share = norm(p, d1) / (norm(p, d1) + norm(p, d0));
    for (double most : {0.1, 0.9}) {
      double const alpha = std::min(share, most);
      GuardedValues const current(x1), origin(x0), gradients(w), gaps({gap});
      Tensor const rows = Tensor::zeros({1}, DType::i64);
      (*projections[p])(stream(), current.data(), origin.data(), gradients.data(), rows.data<int64_t>(), gaps.data(),
                        1.05f, float(most), 1, int64_t(n));
      Doubles wanted;
      for (size_t i = 0; i < n; ++i)
        wanted.push_back((1 - alpha) * (double(x1[i]) + 1.05 * d1[i]) + alpha * (double(x0[i]) + 1.05 * d0[i]));
      CHECK(worst_gap(current.read(), wanted) <= 1e-6);
    }
  }
}

namespace {

/// Images whose loss is -1/2 sum a (x - m)^2, searched by the two L-BFGS kernels as the attack does.
class Quadratics {
 public:
  Quadratics(size_t images, size_t n, uint64_t seed)
      : images_(images),
        n_(n),
        a_(uniform_values(images * n, seed, 1, 30)),
        m_(uniform_values(images * n, seed + 1, -0.5f, 1.5f)),
        clean_(uniform_values(images * n, seed + 2)),
        weight_(uniform_values(images, seed + 3, 0.1f, 5)) {}

  double objective(size_t i, const Values& x) const {
    double sum = 0;
    for (size_t j = i * n_; j < (i + 1) * n_; ++j)
      sum += double(weight_[i]) * std::pow(double(x[j]) - double(clean_[j]), 2) +
             0.5 * double(a_[j]) * std::pow(double(x[j]) - double(m_[j]), 2);
    return sum;
  }
  /// Where every pixel is best on its own.
  Doubles solution() const {
    Doubles best;
    for (size_t j = 0; j < a_.size(); ++j) {
      double const c = 2 * double(weight_[j / n_]), a = double(a_[j]);
      best.push_back(std::clamp((c * double(clean_[j]) + a * double(m_[j])) / (c + a), 0.0, 1.0));
    }
    return best;
  }
  /// The points reached after `looks` gradients.
  Values search(int looks) const {
    size_t const all = images_ * n_;
    GuardedValues const x(Values(all, 0)), gradient(Values(all, 0)), direction(Values(all, 0)),
        steps(Values(all * lbfgs_pairs, 0)), changes(Values(all * lbfgs_pairs, 0)), trial(clean_), clean(clean_),
        weight(weight_);
    Tensor const count = Tensor::zeros({int64_t(images_)}, DType::i32), bad = counter();
    Values length(images_, 1), now = clean_;
    Doubles reached(images_, 0), slope(images_, 0);
    for (int look = 0; look < looks; ++look) {
      std::vector<uint8_t> point(images_);
      for (size_t i = 0; i < images_; ++i) {
        double const value = objective(i, now);
        bool const good = look == 0 || value <= reached[i] + 1e-4 * slope[i];
        point[i] = uint8_t(look == 0 ? LbfgsPoint::first : (good ? LbfgsPoint::accepted : LbfgsPoint::refused));
        if (good) reached[i] = value;
        length[i] = good ? 1 : length[i] / 2;
      }
      Values loss_gradient(all);
      for (size_t j = 0; j < all; ++j) loss_gradient[j] = -a_[j] * (now[j] - m_[j]);
      GuardedValues const pull(loss_gradient), t(length);
      Tensor const points = Tensor::from(point, {int64_t(images_)}),
                   measured = Tensor::zeros({int64_t(images_), 2}, DType::f64);
      lbfgs_direction(stream(), x.data(), gradient.data(), direction.data(), steps.data(), changes.data(),
                      count.data<int32_t>(), trial.data(), pull.data(), clean.data(), weight.data(),
                      points.data<uint8_t>(), bad.data<int64_t>(), int64_t(images_), int64_t(n_));
      lbfgs_trial(stream(), trial.data(), measured.data<double>(), x.data(), gradient.data(), direction.data(),
                  clean.data(), t.data(), int64_t(images_), int64_t(n_));
      now = trial.read();
      auto const measures = measured.to_host<double>();
      for (size_t i = 0; i < images_; ++i) {
        slope[i] = measures[2 * i];
        CHECK(slope[i] <= 0);
        double const apart = norm(2, difference(image(now, i, n_), image(clean_, i, n_)));
        CHECK(std::abs(measures[2 * i + 1] - apart * apart) <= 1e-9 * (1 + apart * apart));
      }
      for (const GuardedValues* g : {&gradient, &direction, &steps, &changes}) g->read();
    }
    CHECK(counted(bad) == 0);
    return x.read();
  }

 private:
  size_t images_, n_;
  Values a_, m_, clean_, weight_;
};

}  // namespace

TEST_CASE("L-BFGS in the box reaches the minimum of quadratics of condition 30, with some pixels held") {
  Quadratics const problem(2, 20, 50);
  Values const x = problem.search(20);
  CHECK(worst_gap(x, problem.solution()) <= 1e-3);
  Values solved;
  for (double v : problem.solution()) solved.push_back(float(v));
  for (size_t i = 0; i < 2; ++i) CHECK(problem.objective(i, x) <= problem.objective(i, solved) * (1 + 1e-5));
  // Steepest descent of the same length is nowhere near: the history is what does it.
  CHECK(worst_gap(problem.search(2), problem.solution()) > 0.05);
}

TEST_CASE("L-BFGS leaves refused images alone and counts gradients that are not numbers") {
  size_t const n = 9;
  Values const x = uniform_values(2 * n, 60), trial = uniform_values(2 * n, 61);
  Values pull = uniform_values(2 * n, 62, -1, 1);
  pull[3] = pull[n + 2] = not_a_number;  // of the refused image and of the other
  GuardedValues const at(x), gradient(Values(2 * n, 5)), direction(Values(2 * n, 6)), steps(Values(2 * n * 8, 0)),
      changes(Values(2 * n * 8, 0)), tried(trial), gradients(pull), clean(x), weight({1, 1}), length({0, 0.5f});
  Tensor const count = Tensor::zeros({2}, DType::i32), bad = counter(),
               point =
                   Tensor::from(std::vector<uint8_t>{uint8_t(LbfgsPoint::refused), uint8_t(LbfgsPoint::first)}, {2}),
               measured = Tensor::full({2, 2}, -7, DType::f64);
  lbfgs_direction(stream(), at.data(), gradient.data(), direction.data(), steps.data(), changes.data(),
                  count.data<int32_t>(), tried.data(), gradients.data(), clean.data(), weight.data(),
                  point.data<uint8_t>(), bad.data<int64_t>(), 2, int64_t(n));
  CHECK(counted(bad) == 1);
  CHECK(image(at.read(), 0, n) == image(x, 0, n));
  CHECK(image(at.read(), 1, n) == image(trial, 1, n));
  CHECK(image(gradient.read(), 0, n) == Values(n, 5));
  CHECK(image(direction.read(), 0, n) == Values(n, 6));
  Values const g = image(gradient.read(), 1, n);
  CHECK(std::abs(g[2] - 2 * (trial[n + 2] - x[n + 2])) <= 1e-6);  // the distance's share alone
  CHECK(std::abs(g[1] - (2 * (trial[n + 1] - x[n + 1]) - pull[n + 1])) <= 1e-6);
  lbfgs_trial(stream(), tried.data(), measured.data<double>(), at.data(), gradient.data(), direction.data(),
              clean.data(), length.data(), 2, int64_t(n));
  CHECK(image(tried.read(), 0, n) == image(trial, 0, n));
  CHECK(measured.to_host<double>()[0] == -7);
  CHECK(measured.to_host<double>()[2] < 0);
}
