// The moves of blocks behind SIA, kernel by kernel: what they do to a block, and that the way back is the transpose.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "attacks/sia.h"
#include "kernels/launch/table.h"
#include "tests/guarded.h"

using namespace mith;

namespace {

using Values = std::vector<float>;

const Kernel<float*, const float*, const int32_t*, const int64_t*, DrawKey, BlockCopies> block_moves_forward{
    "block_moves_forward"};
const Kernel<float*, const float*, const float*, const int32_t*, const int64_t*, DrawKey, BlockCopies>
    block_moves_backward{"block_moves_backward"};
const Kernel<float*, const float*, const int32_t*, const float*, int, BlockCopies> block_low_pass{"block_low_pass"};

const Stream& stream() { return stream_of(default_device()); }
DrawKey const key{.seed = 5, .purpose = Purpose::noise};
Values unset(int64_t n) { return Values(static_cast<size_t>(n), std::nanf("")); }
size_t copies_size(const BlockCopies& s) { return size_t(s.pixels() * s.c); }

/// Both ways with the low pass where it belongs, as the attack has them.
struct Moved {
  Values copies, gradient;
};
Moved moved(const BlockCopies& s, const std::vector<int32_t>& host_table, const std::vector<int64_t>& host_ids,
            const Values& x, const Values& gradient) {
  Tensor const table = Tensor::from(host_table, {int64_t(host_table.size())});
  Tensor const ids = Tensor::from(host_ids, {s.images});
  int64_t const most = std::max(s.h, s.w);
  Tensor const sums = Tensor::from(dirichlet_sums(most), {most * (most + 1)});
  int64_t const n = s.pixels() * s.c;
  auto const low_pass = [&](const GuardedValues& values) {
    GuardedValues const scratch(unset(n));
    block_low_pass(stream(), scratch.data(), values.data(), table.data<int32_t>(), sums.data<float>(), 1, s);
    block_low_pass(stream(), values.data(), scratch.data(), table.data<int32_t>(), sums.data<float>(), 0, s);
    scratch.read();
  };
  GuardedValues const from(x), copies(unset(n)), g(gradient), back(unset(n));
  block_moves_forward(stream(), copies.data(), from.data(), table.data<int32_t>(), ids.data<int64_t>(), key, s);
  low_pass(copies);
  low_pass(g);
  block_moves_backward(stream(), back.data(), g.data(), from.data(), table.data<int32_t>(), ids.data<int64_t>(), key,
                       s);
  return {copies.read(), back.read()};
}

/// A table of one image, one block, one move.
std::vector<int32_t> whole_image(int64_t h, int64_t w, BlockMove move, int32_t parameter = 0) {
  return {0, int32_t(h), 0, int32_t(w), int32_t(move), parameter};
}
BlockCopies one_block(int64_t h, int64_t w, int64_t c = 1) {
  return {.images = 1, .first = 0, .count = 1, .h = h, .w = w, .c = c, .blocks = 1};
}
Values move_one(int64_t h, int64_t w, const Values& x, BlockMove move, int32_t parameter = 0) {
  return moved(one_block(h, w), whole_image(h, w, move, parameter), {1}, x, x).copies;
}

double dot(const Values& a, const Values& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += double(a[i]) * double(b[i]);
  return sum;
}

/// Copies of the images summed up, so that a dot product with them is one with the images.
double dot_with_images(const Values& gradient, const Values& x, const BlockCopies& s) {
  size_t const d = size_t(s.h * s.w * s.c);
  double sum = 0;
  for (size_t i = 0; i < gradient.size(); ++i)
    sum += double(gradient[i]) * double(x[i / (d * size_t(s.count)) * d + i % d]);
  return sum;
}

}  // namespace

TEST_CASE("block moves: what each does to a block of 2 x 3") {
  Values const x{0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f};
  CHECK(move_one(2, 3, x, BlockMove::identity) == x);
  CHECK(move_one(2, 3, x, BlockMove::vertical_shift, 1) == Values{0.4f, 0.5f, 0.6f, 0.1f, 0.2f, 0.3f});
  CHECK(move_one(2, 3, x, BlockMove::horizontal_shift, 1) == Values{0.3f, 0.1f, 0.2f, 0.6f, 0.4f, 0.5f});
  CHECK(move_one(2, 3, x, BlockMove::vertical_flip) == Values{0.4f, 0.5f, 0.6f, 0.1f, 0.2f, 0.3f});
  CHECK(move_one(2, 3, x, BlockMove::horizontal_flip) == Values{0.3f, 0.2f, 0.1f, 0.6f, 0.5f, 0.4f});
  CHECK(move_one(2, 3, x, BlockMove::rotation) == Values{0.6f, 0.5f, 0.4f, 0.3f, 0.2f, 0.1f});
  Values const half = move_one(2, 3, x, BlockMove::scaling, 1 << 23);
  for (size_t i = 0; i < 6; ++i) CHECK(half[i] == x[i] / 2);
  Values const noisy = move_one(2, 3, x, BlockMove::noise);
  CHECK(noisy != x);
  for (size_t i = 0; i < 6; ++i) CHECK(std::abs(noisy[i] - x[i]) <= block_noise + 1e-7f);
  Values const rgb = moved(one_block(1, 2, 3), whole_image(1, 2, BlockMove::channel_dropout, 5), {1}, x, x).copies;
  for (size_t i = 0; i < 6; ++i) CHECK(std::abs(rgb[i] - (i % 3 == 1 ? 0 : x[i] / 0.9f)) <= 1e-7f);
}

