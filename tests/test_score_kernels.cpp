// The kernels of attacks on scores and on few pixels, against loops in double, between guard bands.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "attacks/square.h"
#include "kernels/launch/table.h"
#include "kernels/map/basis_step.h"
#include "kernels/row/jsma.h"
#include "kernels/row/square.h"
#include "tests/guarded.h"

using namespace mith;

namespace {

using Pixels = std::vector<float>;
using Ids = std::vector<int64_t>;

const Kernel<float*, const float*, const float*, int64_t, int64_t, int64_t> add_columns{"add_columns"};
const Kernel<float*, const float*, float, float, int64_t*, int64_t, int64_t, int64_t> column_sign_step{
    "column_sign_step"};
const Kernel<float*, float*, const void*, const float*, const float*, int64_t, int64_t, int64_t> basis_step{
    "basis_step"};
const Kernel<float*, const int32_t*, const float*, int64_t, int64_t, int64_t, int64_t> write_pixels{"write_pixels"};
const Kernel<float*, float*, const int32_t*, int64_t, int64_t, int64_t, int64_t> square_settle{"square_settle"};
const Kernel<float*, const float*, const float*, const int64_t*, const int32_t*, DrawKey, int64_t, float, int64_t,
             int64_t, int64_t, int64_t>
    square_linf_window{"square_linf_window"};
const Kernel<float*, const float*, const float*, const float*, const int64_t*, const int32_t*, DrawKey, int64_t, float,
             int64_t, int64_t, int64_t, int64_t>
    square_l2_window{"square_l2_window"};
const Kernel<float*, const float*, const float*, const int64_t*, DrawKey, float, int64_t, int64_t, int64_t, int64_t,
             int64_t>
    square_l2_start{"square_l2_start"};
const Kernel<float*, float*, const float*, const float*, const float*, const float*, float, int64_t*, int64_t>
    jsma_gradients{"jsma_gradients"};
const Kernel<float*, float*, int64_t, int64_t, int64_t> jsma_pool{"jsma_pool"};
const Kernel<float*, const float*, const float*, int64_t, int64_t> jsma_bounds{"jsma_bounds"};
const Kernel<float*, int64_t*, const float*, const float*, const float*, int64_t, int64_t> jsma_pairs{"jsma_pairs"};
const Kernel<float*, int64_t*, const float*, const int64_t*, float, int64_t, int64_t> jsma_move{"jsma_move"};

const Stream& stream() { return stream_of(default_device()); }
float const not_a_number = std::nanf("");
float const infinity = std::numeric_limits<float>::infinity();
DrawKey const key{.seed = 5, .purpose = Purpose::attack_start};

template <class T>
Tensor words(const std::vector<T>& table) {
  return Tensor::from_bytes(table.data(), {int64_t(table.size() * sizeof(T) / 4)}, DType::i32, default_device());
}

/// Largest difference, NaN where there is one.
double difference(const Pixels& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    double const d = std::abs(double(a[i]) - b[i]);
    if (!(d <= most)) most = d;
  }
  return most;
}

/// Images of one shape in a batch of three, not square, and two channels.
constexpr int64_t n = 3, h = 7, w = 10, c = 2, size = h * w * c;
Ids const ids{4, 11, 7};

float sign_of(int64_t id, int64_t draw) { return random_bits(key, uint64_t(id), uint64_t(draw)) >> 31 ? 1.0f : -1.0f; }

struct Iterates {
  Pixels candidate, best;
};

Iterates linf(const Iterates& before, const Pixels& x, const std::vector<SquareMove>& moves, int64_t query, float eps) {
  GuardedValues const candidate(before.candidate), best(before.best), clean(x);
  Tensor const table = words(moves), id = Tensor::from(ids, {n});
  square_settle(stream(), candidate.data(), best.data(), table.data<int32_t>(), n, h, w, c);
  square_linf_window(stream(), candidate.data(), best.data(), clean.data(), id.data<int64_t>(), table.data<int32_t>(),
                     key, query, eps, n, h, w, c);
  return {candidate.read(), best.read()};
}

