#include "attacks/sia.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/launch/table.h"

namespace mith {
namespace {

const Kernel<float*, const float*, const int32_t*, const int64_t*, DrawKey, BlockCopies> block_moves_forward{
    "block_moves_forward"};
const Kernel<float*, const float*, const float*, const int32_t*, const int64_t*, DrawKey, BlockCopies>
    block_moves_backward{"block_moves_backward"};
const Kernel<float*, const float*, const int32_t*, const float*, int, BlockCopies> block_low_pass{"block_low_pass"};

/// In the order of BlockMove.
constexpr const char* move_names[block_move_kinds] = {
    "identity", "vertical_shift", "horizontal_shift", "vertical_flip", "horizontal_flip", "rotation",
    "scaling",  "noise",          "resize",           "low_pass",      "channel_dropout"};

/// The draws of one copy of one image, one after the other.
struct Draws {
  DrawKey key;
  uint64_t id, element;
  uint32_t bits() { return random_bits(key, id, element++); }
  /// 0 to n - 1.
  int32_t below(int64_t n) { return static_cast<int32_t>(bits() * static_cast<uint64_t>(n) >> 32); }
};

/// Appends 0, `count` different numbers of 1 to extent - 1 in order, and extent (Floyd's sampling).
void append_cuts(std::vector<int32_t>& table, int64_t extent, int64_t count, Draws& draws) {
  auto const first = static_cast<std::ptrdiff_t>(table.size());
  table.push_back(0);
  for (int64_t most = extent - count; most < extent; ++most) {
    int32_t const drawn = 1 + draws.below(most);
    bool const taken = std::find(table.begin() + first, table.end(), drawn) != table.end();
    table.push_back(taken ? static_cast<int32_t>(most) : drawn);
  }
  table.push_back(static_cast<int32_t>(extent));
  std::sort(table.begin() + first, table.end());
}

int32_t draw_parameter(BlockMove move, int32_t height, int32_t width, int64_t channels, Draws& draws) {
  if (move == BlockMove::vertical_shift) return draws.below(height);
  if (move == BlockMove::horizontal_shift) return draws.below(width);
  if (move == BlockMove::scaling) return static_cast<int32_t>(draws.bits() >> 8);
  if (move != BlockMove::channel_dropout) return 0;
  int32_t kept = 0;
  for (int64_t k = 0; k < channels; ++k) {
    bool const keep = static_cast<float>(draws.bits() >> 8) * (1.0f / 16777216.0f) >= block_dropout;
    kept |= static_cast<int32_t>(keep) << k;
  }
  return kept;
}

}  // namespace

std::vector<int32_t> draw_block_moves(const std::vector<int64_t>& ids, const DrawKey& key,
                                      const std::vector<BlockMove>& moves, const BlockCopies& s) {
  std::vector<int32_t> table;
  size_t const b = static_cast<size_t>(s.blocks);
  int64_t const draws_of_copy = 2 * (s.blocks - 1) + s.blocks * s.blocks * (1 + std::max<int64_t>(s.c, 1));
  for (int64_t id : ids) {
    for (int64_t copy = s.first; copy < s.first + s.count; ++copy) {
      Draws draws{key, static_cast<uint64_t>(id), static_cast<uint64_t>(copy * draws_of_copy)};
      size_t const rows = table.size(), columns = rows + b + 1;
      append_cuts(table, s.h, s.blocks - 1, draws);
      append_cuts(table, s.w, s.blocks - 1, draws);
      for (size_t i = 0; i < b; ++i) {
        for (size_t j = 0; j < b; ++j) {
          BlockMove const move = moves[static_cast<size_t>(draws.below(static_cast<int64_t>(moves.size())))];
          int32_t const height = table[rows + i + 1] - table[rows + i];
          int32_t const width = table[columns + j + 1] - table[columns + j];
          table.push_back(static_cast<int32_t>(move));
          table.push_back(draw_parameter(move, height, width, s.c, draws));
        }
      }
    }
  }
  return table;
}

std::vector<float> dirichlet_sums(int64_t most) {
  std::vector<float> sums;
  for (int64_t e = 1; e <= most; ++e) {
    double const odd = static_cast<double>(2 * kept_frequencies(e) - 1);
    for (int64_t a = 0; a < 2 * e; ++a) {
      double const half = std::numbers::pi * static_cast<double>(a) / static_cast<double>(2 * e);
      sums.push_back(static_cast<float>(a == 0 ? odd : std::sin(odd * half) / std::sin(half)));
    }
  }
  return sums;
}

std::vector<BlockMove> Sia::moves() const {
  std::vector<BlockMove> all;
  for (int i = 0; i < block_move_kinds; ++i)
    if (only == "any" ? i >= 1 && i <= (sia_ops == "10" ? 10 : 7) : only == move_names[i])
      all.push_back(static_cast<BlockMove>(i));
  return all;
}

Tensor Sia::estimate(GradientSource& source, MomentumStep& step) const {
  Tensor const& x = step.adv;
  int64_t const n = x.dim(0), h = x.dim(1), w = x.dim(2), c = x.dim(3);
  require(blocks <= h && blocks <= w, "attack sia: images of ", h, "x", w, " cannot be cut into ", blocks, "x", blocks,
          " blocks");
  require(c <= 31, "attack sia: images of ", c, " channels; it takes 31 at most");
  std::vector<BlockMove> const drawn = moves();
  bool const filtered = std::find(drawn.begin(), drawn.end(), BlockMove::low_pass) != drawn.end();
  Tensor& sums = step.memory;
  if (filtered && !sums.defined()) {
    int64_t const most = std::max(h, w);
    sums = Tensor::from(dirichlet_sums(most), {most * (most + 1)}, x.device());
  }
  return source.average(copies, [&](int64_t first, int64_t count) {
    BlockCopies const shape{.images = n, .first = first, .count = count, .h = h, .w = w, .c = c, .blocks = blocks};
    std::vector<int32_t> const host = draw_block_moves(source.ids(), step.key.with(Purpose::augment), drawn, shape);
    Tensor const table = Tensor::from(host, {static_cast<int64_t>(host.size())}, x.device());
    Tensor const copy = Tensor::empty({n * count, h, w, c}, DType::f32, x.device()), scratch = Tensor::empty_like(copy);
    auto const low_pass = [&](const Tensor& values) {
      if (!filtered) return;
      block_low_pass(x.stream(), scratch.data<float>(), values.data<float>(), table.data<int32_t>(), sums.data<float>(),
                     1, shape);
      block_low_pass(x.stream(), values.data<float>(), scratch.data<float>(), table.data<int32_t>(), sums.data<float>(),
                     0, shape);
    };
    block_moves_forward(x.stream(), copy.data<float>(), x.data<float>(), table.data<int32_t>(),
                        step.clean.ids.data<int64_t>(), step.key, shape);
    low_pass(copy);
    Tensor const gradients = source.gradient(copy, count);
    low_pass(gradients);
    block_moves_backward(x.stream(), copy.data<float>(), gradients.data<float>(), x.data<float>(),
                         table.data<int32_t>(), step.clean.ids.data<int64_t>(), step.key, shape);
    return std::vector{copy};
  });
}

void Sia::fields(Fields& f) {
  frame.fields(f);
  f.integer("copies", copies, "transformed copies of each image", 1, 10000);
  f.integer("blocks", blocks, "blocks of an image each way; 1: the whole image", 1, 64);
  f.text("sia_ops", sia_ops, "moves to draw from: 7, or 10 with resize, low_pass and channel_dropout", {"7", "10"});
  std::vector<std::string> choices{"any"};
  choices.insert(choices.end(), std::begin(move_names), std::end(move_names));
  f.text("only", only, "the one move to draw, for ablations", choices);
}

namespace {

const AttackRegistry::Add sia = register_momentum<Sia>({
    .name = Sia::name,
    .summary = "momentum steps on copies whose blocks are shifted, flipped, turned, scaled or disturbed one by one",
    .paper = "Wang, Zhang & Zhang, Structure invariant transformation for better adversarial transferability, "
             "ICCV 2023, algorithm 1",
    .rule = "g = 1/copies sum_i grad_x CE(f(B_i(x_t)), y)\n"
            "B_i: cut at blocks - 1 random rows and columns; in each block one of: cyclic shift by rows, by columns,\n"
            "  flip, mirror, turn by 180 degrees, times U(0, 1), plus U(-16/255, 16/255) clamped to [0, 1];\n"
            "  sia_ops=10: also resize to 0.8 and back, drop the highest 40 % cosines, drop channels with p = 0.1\n"
            "m_{t+1} = mu m_t + g / mean|g|\n"
            "x_{t+1} = P(x_t + alpha sign(m_{t+1})),  P: |x_t - x|_inf <= eps, then [0, 1]",
    .facts = {{"norm", "linf"},
              {"access", "transfer"},
              {"targeted", "yes"},
              {"draws", "cuts, moves, noise"},
              {"cost", "steps x copies gradients"}},
});

}  // namespace
}  // namespace mith