TEST_CASE("block moves: resize and low pass against their matrices") {
  for (auto [h, w] : {std::pair<int64_t, int64_t>{1, 1}, {2, 3}, {5, 4}, {7, 13}, {11, 6}}) {
    Values const x = uniform_values(size_t(h * w), 1);
    auto const resize = [](int64_t out, int64_t in, int64_t i, int64_t j) {  // share of input j in output i
      double const at = std::max((double(i) + 0.5) * double(in) / double(out) - 0.5, 0.0);
      int64_t const low = std::min(int64_t(at), in - 1), high = std::min(low + 1, in - 1);
      return (j == low ? 1 - (at - double(low)) : 0) + (j == high ? at - double(low) : 0);
    };
    auto const there_and_back = [&](int64_t extent, int64_t i, int64_t j) {
      int64_t const fewer = std::max<int64_t>(extent * 4 / 5, 1);
      double sum = 0;
      for (int64_t k = 0; k < fewer; ++k) sum += resize(extent, fewer, i, k) * resize(fewer, extent, k, j);
      return sum;
    };
    auto const lowest = [](int64_t extent, int64_t i, int64_t j) {  // orthonormal cosines, cut off
      double sum = 0, pi = std::numbers::pi;
      for (int64_t k = 0; k < extent - extent * 2 / 5; ++k)
        sum += (k ? 2.0 : 1.0) / double(extent) * std::cos(pi * double(k * (2 * i + 1)) / double(2 * extent)) *
               std::cos(pi * double(k * (2 * j + 1)) / double(2 * extent));
      return sum;
    };
    auto const separable = [&](auto matrix, int64_t i, int64_t j) {
      double sum = 0;
      for (int64_t a = 0; a < h; ++a)
        for (int64_t b = 0; b < w; ++b) sum += matrix(h, i, a) * matrix(w, j, b) * double(x[size_t(a * w + b)]);
      return sum;
    };
    Values const resized = move_one(h, w, x, BlockMove::resize), filtered = move_one(h, w, x, BlockMove::low_pass);
    double worst = 0;
    for (int64_t i = 0; i < h; ++i)
      for (int64_t j = 0; j < w; ++j) {
        size_t const at = size_t(i * w + j);
        for (double gap : {std::abs(resized[at] - separable(there_and_back, i, j)),
                           std::abs(filtered[at] - separable(lowest, i, j))})
          if (!(gap <= worst)) worst = gap;
      }
    CHECK(worst <= 2e-6);
  }
}

TEST_CASE("block moves: the way back is the transpose, move by move") {
  for (int kind = 0; kind < block_move_kinds; ++kind) {
    BlockMove const move = static_cast<BlockMove>(kind);
    CAPTURE(kind);
    for (int64_t side : {9, 14}) {
      BlockCopies const s{.images = 2, .first = 4, .count = 3, .h = side, .w = side + 3, .c = 3, .blocks = 3};
      std::vector<int64_t> const ids{3, 10};
      std::vector<int32_t> const table = draw_block_moves(ids, {.seed = 2, .purpose = Purpose::augment}, {move}, s);
      // Far from the clamp, noise adds a constant: the linear part is the difference of two images' copies.
      size_t const n = size_t(2 * s.h * s.w * s.c);
      Values const x = uniform_values(n, 3, 0.3f, 0.7f), zero(n, 0.5f);
      Values const g = uniform_values(copies_size(s), 4, -1, 1);
      Values a = moved(s, table, ids, x, g).copies;
      Values const b = moved(s, table, ids, zero, g).copies, back = moved(s, table, ids, x, g).gradient;
      Values difference = x;
      for (size_t i = 0; i < a.size(); ++i) a[i] -= b[i];
      for (float& v : difference) v -= 0.5f;
      double const forward = dot(a, g), backward = dot_with_images(back, difference, s);
      CHECK(std::abs(forward) > 1e-3);  // otherwise the comparison proves nothing
      CHECK(std::abs(forward - backward) <= 2e-4);
    }
  }
}