Iterates l2(const Iterates& before, const Pixels& x, const std::vector<SquareMove>& moves, int64_t query, float eps) {
  GuardedValues const candidate(before.candidate), best(before.best), clean(x);
  GuardedValues const bump(square_bump(moves[0].next.side));
  Tensor const table = words(moves), id = Tensor::from(ids, {n});
  square_settle(stream(), candidate.data(), best.data(), table.data<int32_t>(), n, h, w, c);
  square_l2_window(stream(), candidate.data(), best.data(), clean.data(), bump.data(), id.data<int64_t>(),
                   table.data<int32_t>(), key, query, eps, n, h, w, c);
  return {candidate.read(), best.read()};
}

bool inside(int64_t row, int64_t col, int64_t top, int64_t left, int64_t side) {
  return row >= top && row < top + side && col >= left && col < left + side;
}

double length(const Pixels& a, const Pixels& b, int64_t image) {
  double sum = 0;
  for (int64_t i = image * size; i < (image + 1) * size; ++i)
    sum += std::pow(double(a[size_t(i)]) - double(b[size_t(i)]), 2);
  return std::sqrt(sum);
}

/// The best pair by trying all, as jsma.cu defines it: p * d + q, -1 if there is none.
int64_t brute_force_pair(const Pixels& a, const Pixels& b) {
  float most = 0;
  int64_t best = -1;
  int64_t const d = int64_t(a.size());
  for (int64_t p = 0; p < d; ++p)
    for (int64_t q = p + 1; q < d; ++q) {
      float const up = a[size_t(p)] + a[size_t(q)], down = b[size_t(p)] + b[size_t(q)];
      if (!(up > 0 && down > 0 && up * down > most)) continue;
      most = up * down;
      best = p * d + q;
    }
  return best;
}

/// The kernels' answer for images of d features each.
std::vector<int64_t> found_pairs(const Pixels& a, const Pixels& b, int64_t d) {
  int64_t const images = int64_t(a.size()) / d;
  GuardedValues const up(a), down(b), bounds(Pixels(size_t(images * jsma_bounds_size(d)), not_a_number)),
      values(Pixels(size_t(images * jsma_chunks(d)), not_a_number)), adv(Pixels(a.size(), 0.25f));
  Tensor const pairs = Tensor::zeros({images, jsma_chunks(d)}, DType::i64), moved = Tensor::zeros({images}, DType::i64);
  jsma_bounds(stream(), bounds.data(), up.data(), down.data(), images, d);
  jsma_pairs(stream(), values.data(), pairs.data<int64_t>(), up.data(), down.data(), bounds.data(), images, d);
  jsma_move(stream(), adv.data(), moved.data<int64_t>(), values.data(), pairs.data<int64_t>(), 0.5f, images, d);
  bounds.read();
  values.read();
  auto const found = moved.to_host<int64_t>();
  Pixels expected(a.size(), 0.25f);
  for (int64_t i = 0; i < images; ++i)
    for (int64_t feature : {found[size_t(i)] / d, found[size_t(i)] % d})
      if (found[size_t(i)] >= 0) expected[size_t(i * d + feature)] = 0.75f;
  CHECK(adv.read() == expected);
  return found;
}

Pixels part(const Pixels& all, int64_t index, int64_t d) {
  return Pixels(all.begin() + index * d, all.begin() + (index + 1) * d);
}

}  // namespace

TEST_CASE("add_columns: each column and channel moves by its offset, in [0, 1], and NaN stays") {
  Pixels x = uniform_values(n * size, 1);
  x[5] = not_a_number;
  Pixels const v = uniform_values(n * w * c, 2, -0.6f, 0.6f);
  GuardedValues const out(Pixels(x.size(), 0)), clean(x), columns(v);
  add_columns(stream(), out.data(), clean.data(), columns.data(), n, h, w * c);
  Pixels const moved = out.read();
  int64_t wrong = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    size_t const image = i / size, col = i % (w * c);
    double const expected = std::clamp(double(x[i]) + double(v[image * w * c + col]), 0.0, 1.0);
    if (i != 5) wrong += !(std::abs(moved[i] - expected) <= 1e-7);
  }
  CHECK(wrong == 0);
  CHECK(std::isnan(moved[5]));
}

