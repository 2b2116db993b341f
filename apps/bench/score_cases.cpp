// Cases of the kernels of attacks on scores and on few pixels.
#include <algorithm>

#include "apps/bench/case_builder.h"
#include "attacks/square.h"
#include "kernels/launch/philox.h"
#include "kernels/map/basis_step.h"
#include "kernels/row/jsma.h"
#include "kernels/row/square.h"

namespace mith::bench {
namespace {

constexpr int64_t images = 128, side = 64, c = 3, per_image = side * side * c;
constexpr char shape[] = "128x64x64x3";

template <class T>
const int32_t* upload(Operands& o, const std::vector<T>& table) {
  int64_t const count = static_cast<int64_t>(table.size() * sizeof(T) / sizeof(int32_t));
  auto* const device = o.empty<int32_t>(count);
  copy_bytes(o.stream, device, table.data(), table.size() * sizeof(T), Copy::host_to_device);
  return device;
}

/// Windows of a quarter of the image, in different places.
const int32_t* windows(Operands& o, int64_t n) {
  std::vector<SquareMove> moves;
  for (int32_t i = 0; i < n; ++i) {
    SquareWindows const at{i % 32, i * 5 % 32, i * 3 % 32, i * 7 % 32, 31};
    moves.push_back({.accepted = i % 2, .last = at, .next = {i * 3 % 32, i % 32, i * 5 % 32, i * 9 % 32, 31}});
  }
  return upload(o, moves);
}

void add_square(std::vector<KernelCase>& cases) {
  cases.push_back(make_case<Kernel<float*, float*, const int32_t*, int64_t, int64_t, int64_t, int64_t>>(
      "square_settle", std::string(shape) + ", windows of a quarter", 1, [](Operands& o, auto run) {
        int64_t const n = o.extent(images);
        auto *const candidate = o.values<float>(n * per_image), *const best = o.values<float>(n * per_image);
        const int32_t* const moves = windows(o, n);
        return [=] { run(candidate, best, moves, n, side, side, c); };
      }));
  cases.push_back(make_case<Kernel<float*, const float*, const float*, const int64_t*, const int32_t*, DrawKey, int64_t,
                                   float, int64_t, int64_t, int64_t, int64_t>>(
      "square_linf_window", std::string(shape) + ", windows of a quarter", 1, [](Operands& o, auto run) {
        int64_t const n = o.extent(images);
        auto *const candidate = o.values<float>(n * per_image), *const best = o.values<float>(n * per_image);
        const float* const x = o.values<float>(n * per_image);
        const int64_t* const ids = o.sequence<int64_t>(n);
        const int32_t* const moves = windows(o, n);
        return [=] { run(candidate, best, x, ids, moves, DrawKey{.seed = 1}, int64_t(3), 0.05f, n, side, side, c); };
      }));
  cases.push_back(make_case<Kernel<float*, const float*, const float*, const float*, const int64_t*, const int32_t*,
                                   DrawKey, int64_t, float, int64_t, int64_t, int64_t, int64_t>>(
      "square_l2_window", std::string(shape) + ", windows of a quarter", 1, [](Operands& o, auto run) {
        int64_t const n = o.extent(images);
        auto *const candidate = o.values<float>(n * per_image), *const best = o.values<float>(n * per_image);
        const float *const x = o.values<float>(n * per_image), *const bump = o.values<float>(31 * 31);
        const int64_t* const ids = o.sequence<int64_t>(n);
        const int32_t* const moves = windows(o, n);
        return
            [=] { run(candidate, best, x, bump, ids, moves, DrawKey{.seed = 1}, int64_t(3), 1.0f, n, side, side, c); };
      }));
  cases.push_back(make_case<Kernel<float*, const float*, const float*, const int64_t*, DrawKey, float, int64_t, int64_t,
                                   int64_t, int64_t, int64_t>>("square_l2_start", shape, 2, [](Operands& o, auto run) {
    int64_t const n = o.extent(images);
    auto* const adv = o.empty<float>(n * per_image);
    const float *const x = o.values<float>(n * per_image), *const bump = o.values<float>(12 * 12);
    const int64_t* const ids = o.sequence<int64_t>(n);
    return [=] { run(adv, x, bump, ids, DrawKey{.seed = 1}, 0.1f, int64_t(12), n, side, side, c); };
  }));
}

void add_moves(std::vector<KernelCase>& cases) {
  cases.push_back(make_case<Kernel<float*, const float*, const float*, int64_t, int64_t, int64_t>>(
      "add_columns", shape, 1, [](Operands& o, auto run) {
        int64_t const n = o.extent(images);
        auto* const out = o.empty<float>(n * per_image);
        const float *const x = o.values<float>(n * per_image), *const v = o.values<float>(n * side * c);
        return [=] { run(out, x, v, n, side, side * c); };
      }));
  cases.push_back(make_case<Kernel<float*, const float*, float, float, int64_t*, int64_t, int64_t, int64_t>>(
      "column_sign_step", shape, 2, [](Operands& o, auto run) {
        int64_t const n = o.extent(images);
        auto* const v = o.values<float>(n * side * c);
        const float* const g = o.values<float>(n * per_image);
        auto* const bad = o.sequence<int64_t>(1);
        return [=] { run(v, g, 0.01f, 0.05f, bad, n, side, side * c); };
      }));
  cases.push_back(make_case<Kernel<float*, float*, const void*, const float*, const float*, int64_t, int64_t, int64_t>>(
      "basis_step", shape, 1, [](Operands& o, auto run) {
        int64_t const n = o.extent(images), cols = side * c;
        auto *const candidate = o.empty<float>(n * per_image), *const state = o.values<float>(n * per_image);
        const float *const rows = o.values<float>(side * side), *const columns = o.values<float>(cols * cols);
        std::vector<BasisMove> moves;
        moves.reserve(static_cast<size_t>(n));
        for (int32_t i = 0; i < n; ++i)
          moves.push_back({.taken = {i % 64, i, i % 2 ? 1e-6f : 0.0f}, .tried = {i * 3 % 64, i, 0.2f}});
        const int32_t* const table = upload(o, moves);
        return [=] { run(candidate, state, static_cast<const void*>(table), rows, columns, n, side, cols); };
      }));
  cases.push_back(make_case<Kernel<float*, const int32_t*, const float*, int64_t, int64_t, int64_t, int64_t>>(
      "write_pixels", std::string(shape) + ", 5 pixels", 2, [](Operands& o, auto run) {
        int64_t const n = o.extent(images);
        auto* const x = o.values<float>(n * per_image);
        const int32_t* const places = o.sequence<int32_t>(n * 5, 97, int32_t(side * side));
        const float* const values = o.values<float>(n * 5 * c);
        return [=] { run(x, places, values, n, int64_t(5), side * side, c); };
      }));
}

/// One image of 224 x 224 x 3.
constexpr char one_image[] = "1 image of 150528";

void add_jsma(std::vector<KernelCase>& cases) {
  auto const features = [](Operands& o) { return o.extent(224 * 224 * c); };
  cases.push_back(make_case<Kernel<float*, float*, const float*, const float*, const float*, const float*, float,
                                   int64_t*, int64_t>>("jsma_gradients", one_image, 2, [=](Operands& o, auto run) {
    int64_t const d = features(o);
    auto *const a = o.empty<float>(d), *const b = o.empty<float>(d);
    const float *const x = o.values<float>(d), *const target = o.values<float>(d), *const sum = o.values<float>(d);
    auto* const bad = o.sequence<int64_t>(1);
    return [=] { run(a, b, x, x, target, sum, 1.0f, bad, d); };
  }));
  cases.push_back(make_case<Kernel<float*, float*, int64_t, int64_t, int64_t>>(
      "jsma_pool", one_image, 2, [=](Operands& o, auto run) {
        int64_t const d = features(o);
        auto *const a = o.values<float>(d), *const b = o.values<float>(d);
        return [=] { run(a, b, int64_t(1000), int64_t(1), d); };
      }));
  cases.push_back(make_case<Kernel<float*, const float*, const float*, int64_t, int64_t>>(
      "jsma_bounds", one_image, 2, [=](Operands& o, auto run) {
        int64_t const d = features(o);
        auto* const bounds = o.empty<float>(jsma_bounds_size(d));
        const float *const a = o.values<float>(d), *const b = o.values<float>(d);
        return [=] { run(bounds, a, b, int64_t(1), d); };
      }));
  cases.push_back(make_case<Kernel<float*, int64_t*, const float*, const float*, const float*, int64_t, int64_t>>(
      "jsma_pairs", "1 image of 32768, every pair", 1, [](Operands& o, auto run) {
        int64_t const d = o.extent(32768);
        auto* const values = o.empty<float>(jsma_chunks(d));
        auto* const pairs = o.empty<int64_t>(jsma_chunks(d));
        const float *const a = o.values<float>(d), *const b = o.values<float>(d);
        // Honest bounds of all of them would leave out nearly every pair; these leave out none.
        std::vector<float> loose(static_cast<size_t>(jsma_bounds_size(d)), 10);
        loose.back() = 0;
        auto* const bounds = o.empty<float>(jsma_bounds_size(d));
        copy_bytes(o.stream, bounds, loose.data(), loose.size() * sizeof(float), Copy::host_to_device);
        return [=] { run(values, pairs, a, b, static_cast<const float*>(bounds), int64_t(1), d); };
      }));
  cases.push_back(make_case<Kernel<float*, int64_t*, const float*, const int64_t*, float, int64_t, int64_t>>(
      "jsma_move", one_image, 2, [=](Operands& o, auto run) {
        int64_t const d = features(o);
        auto* const adv = o.values<float>(d);
        auto* const moved = o.empty<int64_t>(1);
        const float* const values = o.values<float>(jsma_chunks(d));
        const int64_t* const pairs = o.sequence<int64_t>(jsma_chunks(d), 1, d);
        return [=] { run(adv, moved, values, pairs, 1e-6f, int64_t(1), d); };
      }));
}

}  // namespace

std::vector<KernelCase> score_cases() {
  std::vector<KernelCase> cases;
  add_square(cases);
  add_moves(cases);
  add_jsma(cases);
  return cases;
}

}  // namespace mith::bench