TEST_CASE("block moves: rearranging a block keeps its pixels, and goes back where it came from") {
  for (BlockMove move : {BlockMove::identity, BlockMove::vertical_shift, BlockMove::horizontal_shift,
                         BlockMove::vertical_flip, BlockMove::horizontal_flip, BlockMove::rotation}) {
    BlockCopies const s{.images = 2, .first = 0, .count = 2, .h = 8, .w = 11, .c = 1, .blocks = 3};
    std::vector<int64_t> const ids{3, 10};
    std::vector<int32_t> const table = draw_block_moves(ids, {.seed = 2, .purpose = Purpose::augment}, {move}, s);
    Values const x = uniform_values(size_t(2 * s.h * s.w), 3);
    Values const copies = moved(s, table, ids, x, uniform_values(copies_size(s), 4)).copies;
    Values const back = moved(s, table, ids, x, copies).gradient;
    for (int64_t row = 0; row < 4; ++row) {
      size_t const image = size_t(row / 2 * 88), copy = size_t(row * 88);
      CHECK(Values(back.begin() + long(copy), back.begin() + long(copy) + 88) ==
            Values(x.begin() + long(image), x.begin() + long(image) + 88));
      const int32_t *const rows = table.data() + row * s.entry(), *const columns = rows + 4;
      for (int64_t block = 0; block < 9; ++block) {
        Values before, after;
        for (int32_t i = rows[block / 3]; i < rows[block / 3 + 1]; ++i)
          for (int32_t j = columns[block % 3]; j < columns[block % 3 + 1]; ++j) {
            before.push_back(x[image + size_t(i * 11 + j)]);
            after.push_back(copies[copy + size_t(i * 11 + j)]);
          }
        std::sort(before.begin(), before.end());
        std::sort(after.begin(), after.end());
        CHECK(before == after);
      }
    }
  }
}

TEST_CASE("block moves: noise that the clamp cut off has no slope") {
  int64_t const side = 40;
  Values x(size_t(side * side), 0.01f);
  for (size_t i = 0; i < x.size(); i += 2) x[i] = 0.99f;
  Values const g(x.size(), 1);
  auto const [copies, back] = moved(one_block(side, side), whole_image(side, side, BlockMove::noise), {7}, x, g);
  int64_t cut = 0, wrong = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    bool const clamped = copies[i] == 0 || copies[i] == 1;
    cut += clamped;
    wrong += back[i] != (clamped ? 0.0f : 1.0f);
  }
  CHECK(cut > 400);
  CHECK(cut < 1200);
  CHECK(wrong == 0);
}

TEST_CASE("block tables: different cuts inside the image, every move, keyed by image and copy") {
  BlockCopies const s{.images = 300, .first = 0, .count = 2, .h = 5, .w = 9, .c = 3, .blocks = 4};
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < s.images; ++i) ids.push_back(11 * i);
  DrawKey const draws{.seed = 8, .purpose = Purpose::augment};
  auto const drawn = Sia{.sia_ops = "10"}.moves();
  CHECK(drawn.size() == 10);
  std::vector<int32_t> const table = draw_block_moves(ids, draws, drawn, s);
  REQUIRE(table.size() == size_t(600 * s.entry()));
  std::vector<int64_t> counts(block_move_kinds, 0), row_cuts(6, 0);
  bool legal = true;
  for (size_t row = 0; row < 600; ++row) {
    const int32_t *const rows = table.data() + row * size_t(s.entry()), *const columns = rows + 5;
    legal = legal && rows[0] == 0 && rows[4] == 5 && columns[0] == 0 && columns[4] == 9;
    for (int i = 0; i < 4; ++i) legal = legal && rows[i] < rows[i + 1] && columns[i] < columns[i + 1];
    for (int i = 1; i < 4; ++i) ++row_cuts[size_t(rows[i])];
    for (int block = 0; block < 16; ++block) {
      int32_t const move = columns[5 + 2 * block], parameter = columns[6 + 2 * block];
      ++counts[size_t(move)];
      int32_t const height = rows[block / 4 + 1] - rows[block / 4];
      if (move == int32_t(BlockMove::vertical_shift)) legal = legal && parameter >= 0 && parameter < height;
      if (move == int32_t(BlockMove::channel_dropout)) legal = legal && parameter >= 0 && parameter < 8;
    }
  }
  CHECK(legal);
  CHECK(counts[0] == 0);
  for (size_t i = 1; i < counts.size(); ++i) CHECK(std::abs(double(counts[i]) - 960) <= 5 * 29.4);  // of 9600 draws
  for (size_t i = 1; i < 5; ++i)
    CHECK(std::abs(double(row_cuts[i]) - 450) <= 5 * 10.7);  // each is left out by a quarter
  BlockCopies one = s;
  one.images = 1, one.first = 1, one.count = 1;
  auto const at = table.begin() + 7 * s.entry();  // image 3, copy 1
  CHECK(draw_block_moves({ids[3]}, draws, drawn, one) == std::vector<int32_t>(at, at + s.entry()));
}