TEST_CASE("column_sign_step: the sign of the sum down the image, in the ball; NaN counts as zero") {
  Pixels g = uniform_values(n * size, 3, -1, 1);
  Pixels const v = uniform_values(n * w * c, 4, -0.1f, 0.1f);
  for (int64_t row = 0; row < h; ++row) g[size_t(row * w * c)] = row == 2 ? not_a_number : 0;  // the first column
  g[size_t(size + 1)] = not_a_number;
  GuardedValues const columns(v), gradient(g);
  Tensor const count = Tensor::zeros({1}, DType::i64);
  column_sign_step(stream(), columns.data(), gradient.data(), 0.05f, 0.1f, count.data<int64_t>(), n, h, w * c);
  std::vector<double> expected;
  for (int64_t i = 0; i < n * w * c; ++i) {
    double sum = 0;
    for (int64_t row = 0; row < h; ++row) {
      float const of = g[size_t(i / (w * c) * size + row * w * c + i % (w * c))];
      sum += std::isnan(of) ? 0 : double(of);
    }
    double const step = sum > 0 ? 0.05 : sum < 0 ? -0.05 : 0;
    expected.push_back(std::clamp(double(v[size_t(i)]) + step, -0.1, 0.1));
  }
  CHECK(difference(columns.read(), expected) <= 1e-8);
  CHECK(count.to_host<int64_t>()[0] == 2);
}

TEST_CASE("basis_step: takes one outer product for good and tries another") {
  Pixels const state = uniform_values(n * size, 5, -0.2f, 1.2f), rows = uniform_values(h * h, 6, -1, 1),
               columns = uniform_values(w * c * w * c, 7, -1, 1);
  std::vector<BasisMove> moves(n);
  moves[0] = {.taken = {.u = 1, .k = 3, .step = 0.5f}, .tried = {.u = 6, .k = 19, .step = -0.25f}};
  moves[1] = {.taken = {}, .tried = {.u = 2, .k = 0, .step = 0.5f}};
  moves[2] = {.taken = {.u = 0, .k = 7, .step = -0.5f}, .tried = {}};
  Tensor const table = words(moves);
  std::vector<double> taken, tried;
  for (int64_t i = 0; i < n * size; ++i) {
    const BasisMove& move = moves[size_t(i / size)];
    int64_t const row = i % size / (w * c), j = i % (w * c);
    auto const at = [&](const BasisStep& s) {
      return double(s.step) * double(rows[size_t(s.u * h + row)]) * double(columns[size_t(s.k * w * c + j)]);
    };
    taken.push_back(double(state[size_t(i)]) + at(move.taken));
    tried.push_back(std::clamp(taken.back() + at(move.tried), 0.0, 1.0));
  }
  GuardedValues const down(rows), across(columns);
  for (bool with_candidate : {true, false}) {
    GuardedValues const s(state), candidate(Pixels(state.size(), not_a_number));
    basis_step(stream(), with_candidate ? candidate.data() : nullptr, s.data(), table.raw(), down.data(), across.data(),
               n, h, w * c);
    CHECK(difference(s.read(), taken) <= 2e-7);
    if (with_candidate) CHECK(difference(candidate.read(), tried) <= 4e-7);
  }
}

