// Cases of what the deep networks and autoencoders add, on their shapes: ViT-B's tokens, the feature maps of ResNet,
// U-Net and VGG, EfficientNet-B0's squeeze and excitation. On the checker one image is left of a batch.
#include "apps/bench/case_builder.h"
#include "kernels/launch/philox.h"
#include "kernels/map/activation.h"
#include "kernels/map/depth_to_space.h"
#include "kernels/map/interpolate.h"
#include "kernels/map/pool.h"
#include "kernels/row/column_groups.h"
#include "kernels/row/pair_loss.h"

namespace mith::bench {
namespace {

constexpr int64_t batch = 16, elements = 1 << 22, groups = 32;

/// A square feature map of each image of the batch, NHWC.
struct Map {
  int64_t side, channels;
  int64_t pixels() const { return side * side; }
  int64_t size() const { return pixels() * channels; }
  std::string text() const {
    std::string const s = std::to_string(side);
    return std::to_string(batch) + "x" + s + "x" + s + "x" + std::to_string(channels);
  }
};

template <class T>
void add_activations(std::vector<KernelCase>& cases, int priority) {
  struct Named {
    const char* name;
    Curve curve;
  };
  for (auto const& [name, curve] :
       {Named{"relu6", Curve::relu6}, Named{"leaky ReLU", Curve::leaky_relu}, Named{"sigmoid", Curve::sigmoid},
        Named{"tanh", Curve::tanh}, Named{"SiLU", Curve::silu}, Named{"GELU", Curve::gelu}}) {
    std::string const shape = std::string("4 Mi elements, ") + name;
    cases.push_back(make_case<Kernel<T*, const T*, Curve, double, int64_t>>(
        named<T>("activation_forward"), shape, priority, [c = curve](Operands& o, auto run) {
          int64_t const n = o.extent(elements);
          T *const y = o.empty<T>(n), *const x = o.values<T>(n);
          return [=] { run(y, x, c, 0.01, n); };
        }));
    cases.push_back(make_case<Kernel<T*, const T*, const T*, Curve, double, int64_t>>(
        named<T>("activation_backward"), shape, priority, [c = curve](Operands& o, auto run) {
          int64_t const n = o.extent(elements);
          T *const dx = o.empty<T>(n), *const dy = o.values<T>(n), *const kept = o.values<T>(n);
          return [=] { run(dx, dy, kept, c, 0.01, n); };
        }));
  }
}

template <class T>
void add_transformer(std::vector<KernelCase>& cases, int priority) {
  constexpr int64_t images = 8, tokens = 197, width = 768, heads = 12;
  std::string const shape = "8x197x768";
  cases.push_back(make_case<Kernel<T*, T*, T*, const T*, const T*, const T*, double, int64_t, int64_t>>(
      named<T>("layer_norm_forward"), shape, priority, [](Operands& o, auto run) {
        int64_t const n = o.extent(images * tokens);
        T *const y = o.empty<T>(n * width), *const mean = o.empty<T>(n), *const deviation = o.empty<T>(n);
        T *const x = o.values<T>(n * width), *const w = o.values<T>(width), *const b = o.values<T>(width);
        return [=] { run(y, mean, deviation, x, w, b, 1e-6, n, width); };
      }));
  cases.push_back(make_case<Kernel<T*, const T*, const T*, const T*, const T*, const T*, int64_t, int64_t>>(
      named<T>("layer_norm_backward"), shape, priority, [](Operands& o, auto run) {
        int64_t const n = o.extent(images * tokens);
        T *const dx = o.empty<T>(n * width), *const dy = o.values<T>(n * width), *const x = o.values<T>(n * width);
        T *const mean = o.values<T>(n), *const deviation = o.values<T>(n), *const w = o.values<T>(width);
        return [=] { run(dx, dy, x, mean, deviation, w, n, width); };
      }));
  cases.push_back(make_case<Kernel<double*, const T*, const T*, const T*, const T*, int64_t, int64_t>>(
      named<T>("layer_norm_backward_sums"), shape, priority, [](Operands& o, auto run) {
        int64_t const n = o.extent(images * tokens);
        double* const partial = o.empty<double>(2 * column_groups(n) * width);
        T *const dy = o.values<T>(n * width), *const x = o.values<T>(n * width);
        T *const mean = o.values<T>(n), *const deviation = o.values<T>(n);
        return [=] { run(partial, dy, x, mean, deviation, n, width); };
      }));
  cases.push_back(make_case<Kernel<T*, const T*, const T*, int64_t, int64_t>>(
      named<T>("softmax_backward"), "12x197x197", priority, [](Operands& o, auto run) {
        int64_t const n = o.extent(heads * tokens);
        T *const dx = o.empty<T>(n * tokens), *const dy = o.values<T>(n * tokens), *const y = o.values<T>(n * tokens);
        return [=] { run(dx, dy, y, n, tokens); };
      }));
  cases.push_back(make_case<Kernel<T*, const T*, int64_t, int64_t, int64_t>>(
      named<T>("swap_dimensions"), "197x36x64", priority, [](Operands& o, auto run) {
        int64_t const n = o.extent(tokens), parts = 3 * heads, size = width / heads;
        T *const y = o.empty<T>(n * parts * size), *const x = o.values<T>(n * parts * size);
        return [=] { run(y, x, n, parts, size); };
      }));
}

/// Gates, and the sums that lead to them.
template <class T>
void add_gates(std::vector<KernelCase>& cases, int priority) {
  Map const squeezed{56, 144};
  cases.push_back(make_case<Kernel<T*, const T*, const T*, int64_t, int64_t, int64_t>>(
      named<T>("channel_gate"), squeezed.text(), priority, [m = squeezed](Operands& o, auto run) {
        int64_t const n = o.extent(batch);
        T *const y = o.empty<T>(n * m.size()), *const x = o.values<T>(n * m.size());
        T* const gate = o.values<T>(n * m.channels);
        return [=] { run(y, x, gate, n, m.pixels(), m.channels); };
      }));
  cases.push_back(make_case<Kernel<T*, const T*, double, int64_t, int64_t, int64_t>>(
      named<T>("broadcast_pixels"), squeezed.text(), priority, [m = squeezed](Operands& o, auto run) {
        int64_t const n = o.extent(batch);
        T *const y = o.empty<T>(n * m.size()), *const x = o.values<T>(n * m.channels);
        return [=] { run(y, x, 0.5, n, m.pixels(), m.channels); };
      }));
  for (bool product : {false, true})
    cases.push_back(make_case<Kernel<double*, const T*, const T*, int64_t, int64_t, int64_t>>(
        named<T>("image_sums_partial"), squeezed.text() + (product ? ", products" : ""), priority,
        [m = squeezed, product](Operands& o, auto run) {
          int64_t const n = o.extent(batch);
          double* const partial = o.empty<double>(n * column_groups(m.pixels()) * m.channels);
          T *const x = o.values<T>(n * m.size()), *const other = product ? o.values<T>(n * m.size()) : nullptr;
          return [=] { run(partial, x, other, n, m.pixels(), m.channels); };
        }));
  cases.push_back(make_case<Kernel<T*, const double*, double, int64_t, int64_t, int64_t>>(
      named<T>("image_sums_total"), squeezed.text(), priority, [m = squeezed](Operands& o, auto run) {
        int64_t const n = o.extent(batch);
        T* const y = o.empty<T>(n * m.channels);
        double* const partial = o.values<double>(n * column_groups(m.pixels()) * m.channels);
        return [=] { run(y, partial, 0.5, n, m.pixels(), m.channels); };
      }));
}

/// Skip connections, biases and dropped branches.
template <class T>
void add_branches(std::vector<KernelCase>& cases, int priority) {
  Map const map{56, 64}, deep{14, 112}, colour{224, 3};
  cases.push_back(make_case<Kernel<T*, const T*, int64_t, int64_t, int64_t, int64_t>>(
      named<T>("copy_slice"), map.text() + " of 128 channels", priority, [m = map](Operands& o, auto run) {
        int64_t const n = o.extent(batch), joined = 2 * m.channels, rows = n * m.pixels();
        T *const y = o.values<T>(rows * joined), *const x = o.values<T>(rows * m.channels);
        return [=] { run(y, x, joined, m.channels, rows, m.channels); };
      }));
  cases.push_back(make_case<Kernel<T*, const T*, int64_t, int64_t>>(
      named<T>("add_bias"), map.text(), priority, [m = map](Operands& o, auto run) {
        int64_t const n = o.extent(batch);
        T *const y = o.values<T>(n * m.size()), *const bias = o.values<T>(m.channels);
        return [=] { run(y, bias, n * m.pixels(), m.channels); };
      }));
  cases.push_back(make_case<Kernel<T*, const T*, const int64_t*, DrawKey, double, int64_t, int64_t>>(
      named<T>("stochastic_depth"), deep.text(), priority, [m = deep](Operands& o, auto run) {
        int64_t const n = o.extent(batch);
        T *const y = o.empty<T>(n * m.size()), *const x = o.values<T>(n * m.size());
        int64_t* const ids = o.sequence<int64_t>(n);
        return [=] { run(y, x, ids, DrawKey{.seed = 1}, 0.2, n, m.size()); };
      }));
  cases.push_back(make_case<Kernel<T*, const T*, int64_t, int64_t>>(
      named<T>("sum_channels"), colour.text(), priority, [m = colour](Operands& o, auto run) {
        int64_t const n = o.extent(batch) * m.pixels();
        T *const y = o.empty<T>(n), *const x = o.values<T>(n * m.channels);
        return [=] { run(y, x, n, m.channels); };
      }));
}

template <class T>
void add_group_norm(std::vector<KernelCase>& cases, int priority) {
  Map const map{56, 128};
  std::string const shape = map.text() + " in 32 groups";
  auto const partial_of = [map](int64_t n) { return 2 * n * column_groups(map.pixels()) * map.channels; };
  cases.push_back(make_case<Kernel<double*, const T*, int64_t, int64_t, int64_t>>(
      named<T>("group_norm_statistics"), shape, priority, [m = map, partial_of](Operands& o, auto run) {
        int64_t const n = o.extent(batch);
        double* const partial = o.empty<double>(partial_of(n));
        T* const x = o.values<T>(n * m.size());
        return [=] { run(partial, x, n, m.pixels(), m.channels); };
      }));
  cases.push_back(make_case<Kernel<T*, T*, const double*, const T*, double, int64_t, int64_t, int64_t, int64_t>>(
      named<T>("group_norm_finish"), shape, priority, [m = map, partial_of](Operands& o, auto run) {
        int64_t const n = o.extent(batch);
        T *const mean = o.empty<T>(n * m.channels), *const deviation = o.empty<T>(n * m.channels);
        double* const partial = o.values<double>(partial_of(n));
        T* const x = o.values<T>(n * m.size());
        return [=] { run(mean, deviation, partial, x, 1e-5, n, groups, m.pixels(), m.channels); };
      }));
  cases.push_back(make_case<Kernel<T*, const T*, const T*, const T*, const T*, const T*, int64_t, int64_t, int64_t>>(
      named<T>("group_norm_forward"), shape, priority, [m = map](Operands& o, auto run) {
        int64_t const n = o.extent(batch);
        T *const y = o.empty<T>(n * m.size()), *const x = o.values<T>(n * m.size());
        T *const mean = o.values<T>(n * m.channels), *const deviation = o.values<T>(n * m.channels);
        T *const w = o.values<T>(m.channels), *const b = o.values<T>(m.channels);
        return [=] { run(y, x, mean, deviation, w, b, n, m.pixels(), m.channels); };
      }));
  cases.push_back(make_case<Kernel<double*, const T*, const T*, const T*, const T*, int64_t, int64_t, int64_t>>(
      named<T>("group_norm_backward_sums"), shape, priority, [m = map, partial_of](Operands& o, auto run) {
        int64_t const n = o.extent(batch);
        double* const partial = o.empty<double>(partial_of(n));
        T *const dy = o.values<T>(n * m.size()), *const x = o.values<T>(n * m.size());
        T *const mean = o.values<T>(n * m.channels), *const deviation = o.values<T>(n * m.channels);
        return [=] { run(partial, dy, x, mean, deviation, n, m.pixels(), m.channels); };
      }));
  cases.push_back(make_case<Kernel<T*, T*, const double*, const T*, int64_t, int64_t, int64_t, int64_t>>(
      named<T>("group_norm_backward_finish"), shape, priority, [m = map, partial_of](Operands& o, auto run) {
        int64_t const n = o.extent(batch);
        T *const sums = o.empty<T>(2 * n * m.channels), *const share = o.empty<T>(2 * n * m.channels);
        double* const partial = o.values<double>(partial_of(n));
        T* const w = o.values<T>(m.channels);
        return [=] { run(sums, share, partial, w, n, groups, m.pixels(), m.channels); };
      }));
  using Backward = Kernel<T*, const T*, const T*, const T*, const T*, const T*, const T*, int64_t, int64_t, int64_t>;
  cases.push_back(
      make_case<Backward>(named<T>("group_norm_backward"), shape, priority, [m = map](Operands& o, auto run) {
        int64_t const n = o.extent(batch);
        T *const dx = o.empty<T>(n * m.size()), *const dy = o.values<T>(n * m.size());
        T *const x = o.values<T>(n * m.size()), *const mean = o.values<T>(n * m.channels);
        T *const deviation = o.values<T>(n * m.channels), *const w = o.values<T>(m.channels);
        T* const share = o.values<T>(2 * n * m.channels);
        return [=] { run(dx, dy, x, mean, deviation, w, share, n, m.pixels(), m.channels); };
      }));
}

/// Maps of another size, forward and backward; the kernels take the Shape of the whole, then `rest`.
template <class T, class Shape, class... Rest>
void add_resized(std::vector<KernelCase>& cases, int priority, const std::string& kernel, Map from, int64_t side,
                 const std::string& how, Rest... rest) {
  std::string const shape = from.text() + how;
  for (bool forward : {true, false})
    cases.push_back(make_case<Kernel<T*, const T*, Shape, Rest...>>(
        named<T>(kernel + (forward ? "_forward" : "_backward")), shape, priority, [=](Operands& o, auto run) {
          Shape const s{
              .n = o.extent(batch), .h = from.side, .w = from.side, .c = from.channels, .oh = side, .ow = side};
          T* const to = o.empty<T>(forward ? s.outputs() : s.inputs());
          T* const of = o.values<T>(forward ? s.inputs() : s.outputs());
          return [=] { run(to, of, s, rest...); };
        }));
}

template <class T>
void add_sizes(std::vector<KernelCase>& cases, int priority) {
  add_resized<T, Pool2dShape>(cases, priority, "adaptive_avg_pool2d", {8, 512}, 7, " to 7x7");
  add_resized<T, ResizeShape>(cases, priority, "interpolate", {28, 128}, 56, " to 56x56, nearest",
                              Interpolation::nearest);
  add_resized<T, ResizeShape>(cases, priority, "interpolate", {28, 128}, 56, " to 56x56, bilinear",
                              Interpolation::bilinear);
  add_resized<T, ResizeShape>(cases, priority, "reflection_pad2d", {56, 64}, 58, " and a border of 1", int64_t(1),
                              int64_t(1));
}

template <class T>
void add_reconstruction_losses(std::vector<KernelCase>& cases, int priority) {
  Map const image{224, 3};
  struct Named {
    const char* name;
    PairLoss kind;
  };
  for (auto const& [name, kind] : {Named{"L1", PairLoss::l1}, Named{"squared error", PairLoss::mse},
                                   Named{"binary cross-entropy", PairLoss::bce_with_logits}}) {
    std::string const shape = image.text() + ", " + name;
    cases.push_back(make_case<Kernel<T*, const T*, const T*, PairLoss, int64_t, int64_t>>(
        named<T>("pair_loss_forward"), shape, priority, [m = image, k = kind](Operands& o, auto run) {
          int64_t const n = o.extent(batch);
          T *const loss = o.empty<T>(n), *const a = o.values<T>(n * m.size()), *const b = o.values<T>(n * m.size());
          return [=] { run(loss, a, b, k, n, m.size()); };
        }));
    cases.push_back(make_case<Kernel<T*, const T*, const T*, const T*, PairLoss, double, int64_t, int64_t>>(
        named<T>("pair_loss_backward"), shape, priority, [m = image, k = kind](Operands& o, auto run) {
          int64_t const n = o.extent(batch);
          T *const da = o.empty<T>(n * m.size()), *const dloss = o.values<T>(n);
          T *const a = o.values<T>(n * m.size()), *const b = o.values<T>(n * m.size());
          return [=] { run(da, dloss, a, b, k, 1.0, n, m.size()); };
        }));
  }
  cases.push_back(make_case<Kernel<T*, const T*, double, int64_t>>(
      named<T>("symmetric_sum"), "512x512", priority, [](Operands& o, auto run) {
        int64_t const n = o.extent(512);
        T *const y = o.empty<T>(n * n), *const x = o.values<T>(n * n);
        return [=] { run(y, x, 0.5, n); };
      }));
}

template <class T>
void add_all(std::vector<KernelCase>& cases, int priority) {
  add_transformer<T>(cases, priority);
  add_activations<T>(cases, priority);
  add_gates<T>(cases, priority);
  add_branches<T>(cases, priority);
  add_group_norm<T>(cases, priority);
  add_sizes<T>(cases, priority);
  add_reconstruction_losses<T>(cases, priority);
}

/// The passes of frozen networks.
template <class T>
void add_frozen(std::vector<KernelCase>& cases) {
  constexpr int64_t channels = 64;
  std::string const shape = "64 Ki x 64";
  using Forward = Kernel<T*, uint32_t*, const T*, const float*, const float*, bool, int64_t, int64_t, int64_t, int64_t>;
  cases.push_back(make_case<Forward>(named<T>("affine_relu_forward"), shape, 1, [](Operands& o, auto run) {
    int64_t const n = o.extent(65536);
    T *const y = o.empty<T>(n * channels), *const x = o.values<T>(n * channels);
    const float *const scale = o.values<float>(channels), *const shift = o.values<float>(channels);
    uint32_t* const signs = o.empty<uint32_t>((n + 31) / 32 * channels);
    return [=] { run(y, signs, x, scale, shift, true, n, channels, channels, channels); };
  }));
  using Backward = Kernel<T*, const T*, const uint32_t*, const float*, bool, int64_t, int64_t, int64_t, int64_t>;
  cases.push_back(make_case<Backward>(named<T>("affine_relu_backward"), shape, 1, [](Operands& o, auto run) {
    int64_t const n = o.extent(65536);
    T *const dx = o.empty<T>(n * channels), *const dy = o.values<T>(n * channels);
    const float* const scale = o.values<float>(channels);
    const uint32_t* const signs = o.sequence<uint32_t>((n + 31) / 32 * channels, 2654435761u);
    return [=] { run(dx, dy, signs, scale, false, n, channels, channels, channels); };
  }));
  using Spread = Kernel<T*, const T*, int64_t, int64_t, int64_t, int64_t, PixelBlocks>;
  std::string const spread_shape = "16 x 224x224x3 from 113x113x12";
  cases.push_back(make_case<Spread>(named<T>("depth_to_space"), spread_shape, 1, [](Operands& o, auto run) {
    int64_t const n = o.extent(16);
    T *const y = o.empty<T>(n * 224 * 224 * 3), *const x = o.values<T>(n * 113 * 113 * 12);
    return [=] { run(y, x, n, 224, 224, 3, PixelBlocks{.h = 113, .w = 113, .top = 1, .left = 1, .side = 2}); };
  }));
  for (bool const add : {false, true})
    cases.push_back(make_case<Kernel<T*, const T*, int64_t, int64_t, int64_t, int64_t, int64_t, bool>>(
        named<T>("spread_pixels"), add ? "added to 16x56x56x64" : "16x56x56x64", 1, [add](Operands& o, auto run) {
          int64_t const n = o.extent(16);
          T *const y = o.values<T>(n * 56 * 56 * channels), *const x = o.values<T>(n * 28 * 28 * channels);
          return [=] { run(y, x, n, 56, 56, channels, 2, add); };
        }));
}

}  // namespace

std::vector<KernelCase> network_cases() {
  std::vector<KernelCase> cases;
  add_frozen<float>(cases);
  add_frozen<bf16>(cases);
  add_activations<bf16>(cases, 2);
  add_gates<bf16>(cases, 2);
  add_all<float>(cases, 2);
  add_all<double>(cases, 9);
  return cases;
}

}  // namespace mith::bench
