// Cases of element-wise kernels, attacks' steps, rows and windows.
#include <algorithm>

#include "apps/bench/case_builder.h"
#include "kernels/launch/philox.h"
#include "kernels/map/pool.h"
#include "kernels/row/column_groups.h"

namespace mith::bench {
namespace {

constexpr int64_t elements = 1 << 22, images = 128, per_image = 3 * 64 * 64, channels = 64, rows = 1 << 16;
constexpr int64_t classes = 1000, logit_rows = 4096;

/// Kernels of n elements that read `inputs` arrays and write one.
template <class T, class... Rest>
KernelCase flat(const char* kernel, int priority, Rest... rest) {
  using K = Kernel<T*, const T*, Rest..., int64_t>;
  return make_case<K>(named<T>(kernel), "4 Mi elements", priority, [=](Operands& o, auto run) {
    int64_t const n = o.extent(elements);
    T *const y = o.values<T>(n), *const x = o.values<T>(n);
    return [=] { run(y, static_cast<const T*>(x), rest..., n); };
  });
}

template <class From, class To>
void add_cast(std::vector<KernelCase>& cases, int priority) {
  auto const name = std::string("cast_") + name_of(dtype_of<From>) + "_" + name_of(dtype_of<To>);
  cases.push_back(
      make_case<Kernel<To*, const From*, int64_t>>(name, "4 Mi elements", priority, [](Operands& o, auto run) {
        int64_t const n = o.extent(elements);
        auto* const y = o.empty<To>(n);
        const From* const x = o.values<From>(n);
        return [=] { run(y, x, n); };
      }));
}

template <class T>
using Binary = Kernel<T*, const T*, const T*, int64_t>;

/// Two operands of each element.
template <class T>
auto binary() {
  return [](Operands& o, auto run) {
    int64_t const n = o.extent(elements);
    T *const y = o.values<T>(n), *const a = o.values<T>(n), *const b = o.values<T>(n);
    return [=] { run(y, static_cast<const T*>(a), static_cast<const T*>(b), n); };
  };
}

template <class T>
void add_elementwise(std::vector<KernelCase>& cases, int priority) {
  for (const char* name : {"add", "multiply"})
    cases.push_back(make_case<Binary<T>>(named<T>(name), "4 Mi elements", priority + 1, binary<T>()));
  cases.push_back(with_plain<Binary<T>>(named<T>("relu_backward"), "4 Mi elements", priority, binary<T>()));
  cases.push_back(with_plain<Kernel<T*, const T*, int64_t>>(named<T>("relu_forward"), "4 Mi elements", priority,
                                                            [](Operands& o, auto run) {
                                                              int64_t const n = o.extent(elements);
                                                              T *const y = o.values<T>(n), *const x = o.values<T>(n);
                                                              return [=] { run(y, static_cast<const T*>(x), n); };
                                                            }));
  cases.push_back(flat<T, double>("scale", priority + 1, 1.5));
  cases.push_back(flat<T, double>("add_in_place", priority + 1, 0.5));
  cases.push_back(make_case<Kernel<T*, double, int64_t>>(named<T>("fill"), "4 Mi elements", priority + 1,
                                                         [](Operands& o, auto run) {
                                                           int64_t const n = o.extent(elements);
                                                           T* const y = o.empty<T>(n);
                                                           return [=] { run(y, 0.5, n); };
                                                         }));
  cases.push_back(make_case<Kernel<T*, const T*, double, int64_t, int64_t>>(
      named<T>("broadcast_rows"), "64 Ki x 64", priority + 1, [](Operands& o, auto run) {
        int64_t const n = o.extent(rows);
        T *const y = o.empty<T>(n * channels), *const x = o.values<T>(n);
        return [=] { run(y, static_cast<const T*>(x), 2.0, n, channels); };
      }));
  for (int64_t c : {int64_t(3), channels})
    cases.push_back(make_case<Kernel<T*, const T*, const T*, const T*, int64_t, int64_t>>(
        named<T>("channel_affine"), "4 Mi elements, " + std::to_string(c) + " channels", priority + 1,
        [c](Operands& o, auto run) {
          int64_t const n = o.extent(elements / c);
          T *const y = o.empty<T>(n * c), *const x = o.values<T>(n * c), *const a = o.values<T>(c),
                   *const b = o.values<T>(c);
          return [=] { run(y, static_cast<const T*>(x), static_cast<const T*>(a), static_cast<const T*>(b), n, c); };
        }));
  cases.push_back(make_case<Kernel<T*, const T*, const int64_t*, DrawKey, double, int64_t, int64_t>>(
      named<T>("dropout"), "128 images of 12288", priority + 1, [](Operands& o, auto run) {
        int64_t const n = o.extent(images);
        T *const y = o.empty<T>(n * per_image), *const x = o.values<T>(n * per_image);
        const int64_t* const ids = o.sequence<int64_t>(n);
        return [=] { run(y, static_cast<const T*>(x), ids, DrawKey{.seed = 1}, 0.3, n, per_image); };
      }));
  cases.push_back(make_case<Kernel<T*, T*, const T*, double, double, double, int, int, int64_t>>(
      named<T>("sgd_step"), "4 Mi parameters, momentum", priority, [](Operands& o, auto run) {
        int64_t const n = o.extent(elements);
        T *const v = o.values<T>(n), *const m = o.values<T>(n), *const g = o.values<T>(n);
        return [=] { run(v, m, static_cast<const T*>(g), 1e-3, 0.9, 1e-4, 0, 0, n); };
      }));
  using Adam = Kernel<T*, T*, T*, const T*, double, double, double, double, double, int, double, double, int64_t>;
  cases.push_back(with_plain<Adam>(named<T>("adam_step"), "4 Mi parameters", priority, [](Operands& o, auto run) {
    int64_t const n = o.extent(elements);
    T *const v = o.values<T>(n), *const m = o.values<T>(n), *const s = o.values<T>(n), *const g = o.values<T>(n);
    return [=] { run(v, m, s, static_cast<const T*>(g), 1e-3, 0.9, 0.999, 1e-8, 0.0, 0, 0.5, 0.5, n); };
  }));
}

template <class T>
void add_rows(std::vector<KernelCase>& cases, int priority) {
  std::string const wide = "64 Ki x 64", logits = "4096 x 1000";
  cases.push_back(make_case<Kernel<T*, const T*, double, int64_t, int64_t>>(
      named<T>("sum_chunks"), "4 Mi elements in 1024 chunks", priority + 1, [](Operands& o, auto run) {
        int64_t const n = o.extent(elements);
        T *const y = o.empty<T>(1024), *const x = o.values<T>(n);
        return [=] { run(y, static_cast<const T*>(x), 1.0, n, (n + 1023) / 1024); };
      }));
  cases.push_back(make_case<Kernel<double*, const T*, int64_t, int64_t>>(
      named<T>("column_sums_partial"), wide, priority + 1, [](Operands& o, auto run) {
        int64_t const n = o.extent(rows);
        double* const partial = o.empty<double>(column_groups(n) * channels);
        T* const x = o.values<T>(n * channels);
        return [=] { run(partial, static_cast<const T*>(x), n, channels); };
      }));
  cases.push_back(make_case<Kernel<T*, const double*, int64_t, int64_t>>(
      named<T>("column_sums_total"), "1024 groups of 64", priority + 1, [](Operands& o, auto run) {
        int64_t const groups = column_groups(o.extent(rows));
        T* const y = o.empty<T>(channels);
        const double* const partial = o.values<double>(groups * channels);
        return [=] { run(y, partial, groups, channels); };
      }));
  cases.push_back(make_case<Kernel<int64_t*, const T*, int64_t>>(named<T>("count_nan"), "4 Mi elements", priority + 1,
                                                                 [](Operands& o, auto run) {
                                                                   int64_t const n = o.extent(elements);
                                                                   auto* const count = o.sequence<int64_t>(1);
                                                                   const T* const x = o.values<T>(n);
                                                                   return [=] { run(count, x, n); };
                                                                 }));
  cases.push_back(make_case<Kernel<int32_t*, const T*, int64_t, int64_t>>(named<T>("argmax"), logits, priority + 1,
                                                                          [](Operands& o, auto run) {
                                                                            int64_t const n = o.extent(logit_rows);
                                                                            auto* const index = o.empty<int32_t>(n);
                                                                            const T* const x = o.values<T>(n * classes);
                                                                            return [=] { run(index, x, n, classes); };
                                                                          }));
  cases.push_back(make_case<Kernel<T*, const T*, int64_t, int64_t>>(
      named<T>("softmax"), logits, priority + 1, [](Operands& o, auto run) {
        int64_t const n = o.extent(logit_rows);
        T *const y = o.empty<T>(n * classes), *const x = o.values<T>(n * classes);
        return [=] { run(y, static_cast<const T*>(x), n, classes); };
      }));
  for (int64_t k : {int64_t(8), classes}) {
    std::string const shape = k == classes ? logits : "4096 x 8";
    cases.push_back(with_plain<Kernel<T*, const T*, const int32_t*, const T*, double, int64_t, int64_t>>(
        named<T>("cross_entropy_forward"), shape, priority, [k](Operands& o, auto run) {
          int64_t const n = o.extent(logit_rows);
          T *const loss = o.empty<T>(n), *const z = o.values<T>(n * k);
          const int32_t* const labels = o.sequence<int32_t>(n, 7, int32_t(k));
          return [=] { run(loss, static_cast<const T*>(z), labels, static_cast<const T*>(nullptr), 0.0, n, k); };
        }));
    cases.push_back(with_plain<Kernel<T*, const T*, const T*, const int32_t*, const T*, double, int, int64_t, int64_t>>(
        named<T>("cross_entropy_backward"), shape, priority, [k](Operands& o, auto run) {
          int64_t const n = o.extent(logit_rows);
          T *const dz = o.empty<T>(n * k), *const dloss = o.values<T>(n), *const z = o.values<T>(n * k);
          const int32_t* const labels = o.sequence<int32_t>(n, 7, int32_t(k));
          return [=] {
            run(dz, static_cast<const T*>(dloss), static_cast<const T*>(z), labels, static_cast<const T*>(nullptr), 0.0,
                0, n, k);
          };
        }));
  }
  cases.push_back(with_plain<Kernel<double*, const T*, int64_t, int64_t>>(
      named<T>("batch_norm_statistics"), wide, priority, [](Operands& o, auto run) {
        int64_t const n = o.extent(rows);
        double* const partial = o.empty<double>(2 * column_groups(n) * channels);
        T* const x = o.values<T>(n * channels);
        return [=] { run(partial, static_cast<const T*>(x), n, channels); };
      }));
  cases.push_back(make_case<Kernel<T*, T*, T*, T*, const double*, const T*, double, double, int64_t, int64_t>>(
      named<T>("batch_norm_finish"), wide, priority + 1, [](Operands& o, auto run) {
        int64_t const n = o.extent(rows);
        const double* const partial = o.values<double>(2 * column_groups(n) * channels);
        T *const mean = o.values<T>(channels), *const deviation = o.values<T>(channels),
                 *const running_mean = o.values<T>(channels), *const running_var = o.values<T>(channels),
                 *const x = o.values<T>(channels);
        return [=] {
          run(mean, deviation, running_mean, running_var, partial, static_cast<const T*>(x), 0.1, 1e-5, n, channels);
        };
      }));
  cases.push_back(make_case<Kernel<T*, const T*, double, int64_t>>(
      named<T>("batch_norm_inverse_std"), "64 channels", priority + 2, [](Operands& o, auto run) {
        T *const y = o.empty<T>(channels), *const x = o.values<T>(channels);
        return [=] { run(y, static_cast<const T*>(x), 1e-5, channels); };
      }));
  using Forward = Kernel<T*, const T*, const T*, const T*, const T*, const T*, const T*, bool, int64_t, int64_t>;
  cases.push_back(make_case<Forward>(named<T>("batch_norm_forward"), wide, priority, [](Operands& o, auto run) {
    int64_t const n = o.extent(rows);
    T *const y = o.empty<T>(n * channels), *const x = o.values<T>(n * channels);
    const T *const m = o.values<T>(channels), *const s = o.values<T>(channels), *const w = o.values<T>(channels),
                   *const b = o.values<T>(channels), *const residual = o.values<T>(n * channels);
    return [=] { run(y, static_cast<const T*>(x), m, s, w, b, residual, true, n, channels); };
  }));
  using Sums = Kernel<double*, const T*, const T*, const T*, const T*, const T*, const T*, bool, int64_t, int64_t>;
  cases.push_back(make_case<Sums>(named<T>("batch_norm_backward_sums"), wide, priority, [](Operands& o, auto run) {
    int64_t const n = o.extent(rows);
    double* const partial = o.empty<double>(2 * column_groups(n) * channels);
    const T *const dy = o.values<T>(n * channels), *const x = o.values<T>(n * channels),
                   *const m = o.values<T>(channels), *const s = o.values<T>(channels), *const w = o.values<T>(channels),
                   *const b = o.values<T>(channels);
    return [=] { run(partial, dy, x, m, s, w, b, true, n, channels); };
  }));
  using Backward =
      Kernel<T*, const T*, const T*, const T*, const T*, const T*, const T*, const T*, bool, int64_t, int64_t>;
  cases.push_back(make_case<Backward>(named<T>("batch_norm_backward"), wide, priority, [](Operands& o, auto run) {
    int64_t const n = o.extent(rows);
    T* const dx = o.empty<T>(n * channels);
    const T *const dy = o.values<T>(n * channels), *const x = o.values<T>(n * channels),
                   *const m = o.values<T>(channels), *const s = o.values<T>(channels), *const w = o.values<T>(channels),
                   *const b = o.values<T>(channels), *const sums = o.values<T>(2 * channels);
    return [=] { run(dx, dy, x, m, s, w, b, sums, true, n, channels); };
  }));
  cases.push_back(make_case<Kernel<T*, const T*, const T*, const T*, int64_t, int64_t>>(
      named<T>("batch_norm_backward_eval"), wide, priority, [](Operands& o, auto run) {
        int64_t const n = o.extent(rows);
        T* const dx = o.empty<T>(n * channels);
        const T *const dy = o.values<T>(n * channels), *const s = o.values<T>(channels),
                       *const w = o.values<T>(channels);
        return [=] { run(dx, dy, s, w, n, channels); };
      }));
}

/// Tiled 2x2 windows as the small networks have them, and overlapping 3x3 ones with stride 2 as ResNet's stem has.
struct Window {
  const char* shape;
  int64_t kernel, stride, pad;
  Pool2dShape shape_of(Operands& o) const {
    int64_t const side = 56, out = (side + 2 * pad - kernel) / stride + 1;
    return {o.extent(64), side, side, channels, out, out, kernel, kernel, stride, stride, pad, pad};
  }
};
constexpr Window windows[] = {{"64x56x56x64, window 2", 2, 2, 0}, {"64x56x56x64, window 3 stride 2", 3, 2, 1}};

template <class T>
void add_windows(std::vector<KernelCase>& cases, int priority) {
  for (Window const& w : windows) {
    cases.push_back(make_case<Kernel<T*, uint8_t*, const T*, Pool2dShape, bool>>(
        named<T>("max_pool2d_forward"), w.shape, priority, [w](Operands& o, auto run) {
          Pool2dShape const s = w.shape_of(o);
          T *const y = o.empty<T>(s.outputs()), *const x = o.values<T>(s.inputs());
          auto* const index = o.empty<uint8_t>(s.outputs());
          return [=] { run(y, index, static_cast<const T*>(x), s, false); };
        }));
    cases.push_back(make_case<Kernel<T*, const T*, const uint8_t*, Pool2dShape>>(
        named<T>("max_pool2d_backward"), w.shape, priority, [w](Operands& o, auto run) {
          Pool2dShape const s = w.shape_of(o);
          T *const dx = o.empty<T>(s.inputs()), *const dy = o.values<T>(s.outputs());
          const uint8_t* const index = o.sequence<uint8_t>(s.outputs(), 1, uint8_t(w.kernel * w.kernel));
          return [=] { run(dx, static_cast<const T*>(dy), index, s); };
        }));
    cases.push_back(make_case<Kernel<T*, const T*, Pool2dShape, int>>(
        named<T>("avg_pool2d_forward"), w.shape, priority + 1, [w](Operands& o, auto run) {
          Pool2dShape const s = w.shape_of(o);
          T *const y = o.empty<T>(s.outputs()), *const x = o.values<T>(s.inputs());
          return [=] { run(y, static_cast<const T*>(x), s, 1); };
        }));
    cases.push_back(make_case<Kernel<T*, const T*, Pool2dShape, int>>(
        named<T>("avg_pool2d_backward"), w.shape, priority + 1, [w](Operands& o, auto run) {
          Pool2dShape const s = w.shape_of(o);
          T *const dx = o.empty<T>(s.inputs()), *const dy = o.values<T>(s.outputs());
          return [=] { run(dx, static_cast<const T*>(dy), s, 1); };
        }));
  }
}

}  // namespace

std::vector<KernelCase> elementwise_cases() {
  std::vector<KernelCase> cases;
  add_elementwise<float>(cases, 1);
  add_elementwise<double>(cases, 8);
  cases.push_back(make_case<Binary<bf16>>(named<bf16>("add"), "4 Mi elements", 2, binary<bf16>()));
  add_cast<float, double>(cases, 8);
  add_cast<double, float>(cases, 8);
  add_cast<float, bf16>(cases, 2);
  add_cast<bf16, float>(cases, 2);
  cases.push_back(
      make_case<Kernel<float*, int64_t, int64_t, int64_t>>("relu_in_place", "64 Ki x 64", 2, [](Operands& o, auto run) {
        int64_t const n = o.extent(rows);
        auto* const y = o.values<float>(n * channels);
        return [=] { run(y, n, channels, channels); };
      }));
  return cases;
}

std::vector<KernelCase> attack_cases() {
  std::vector<KernelCase> cases;
  std::string const shape = "128 images of 12288";
  cases.push_back(with_plain<Kernel<float*, const float*, const float*, float, float, int64_t*, int64_t>>(
      "linf_sign_step", shape, 0, [](Operands& o, auto run) {
        int64_t const n = o.extent(images) * per_image;
        auto* const adv = o.values<float>(n);
        const float *const x = o.values<float>(n), *const g = o.values<float>(n);
        auto* const bad = o.sequence<int64_t>(1);
        return [=] { run(adv, x, g, 2 / 255.f, 8 / 255.f, bad, n); };
      }));
  cases.push_back(
      with_plain<Kernel<float*, const float*, float, int64_t>>("linf_project", shape, 0, [](Operands& o, auto run) {
        int64_t const n = o.extent(images) * per_image;
        auto* const adv = o.values<float>(n);
        const float* const x = o.values<float>(n);
        return [=] { run(adv, x, 8 / 255.f, n); };
      }));
  for (const char* name : {"linf_random_start", "sign_noise", "gaussian_noise"})
    cases.push_back(make_case<Kernel<float*, const float*, const int64_t*, DrawKey, float, int64_t, int64_t>>(
        name, shape, 1, [](Operands& o, auto run) {
          int64_t const n = o.extent(images);
          auto* const adv = o.empty<float>(n * per_image);
          const float* const x = o.values<float>(n * per_image);
          const int64_t* const ids = o.sequence<int64_t>(n);
          return [=] { run(adv, x, ids, DrawKey{.seed = 1}, 8 / 255.f, n, per_image); };
        }));
  cases.push_back(with_plain<Kernel<float*, const float*, const float*, const int64_t*, DrawKey, float, float, int64_t*,
                                    int64_t, int64_t>>("l2_normalized_step", shape, 0, [](Operands& o, auto run) {
    int64_t const n = o.extent(images);
    auto* const adv = o.values<float>(n * per_image);
    const float *const x = o.values<float>(n * per_image), *const g = o.values<float>(n * per_image);
    const int64_t* const ids = o.sequence<int64_t>(n);
    auto* const bad = o.sequence<int64_t>(1);
    return [=] { run(adv, x, g, ids, DrawKey{.seed = 1}, 0.1f, 0.5f, bad, n, per_image); };
  }));
  cases.push_back(make_case<Kernel<float*, const float*, const int64_t*, DrawKey, float, int, int64_t, int64_t>>(
      "l2_random_start", shape, 1, [](Operands& o, auto run) {
        int64_t const n = o.extent(images);
        auto* const adv = o.empty<float>(n * per_image);
        const float* const x = o.values<float>(n * per_image);
        const int64_t* const ids = o.sequence<int64_t>(n);
        return [=] { run(adv, x, ids, DrawKey{.seed = 1}, 0.5f, 1, n, per_image); };
      }));
  for (const char* name : {"linf_distance", "l2_distance"})
    cases.push_back(make_case<Kernel<float*, const float*, const float*, int64_t, int64_t>>(
        name, shape, 1, [](Operands& o, auto run) {
          int64_t const n = o.extent(images);
          auto* const out = o.empty<float>(n);
          const float *const a = o.values<float>(n * per_image), *const b = o.values<float>(n * per_image);
          return [=] { run(out, a, b, n, per_image); };
        }));
  using ImageBatch = Kernel<const uint8_t*, const int64_t*, const int64_t*, float*, int64_t, int64_t, int64_t, int64_t,
                            bool, float, DrawKey>;
  for (bool augment : {false, true})
    cases.push_back(make_case<ImageBatch>("image_batch", augment ? "128x64x64x3, turned" : "128x64x64x3", 1,
                                          [augment](Operands& o, auto run) {
                                            int64_t const n = o.extent(images);
                                            const uint8_t* const pixels = o.sequence<uint8_t>(n * per_image);
                                            const int64_t* const ids = o.sequence<int64_t>(n);
                                            auto* const out = o.empty<float>(n * per_image);
                                            return [=] {
                                              run(pixels, ids, ids, out, n, int64_t(64), int64_t(64), int64_t(3),
                                                  augment, augment ? 0.2f : 0.0f, DrawKey{.seed = 1});
                                            };
                                          }));
  return cases;
}

std::vector<KernelCase> row_cases() {
  std::vector<KernelCase> cases;
  add_rows<float>(cases, 1);
  add_rows<double>(cases, 8);
  struct Mover {
    const char* name;
    int64_t bytes;
  };
  for (Mover const& m : {Mover{"gather_rows_1", 1}, Mover{"gather_rows_4", 4}, Mover{"gather_rows_8", 8},
                         Mover{"scatter_rows_1", 1}, Mover{"scatter_rows_4", 4}, Mover{"scatter_rows_8", 8}})
    cases.push_back(make_case<Kernel<void*, const void*, const int64_t*, int64_t, int64_t>>(
        m.name, "128 rows of 12288", 2, [m](Operands& o, auto run) {
          int64_t const n = o.extent(images);
          auto* const y = o.empty<uint8_t>(n * per_image * m.bytes);
          const uint8_t* const x = o.sequence<uint8_t>(n * per_image * m.bytes);
          const int64_t* const order = o.sequence<int64_t>(n);
          return [=] { run(static_cast<void*>(y), static_cast<const void*>(x), order, n, per_image); };
        }));
  return cases;
}

std::vector<KernelCase> window_cases() {
  std::vector<KernelCase> cases;
  add_windows<float>(cases, 1);
  add_windows<double>(cases, 8);
  add_windows<bf16>(cases, 2);
  return cases;
}

}  // namespace mith::bench