TEST_CASE("write_pixels: the listed pixels in all their channels, the last of equals, and no others") {
  Pixels const x = uniform_values(n * size, 8), values = uniform_values(n * 3 * c, 9);
  std::vector<int32_t> const places{0, 69, 5, 13, 13, 14, 68, 0, 1};
  Tensor const place = Tensor::from(places, {9});
  GuardedValues const images(x), colours(values);
  write_pixels(stream(), images.data(), place.data<int32_t>(), colours.data(), n, 3, h * w, c);
  Pixels expected = x;
  for (size_t k = 0; k < 9; ++k)
    for (size_t ch = 0; ch < c; ++ch) expected[k / 3 * size + size_t(places[k]) * c + ch] = values[k * c + ch];
  CHECK(images.read() == expected);
}

TEST_CASE("square_settle and square_linf_window: settles the last windows, then +-eps by channel in the next") {
  float const eps = 0.05f;
  Pixels const x = uniform_values(n * size, 10);
  Iterates before{x, x};
  std::vector<SquareMove> moves(n);
  moves[0] = {.accepted = 1, .last = {1, 2, 3, 4, 4}, .next = {0, 0, 0, 0, 3}};
  moves[1] = {.accepted = 0, .last = {3, 6, 0, 0, 4}, .next = {4, 7, 4, 7, 3}};
  moves[2] = {.accepted = 1, .last = {}, .next = {2, 5, 2, 5, 5}};
  Pixels const noise = uniform_values(n * size, 11);
  for (int64_t i = 0; i < n * size; ++i) {
    const SquareWindows& last = moves[size_t(i / size)].last;
    int64_t const row = i % size / (w * c), col = i % (w * c) / c;
    if (inside(row, col, last.row, last.col, last.side) || inside(row, col, last.other_row, last.other_col, last.side))
      before.candidate[size_t(i)] = noise[size_t(i)];
  }
  Iterates const after = linf(before, x, moves, 9, eps);
  int64_t wrong = 0;
  for (int64_t i = 0; i < n * size; ++i) {
    const SquareMove& move = moves[size_t(i / size)];
    int64_t const row = i % size / (w * c), col = i % (w * c) / c;
    float const settled = move.accepted ? before.candidate[size_t(i)] : before.best[size_t(i)];
    float const sign = sign_of(ids[size_t(i / size)], 9 * 16 * c + i % c);  // the first attempt of query 9
    double const moved = std::clamp(double(x[size_t(i)]) + double(sign * eps), 0.0, 1.0);
    wrong += after.best[size_t(i)] != settled;
    if (inside(row, col, move.next.row, move.next.col, move.next.side))
      wrong += !(std::abs(after.candidate[size_t(i)] - moved) <= 1e-7);
    else
      wrong += after.candidate[size_t(i)] != settled;
  }
  CHECK(wrong == 0);
}

TEST_CASE("square_linf_window: signs are drawn again while they change nothing, but not for ever") {
  Pixels const x(n * size, 0.5f);
  std::vector<SquareMove> moves(n);
  for (SquareMove& move : moves) move.next = {2, 3, 2, 3, 2};
  Iterates now{x, x};
  for (int64_t query = 1; query < 40; ++query) {
    now = linf(now, x, moves, query, 0.1f);
    for (int64_t i = 0; i < n; ++i) CHECK(part(now.candidate, i, size) != part(now.best, i, size));
    for (SquareMove& move : moves) move = {.accepted = 1, .last = move.next, .next = move.next};
  }
  Iterates const still = linf({x, x}, x, std::vector<SquareMove>(n, {.next = {0, 0, 0, 0, 5}}), 1, 0);
  CHECK(still.candidate == x);
}

