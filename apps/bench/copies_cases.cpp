// Cases of the kernels behind Adam inside attacks and behind attacks that look at altered copies of each image.
#include <numeric>

#include "apps/bench/case_builder.h"
#include "attacks/sia.h"
#include "kernels/launch/philox.h"
#include "kernels/map/mixed_copies.h"
#include "kernels/map/random_style.h"

namespace mith::bench {
namespace {

constexpr int64_t images = 16, per_image = 64 * 64 * 3;

const std::string shape = "16 images of 64x64x3, 15 copies";

void add_mixes(std::vector<KernelCase>& cases) {
  auto const shape_of = [](Operands& o) {
    return MixedCopies{
        .images = o.extent(images), .first = 0, .count = 15, .draws = 3, .scales = 5, .per_image = per_image};
  };
  cases.push_back(make_case<Kernel<float*, const float*, const float*, const int64_t*, float, MixedCopies>>(
      "scaled_mixes", shape, 1, [shape_of](Operands& o, auto run) {
        MixedCopies const s = shape_of(o);
        auto* const out = o.empty<float>(s.rows() * per_image);
        const float *const x = o.values<float>(s.images * per_image), *const pool = o.values<float>(8 * per_image);
        const int64_t* const partners = o.sequence<int64_t>(3 * s.images, 3, 8);
        return [=] { run(out, x, pool, partners, 0.2f, s); };
      }));
  for (const char* name : {"masked_mixes", "masked_mixes_back"})
    cases.push_back(make_case<Kernel<float*, const float*, const float*, const int64_t*, MixMask, MixedCopies>>(
        name, shape, 1, [shape_of](Operands& o, auto run) {
          MixedCopies const s = shape_of(o);
          auto* const out = o.values<float>(s.rows() * per_image);
          const float *const x = o.values<float>(s.images * per_image), *const pool = o.values<float>(8 * per_image);
          const int64_t* const partners = o.sequence<int64_t>(3 * s.images, 3, 8);
          return [=] { run(out, x, pool, partners, MixMask{0.1f, 0.75f, 0.5f}, s); };
        }));
}

/// Sixteen images in nine blocks each, every move among them.
struct Blocks {
  BlockCopies shape;
  const int32_t* table;
  const int64_t* ids;
  explicit Blocks(Operands& o)
      : shape{.images = o.extent(images), .first = 0, .count = 15, .h = 64, .w = 64, .c = 3, .blocks = 3} {
    std::vector<int64_t> numbers(static_cast<size_t>(shape.images));
    std::iota(numbers.begin(), numbers.end(), int64_t{0});
    table = o.copied(draw_block_moves(numbers, DrawKey{.seed = 1}, Sia{.sia_ops = "10"}.moves(), shape));
    ids = o.copied(numbers);
  }
  int64_t values() const { return shape.pixels() * shape.c; }
};

void add_block_moves(std::vector<KernelCase>& cases) {
  cases.push_back(make_case<Kernel<float*, const float*, const int32_t*, const int64_t*, DrawKey, BlockCopies>>(
      "block_moves_forward", shape, 1, [](Operands& o, auto run) {
        Blocks const b(o);
        auto* const out = o.empty<float>(b.values());
        const float* const x = o.values<float>(b.shape.images * per_image);
        return [=] { run(out, x, b.table, b.ids, DrawKey{.seed = 1}, b.shape); };
      }));
  cases.push_back(
      make_case<Kernel<float*, const float*, const float*, const int32_t*, const int64_t*, DrawKey, BlockCopies>>(
          "block_moves_backward", shape, 1, [](Operands& o, auto run) {
            Blocks const b(o);
            auto* const out = o.empty<float>(b.values());
            const float *const g = o.values<float>(b.values()), *const x = o.values<float>(b.shape.images * per_image);
            return [=] { run(out, g, x, b.table, b.ids, DrawKey{.seed = 1}, b.shape); };
          }));
  cases.push_back(make_case<Kernel<float*, const float*, const int32_t*, const float*, int, BlockCopies>>(
      "block_low_pass", shape, 2, [](Operands& o, auto run) {
        Blocks const b(o);
        auto* const out = o.values<float>(b.values());
        const float *const in = o.values<float>(b.values()), *const sums = o.copied(dirichlet_sums(64));
        return [=] { run(out, in, b.table, sums, 1, b.shape); };
      }));
}

void add_styles(std::vector<KernelCase>& cases) {
  auto const shape_of = [](Operands& o) {
    return StyledCopies{
        .images = o.extent(images), .first = 0, .count = 15, .copies = 15, .convolved = 8, .h = 64, .w = 64, .c = 3};
  };
  DrawKey const key{.seed = 1};
  cases.push_back(make_case<Kernel<float*, const int64_t*, DrawKey, StyledCopies>>(
      "random_filters", shape, 2, [=](Operands& o, auto run) {
        StyledCopies const s = shape_of(o);
        auto* const filters = o.empty<float>(s.images * s.convolved * s.filter());
        const int64_t* const ids = o.sequence<int64_t>(s.images);
        return [=] { run(filters, ids, key, s); };
      }));
  cases.push_back(make_case<Kernel<float*, const float*, const float*, StyledCopies>>(
      "random_convolution", shape + ", half of them, 1x1 to 7x7", 1, [=](Operands& o, auto run) {
        StyledCopies const s = shape_of(o);
        auto* const out = o.empty<float>(s.images * s.convolved * per_image);
        const float* const x = o.values<float>(s.images * per_image);
        std::vector<float> filters(static_cast<size_t>(s.images * s.convolved * s.filter()), 0.1f);
        for (int64_t i = 0; i < s.images * s.convolved; ++i)
          filters[static_cast<size_t>(i * s.filter())] = static_cast<float>(1 + 2 * (i % 4));
        const float* const weights = o.copied(filters);
        return [=] { run(out, x, weights, s); };
      }));
  cases.push_back(make_case<Kernel<float*, float*, const float*, int64_t, int64_t, int64_t>>(
      "channel_moments", "128 images of 64x64x3", 1, [](Operands& o, auto run) {
        int64_t const n = o.extent(128);
        auto *const mean = o.empty<float>(3 * n), *const deviation = o.empty<float>(3 * n);
        const float* const x = o.values<float>(n * per_image);
        return [=] { run(mean, deviation, x, n, int64_t(64 * 64), int64_t(3)); };
      }));
  using Maps = Kernel<float*, const float*, const float*, const float*, const float*, const float*, const float*,
                      const int64_t*, const int64_t*, DrawKey, float, StyledCopies>;
  cases.push_back(make_case<Maps>("style_maps", shape, 3, [=](Operands& o, auto run) {
    StyledCopies const s = shape_of(o);
    auto* const maps = o.empty<float>(s.rows() * 2 * s.c);
    const float *const own = o.values<float>(s.images * s.c), *const convolved = o.values<float>(s.rows() * s.c);
    const int64_t *const partners = o.sequence<int64_t>(s.rows(), 1, s.images), *const ids =
                                                                                    o.sequence<int64_t>(s.images);
    return [=] { run(maps, own, own, convolved, convolved, own, own, partners, ids, key, 0.1f, s); };
  }));
  using Styled =
      Kernel<float*, const float*, const float*, const float*, const int64_t*, DrawKey, StyleMix, StyledCopies>;
  cases.push_back(make_case<Styled>("styled_copies", shape, 1, [=](Operands& o, auto run) {
    StyledCopies const s = shape_of(o);
    auto* const out = o.empty<float>(s.rows() * per_image);
    const float *const x = o.values<float>(s.images * per_image),
                       *const convolved = o.values<float>(s.images * s.convolved * per_image),
                       *const maps = o.values<float>(s.rows() * 2 * s.c);
    const int64_t* const ids = o.sequence<int64_t>(s.images);
    return [=] { run(out, x, convolved, maps, ids, key, StyleMix{0.5f, 0.1f}, s); };
  }));
}

}  // namespace

std::vector<KernelCase> copies_cases() {
  std::vector<KernelCase> cases;
  cases.push_back(
      make_case<Kernel<float*, float*, float*, const float*, double, double, double, double, int64_t, float, float,
                       int64_t*, int64_t>>("adam_ascent_clamp", "128 images of 12288", 1, [](Operands& o, auto run) {
        int64_t const n = o.extent(128) * per_image;
        float *const value = o.values<float>(n), *const m = o.values<float>(n), *const v = o.values<float>(n);
        const float* const g = o.values<float>(n);
        auto* const bad = o.sequence<int64_t>(1);
        return [=] { run(value, m, v, g, 0.01, 0.9, 0.999, 1e-8, int64_t(3), 0.0f, 1.0f, bad, n); };
      }));
  add_mixes(cases);
  add_block_moves(cases);
  add_styles(cases);
  return cases;
}

}  // namespace mith::bench