TEST_CASE("square_l2_window: the first window gains what the second loses and what is left of the ball") {
  float const eps = 0.9f;
  Pixels const x = uniform_values(n * size, 12, 0.4f, 0.6f);
  Pixels start = x;
  Pixels const noise = uniform_values(n * size, 13, -0.05f, 0.05f);
  for (size_t i = 0; i < start.size(); ++i) start[i] += noise[i];
  std::vector<SquareMove> moves(n);
  moves[0].next = {0, 0, 4, 7, 3};
  moves[1].next = {1, 2, 2, 3, 5};  // overlapping
  moves[2].next = {4, 7, 4, 7, 3};
  moves[1].next.side = 3;
  Iterates const after = l2({start, start}, x, moves, 6, eps);
  CHECK(after.best == start);
  Pixels const bump = square_bump(3);
  std::vector<double> expected(start.begin(), start.end());
  for (int64_t image = 0; image < n; ++image) {
    SquareWindows const windows = moves[size_t(image)].next;
    int64_t const id = ids[size_t(image)], draw = 6 * (c + 1);
    bool const transposed = sign_of(id, draw + c) > 0;
    double const n2 = std::pow(length(start, x, image), 2);
    for (int64_t ch = 0; ch < c; ++ch) {
      double both = 0, first = 0, fresh = 0;
      auto const visit = [&](auto f) {
        for (int64_t row = 0; row < h; ++row)
          for (int64_t col = 0; col < w; ++col) {
            bool const one = inside(row, col, windows.row, windows.col, 3),
                       two = inside(row, col, windows.other_row, windows.other_col, 3);
            size_t const at = size_t(image * size + (row * w + col) * c + ch);
            int64_t const i = row - windows.row, j = col - windows.col;
            double const b = one ? double(bump[size_t(transposed ? j * 3 + i : i * 3 + j)]) : 0;
            if (one || two) f(at, one, b * double(sign_of(id, draw + ch)), double(start[at]) - double(x[at]));
          }
      };
      visit([&](size_t, bool one, double, double d) { both += d * d, first += one ? d * d : 0; });
      double const norm = 1e-12 + std::sqrt(first);
      visit([&](size_t, bool one, double b, double d) { fresh += one ? std::pow(b + d / norm, 2) : 0; });
      double const factor = std::sqrt((both + (double(eps) * double(eps) - n2) / c) / fresh);
      visit([&](size_t at, bool one, double b, double d) {
        expected[at] = std::clamp(double(x[at]) + (one ? factor * (b + d / norm) : 0), 0.0, 1.0);
      });
    }
  }
  CHECK(difference(after.candidate, expected) <= 5e-7);
  for (int64_t image = 0; image < n; ++image) CHECK(length(after.candidate, x, image) <= eps * (1 + 1e-6));

  // Nothing is clipped with a small radius: then the candidate lies on the sphere.
  Iterates const small = l2({x, x}, x, moves, 6, 0.3f);
  for (int64_t image = 0; image < n; ++image) CHECK(std::abs(length(small.candidate, x, image) - 0.3) <= 1e-6);
  CHECK(l2({x, x}, x, moves, 6, 0).candidate == x);
}

TEST_CASE("square_l2_start: bumps of one size in a centred grid") {
  Pixels const x(n * size, 0.5f), bump = square_bump(3);
  GuardedValues const adv(Pixels(x.size(), not_a_number)), clean(x), table(bump);
  Tensor const id = Tensor::from(ids, {n});
  square_l2_start(stream(), adv.data(), clean.data(), table.data(), id.data<int64_t>(), key, 0.1f, 3, n, h, w, c);
  Pixels const moved = adv.read();
  int64_t wrong = 0;
  for (int64_t i = 0; i < n * size; ++i) {
    int64_t const row = i % size / (w * c), col = i % (w * c) / c;  // the grid is 6 x 9, at (0, 0)
    double expected = 0.5;
    if (row < 6 && col < 9) {
      int64_t const image = ids[size_t(i / size)], draw = (row / 3 * 3 + col / 3) * (c + 1);
      int64_t const u = row % 3, v = col % 3;
      bool const transposed = sign_of(image, draw + c) > 0;
      expected += 0.1 * double(sign_of(image, draw + i % c)) * double(bump[size_t(transposed ? v * 3 + u : u * 3 + v)]);
    }
    wrong += !(std::abs(moved[size_t(i)] - expected) <= 1e-7);
  }
  CHECK(wrong == 0);
}

TEST_CASE("jsma_gradients: features that were changed, have no room or no gradient take no part") {
  Pixels const x{0.5f, 0.5f, 0.995f, 0.005f, 0.5f, 0.5f, 0.5f}, adv{0.5f, 1, 0.995f, 0.005f, 0.5f, 0.5f, 0.5f};
  Pixels const target{1, 2, 3, 4, not_a_number, infinity, -2}, sum{4, 4, 4, 4, 4, 4, 4};
  for (float theta : {1.0f, -1.0f}) {
    GuardedValues const a(Pixels(7, 9)), b(Pixels(7, 9)), images(adv), clean(x), of_target(target), of_sum(sum);
    Tensor const count = Tensor::zeros({1}, DType::i64);
    jsma_gradients(stream(), a.data(), b.data(), images.data(), clean.data(), of_target.data(), of_sum.data(), theta,
                   count.data<int64_t>(), 7);
    Pixels up(7, -infinity), down(7, -infinity);
    up[0] = theta, down[0] = theta * (1 - 4);
    up[6] = theta * -2, down[6] = theta * (-2 - 4);
    size_t const open = theta > 0 ? 3 : 2;  // dark or bright pixels still have room on one side
    up[open] = theta * target[open], down[open] = theta * (target[open] - 4);
    CHECK(a.read() == up);
    CHECK(b.read() == down);
    CHECK(count.to_host<int64_t>()[0] == 1);
  }
}

TEST_CASE("jsma_pairs: the best pair of all, and the least of equals") {
  for (int64_t d : {2, 3, 31, 257, 700}) {
    CAPTURE(d);
    Pixels a, b;
    int64_t const images = 6;
    for (int64_t i = 0; i < images; ++i)
      for (int64_t j = 0; j < d; ++j) {
        float const u = normal({.seed = 21}, uint64_t(i), uint64_t(j)),
                    v = normal({.seed = 22}, uint64_t(i), uint64_t(j));
        bool const closed = i == 4 && j % 3 > 0;
        a.push_back(closed ? -infinity : i == 1 ? std::round(u) : u);                          // many ties
        b.push_back(closed ? -infinity : i == 1 ? std::round(v) : i == 2 ? 0.2f * v - u : v);  // sums near zero
        if (i == 3) a.back() = -1;                                                             // no pair
        if (i == 5) a.back() = b.back() = 1;                                                   // all the same
      }
    auto const found = found_pairs(a, b, d);
    for (int64_t i = 0; i < images; ++i) {
      CAPTURE(i);
      CHECK(found[size_t(i)] == brute_force_pair(part(a, i, d), part(b, i, d)));
    }
    CHECK(found[3] == -1);
    CHECK(found[5] == 1);
  }
}

TEST_CASE("jsma_pool: leaves the features of the largest a + b, with those equal to the last") {
  int64_t const d = 300;
  for (int64_t pool : {1, 7, 299}) {
    Pixels const up = uniform_values(2 * d, 23, -1, 1);
    Pixels down = uniform_values(2 * d, 24, -1, 1);
    for (size_t i = d; i < 2 * d; ++i) down[i] = float(i % 50) - up[i];  // ties, up to rounding
    GuardedValues const a(up), b(down);
    jsma_pool(stream(), a.data(), b.data(), pool, 2, d);
    Pixels const left_a = a.read(), left_b = b.read();
    for (int64_t image = 0; image < 2; ++image) {
      Pixels sums;
      for (int64_t i = image * d; i < (image + 1) * d; ++i) sums.push_back(up[size_t(i)] + down[size_t(i)]);
      Pixels sorted = sums;
      std::sort(sorted.rbegin(), sorted.rend());
      int64_t wrong = 0;
      for (int64_t i = 0; i < d; ++i) {
        size_t const at = size_t(image * d + i);
        bool const open = sums[size_t(i)] >= sorted[size_t(pool - 1)];
        wrong += left_a[at] != (open ? up[at] : -infinity);
        wrong += left_b[at] != (open ? down[at] : -infinity);
      }
      CHECK(wrong == 0);
    }
  }
}
