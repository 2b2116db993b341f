// bf16: rounding, the passes against those of f32, products against f32 sums of the same operands.
#include <algorithm>
#include <bit>

#include "kernels/launch/table.h"
#include "kernels/map/activation.h"
#include "kernels/map/depth_to_space.h"
#include "kernels/providers/fixed_weights.h"
#include "kernels/row/column_groups.h"
#include "tests/pool_windows.h"
#include "tests/provider_fixtures.h"

using namespace mith;
using namespace mith::provider_tests;

namespace {

template <class T>
const Kernel<T*, uint32_t*, const T*, const float*, const float*, bool, int64_t, int64_t, int64_t, int64_t>
    affine_relu_forward{"affine_relu_forward", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, const uint32_t*, const float*, bool, int64_t, int64_t, int64_t, int64_t>
    affine_relu_backward{"affine_relu_backward", dtype_of<T>};
template <class T>
const Kernel<T*, uint8_t*, const T*, Pool2dShape, bool> max_forward{"max_pool2d_forward", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, const uint8_t*, Pool2dShape> max_backward{"max_pool2d_backward", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, const T*, int64_t> add{"add", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, int64_t, int64_t, int64_t, int64_t, PixelBlocks> depth_to_space{"depth_to_space",
                                                                                           dtype_of<T>};
template <class T>
const Kernel<T*, const T*, Pool2dShape, int> average_forward{"avg_pool2d_forward", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, Pool2dShape, int> average_backward{"avg_pool2d_backward", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, Curve, double, int64_t> curve_forward{"activation_forward", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, const T*, Curve, double, int64_t> curve_backward{"activation_backward", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, const T*, int64_t, int64_t, int64_t> channel_gate{"channel_gate", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, double, int64_t, int64_t, int64_t> broadcast_pixels{"broadcast_pixels", dtype_of<T>};
template <class T>
const Kernel<double*, const T*, const T*, int64_t, int64_t, int64_t> image_sums_partial{"image_sums_partial",
                                                                                        dtype_of<T>};
template <class T>
const Kernel<T*, const double*, double, int64_t, int64_t, int64_t> image_sums_total{"image_sums_total", dtype_of<T>};
template <class T>
const Kernel<T*, const T*, int64_t, int64_t, int64_t, int64_t, int64_t, bool> spread_pixels{"spread_pixels",
                                                                                            dtype_of<T>};
const Kernel<bf16*, const float*, int64_t> to_bf16{"cast_f32_bf16"};
const Kernel<float*, const bf16*, int64_t> to_f32{"cast_bf16_f32"};

std::vector<float> magnitudes(std::vector<float> values) {
  for (float& v : values) v = std::abs(v);
  return values;
}
float float_of(uint32_t bits) { return std::bit_cast<float>(bits); }
template <class T, class From>
std::vector<T> as(const std::vector<From>& values) {
  std::vector<T> cast;
  cast.reserve(values.size());
  for (From const v : values) cast.push_back(T(v));
  return cast;
}
/// Normal draws that bf16 can hold.
std::vector<float> rounded_normals(int64_t n, uint64_t seed) { return as<float>(as<bf16>(normals<float>(n, seed))); }

/// A result and what was kept beside it.
struct Result {
  std::vector<float> values;
  std::vector<unsigned char> kept;
};

/// What `run(T(), y, kept)` writes for elements of T.
template <class Run>
Result result(bool narrow, int64_t elements, size_t kept_bytes, Run run) {
  auto const of = [&]<class T>(T element) {
    Buffer const y(static_cast<size_t>(elements) * sizeof(T), 0), kept(kept_bytes, 0);
    run(element, y.data(), kept.data());
    synchronize(stream());
    CHECK(y.guarded());
    CHECK(kept.guarded());
    auto const values = y.template read<T>();
    return Result{{values.begin(), values.end()}, kept.read<unsigned char>()};
  };
  return narrow ? of(bf16()) : of(float());
}

/// The bf16 kernel gives what the f32 kernel gives, rounded.
template <class Run>
void check_rounded(int64_t elements, size_t kept_bytes, Run run) {
  Result const narrow = result(true, elements, kept_bytes, run), wide = result(false, elements, kept_bytes, run);
  CHECK(narrow.values == as<float>(as<bf16>(wide.values)));
  CHECK(narrow.kept == wide.kept);
  CHECK(std::ranges::any_of(wide.values, [](float v) { return v != 0; }));
}

}  // namespace

TEST_CASE("bf16 rounds to the nearest, ties to even, and keeps what is not finite") {
  int64_t wrong = 0;
  for (uint32_t high = 0; high < 0x10000; ++high) {
    float const exact = float_of(high << 16);
    if (std::isnan(exact)) {
      wrong += !std::isnan(float(bf16(exact))) || !std::isnan(float(bf16(float_of(high << 16 | 1))));
      continue;
    }
    wrong += bf16(exact).bits != high;
    if (std::isinf(exact)) continue;
    wrong += bf16(float_of(high << 16 | 0x7fff)).bits != high;
    wrong += bf16(float_of(high << 16 | 0x8000)).bits != high + (high & 1);
    wrong += bf16(float_of(high << 16 | 0x8001)).bits != high + 1;
  }
  CHECK(wrong == 0);
}

TEST_CASE("casts to bf16 and back") {
  auto const host = normals<float>(1000, 1);
  Buffer const x(host), narrow(1000 * sizeof(bf16)), wide(1000 * sizeof(float));
  to_bf16(stream(), static_cast<bf16*>(narrow.data()), static_cast<const float*>(x.data()), 1000);
  to_f32(stream(), static_cast<float*>(wide.data()), static_cast<const bf16*>(narrow.data()), 1000);
  CHECK(wide.read<float>() == as<float>(as<bf16>(host)));
  CHECK(narrow.guarded());
  CHECK(wide.guarded());
}

TEST_CASE("passes over bf16 are those over f32, rounded") {
  int64_t const rows = 70, cols = 130, n = rows * cols;
  auto const x = rounded_normals(n, 1), dy = rounded_normals(n, 2), before = rounded_normals(n, 3);
  Buffer const scale(normals<float>(cols, 4)), shift(normals<float>(cols, 5));
  auto const* const factors = static_cast<const float*>(scale.data());
  auto const* const offsets = static_cast<const float*>(shift.data());
  size_t const signs = static_cast<size_t>((rows + 31) / 32 * cols) * sizeof(uint32_t);
  for (bool const relu : {false, true})
    for (bool const scales : {false, true}) {
      CAPTURE(relu);
      CAPTURE(scales);
      check_rounded(n, signs, [&]<class T>(T, void* y, void* kept) {
        Buffer const in(as<T>(x));
        affine_relu_forward<T>(stream(), static_cast<T*>(y), static_cast<uint32_t*>(kept),
                               static_cast<const T*>(in.data()), scales ? factors : nullptr, scales ? offsets : nullptr,
                               relu, rows, cols, cols, cols);
        synchronize(stream());
      });
      for (bool const adds : {false, true})
        check_rounded(n, signs, [&]<class T>(T, void* dx, void* kept) {
          Buffer const in(as<T>(x)), out(as<T>(before)), gradient(as<T>(dy));
          affine_relu_forward<T>(stream(), static_cast<T*>(dx), static_cast<uint32_t*>(kept),
                                 static_cast<const T*>(in.data()), nullptr, nullptr, true, rows, cols, cols, cols);
          copy_bytes(stream(), dx, out.data(), static_cast<size_t>(n) * sizeof(T), Copy::device_to_device);
          affine_relu_backward<T>(stream(), static_cast<T*>(dx), static_cast<const T*>(gradient.data()),
                                  relu ? static_cast<const uint32_t*>(kept) : nullptr, scales ? factors : nullptr, adds,
                                  rows, cols, cols, cols);
          synchronize(stream());
        });
    }
  check_rounded(n, 0, [&]<class T>(T, void* y, void*) {
    Buffer const a(as<T>(x)), b(as<T>(dy));
    add<T>(stream(), static_cast<T*>(y), static_cast<const T*>(a.data()), static_cast<const T*>(b.data()), n);
    synchronize(stream());
  });
  int64_t const side = 2, c = 3, h = 7, w = 5, blocks_h = 5, blocks_w = 4;
  auto const blocks = rounded_normals(2 * blocks_h * blocks_w * side * side * c, 6);
  check_rounded(2 * h * w * c, 0, [&]<class T>(T, void* y, void*) {
    Buffer const in(as<T>(blocks));
    depth_to_space<T>(stream(), static_cast<T*>(y), static_cast<const T*>(in.data()), 2, h, w, c,
                      {.h = blocks_h, .w = blocks_w, .top = 1, .left = 1, .side = side});
    synchronize(stream());
  });
}

TEST_CASE("pixels of bf16 spread as those of f32") {
  int64_t const images = 2, h = 7, w = 5, c = 70, n = images * h * w * c;
  auto const before = rounded_normals(n, 1), x = rounded_normals(images * 4 * 3 * c, 2);
  for (bool const adds : {false, true})
    check_rounded(n, 0, [&]<class T>(T, void* y, void*) {
      Buffer const in(as<T>(x)), old(as<T>(before));
      copy_bytes(stream(), y, old.data(), static_cast<size_t>(n) * sizeof(T), Copy::device_to_device);
      spread_pixels<T>(stream(), static_cast<T*>(y), static_cast<const T*>(in.data()), images, h, w, c, 2, adds);
      synchronize(stream());
    });
}

TEST_CASE("max pooling of bf16 takes the taps that f32 takes") {
  for (PoolWindow const w : {PoolWindow{2, 2, 0}, PoolWindow{3, 2, 1}, PoolWindow{4, 4, 0}}) {
    CAPTURE(w.kernel);
    Pool2dShape const s = w.over(2, 8, 70);
    auto const x = rounded_normals(s.inputs(), 7), dy = rounded_normals(s.outputs(), 8);
    auto const forward = [&]<class T>(T, void* y, void* index) {
      Buffer const in(as<T>(x));
      max_forward<T>(stream(), static_cast<T*>(y), static_cast<uint8_t*>(index), static_cast<const T*>(in.data()), s,
                     false);
      synchronize(stream());
    };
    check_rounded(s.outputs(), static_cast<size_t>(s.outputs()), forward);
    auto const index = result(false, s.outputs(), static_cast<size_t>(s.outputs()), forward).kept;
    auto const backward_of = [&](const std::vector<float>& slopes) {
      return [&]<class T>(T, void* dx, void*) {
        Buffer const gradient(as<T>(slopes)), taps(index);
        max_backward<T>(stream(), static_cast<T*>(dx), static_cast<const T*>(gradient.data()),
                        static_cast<const uint8_t*>(taps.data()), s);
        synchronize(stream());
      };
    };
    auto const backward = backward_of(dy);
    if (w.stride == w.kernel) {
      check_rounded(s.inputs(), 0, backward);
      continue;
    }
    // Where windows overlap up to four gradients are added, each sum rounded by at most 1/256 of it.
    auto const absolute = magnitudes(dy);
    auto const narrow = result(true, s.inputs(), 0, backward).values,
               wide = result(false, s.inputs(), 0, backward).values,
               sizes = result(false, s.inputs(), 0, backward_of(absolute)).values;
    for (size_t i = 0; i < wide.size(); ++i) CHECK(std::abs(narrow[i] - wide[i]) <= 3 * sizes[i] / 256);
  }
}

TEST_CASE("average pooling of bf16 rounds each row of a window") {
  Pool2dShape const s{2, 8, 8, 70, 4, 4, 2, 2, 2, 2, 0, 0};
  auto const x = rounded_normals(s.inputs(), 7), dy = rounded_normals(s.outputs(), 8);
  auto const forward_of = [&](const std::vector<float>& values) {
    return [&]<class T>(T, void* y, void*) {
      Buffer const in(as<T>(values));
      average_forward<T>(stream(), static_cast<T*>(y), static_cast<const T*>(in.data()), s, 1);
      synchronize(stream());
    };
  };
  auto const forward = forward_of(x);
  auto const absolute = magnitudes(x);
  auto const narrow = result(true, s.outputs(), 0, forward).values,
             wide = result(false, s.outputs(), 0, forward).values,
             sizes = result(false, s.outputs(), 0, forward_of(absolute)).values;
  for (size_t i = 0; i < wide.size(); ++i) CHECK(std::abs(narrow[i] - wide[i]) <= 4 * sizes[i] / 256);
  check_rounded(s.inputs(), 0, [&]<class T>(T, void* dx, void*) {
    Buffer const gradient(as<T>(dy));
    average_backward<T>(stream(), static_cast<T*>(dx), static_cast<const T*>(gradient.data()), s, 1);
    synchronize(stream());
  });
}

TEST_CASE("activations, gates and means of bf16 are those of f32, rounded") {
  int64_t const images = 3, pixels = 70, c = 45, n = images * pixels * c;
  auto const x = rounded_normals(n, 1), dy = rounded_normals(n, 2), gates = rounded_normals(images * c, 3);
  for (Curve const curve : {Curve::relu6, Curve::leaky_relu, Curve::sigmoid, Curve::tanh, Curve::silu, Curve::gelu}) {
    CAPTURE(int(curve));
    check_rounded(n, 0, [&]<class T>(T, void* y, void*) {
      Buffer const in(as<T>(x));
      curve_forward<T>(stream(), static_cast<T*>(y), static_cast<const T*>(in.data()), curve, 0.01, n);
      synchronize(stream());
    });
    check_rounded(n, 0, [&]<class T>(T, void* dx, void*) {
      Buffer const kept(as<T>(x)), gradient(as<T>(dy));
      curve_backward<T>(stream(), static_cast<T*>(dx), static_cast<const T*>(gradient.data()),
                        static_cast<const T*>(kept.data()), curve, 0.01, n);
      synchronize(stream());
    });
  }
  check_rounded(n, 0, [&]<class T>(T, void* y, void*) {
    Buffer const in(as<T>(x)), gate(as<T>(gates));
    channel_gate<T>(stream(), static_cast<T*>(y), static_cast<const T*>(in.data()), static_cast<const T*>(gate.data()),
                    images, pixels, c);
    synchronize(stream());
  });
  check_rounded(n, 0, [&]<class T>(T, void* y, void*) {
    Buffer const in(as<T>(gates));
    broadcast_pixels<T>(stream(), static_cast<T*>(y), static_cast<const T*>(in.data()), 0.3, images, pixels, c);
    synchronize(stream());
  });
  for (bool const of_products : {false, true})
    check_rounded(images * c, 0, [&]<class T>(T, void* y, void*) {
      Buffer const in(as<T>(x)), other(as<T>(dy));
      Buffer const partial(static_cast<size_t>(images * column_groups(pixels) * c) * sizeof(double));
      auto* const sums = static_cast<double*>(partial.data());
      image_sums_partial<T>(stream(), sums, static_cast<const T*>(in.data()),
                            of_products ? static_cast<const T*>(other.data()) : nullptr, images, pixels, c);
      image_sums_total<T>(stream(), static_cast<T*>(y), sums, 1.0 / double(pixels), images, pixels, c);
      synchronize(stream());
    });
}

namespace {

/// f32 sums of the same operands, by definition, against a product in bf16: one rounding, and f32's own.
template <class Problem, class Call>
void check_product(Problem p, int64_t results, int64_t terms, Call call) {
  p.dtype = DType::f32;
  Buffer const wide(static_cast<size_t>(results) * sizeof(float)), narrow(static_cast<size_t>(results) * sizeof(bf16));
  TestScratch scratch;
  call(p, wide.data(), scratch);
  p.dtype = DType::bf16;
  call(p, narrow.data(), scratch);
  synchronize(stream());
  CHECK(narrow.guarded());
  CHECK(scratch.guarded());
  auto const got = narrow.template read<bf16>();
  auto const want = wide.template read<float>();
  double const own = 1e-6 * static_cast<double>(terms);  // of sums of normal products
  int64_t wrong = 0;
  for (size_t i = 0; i < want.size(); ++i)
    wrong += !(std::abs(float(got[i]) - want[i]) <= std::abs(want[i]) / 256 + own);
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("products in bf16 are f32 sums, rounded once") {
  MatmulProblem const matmul{.dtype = DType::bf16, .m = 37, .n = 65, .k = 130, .transpose_b = true};
  Conv2dProblem conv{.dtype = DType::bf16,
                     .shape = {.n = 2, .h = 9, .w = 8, .c = 32, .o = 48, .kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1}};
  if (!has_bf16_products(device_under_test())) return;
  auto const both = []<class Call>(const std::vector<float>& values, DType type, Call call) {
    Buffer const narrow(as<bf16>(values)), wide(values);
    call(type == DType::bf16 ? narrow.data() : wide.data());
    synchronize(stream());
  };
  auto const a = rounded_normals(matmul.m * matmul.k, 11), b = rounded_normals(matmul.n * matmul.k, 12);
  Buffer const weights(b), bias(normals<float>(matmul.n, 13));
  for (bool const with_bias : {false, true}) {
    MatmulProblem p = matmul;
    if (with_bias) p.epilogue.bias = bias.data();
    check_product(p, p.m * p.n, p.k, [&](const MatmulProblem& of, void* y, TestScratch& scratch) {
      both(a, of.dtype, [&](const void* in) { run_matmul(stream(), of, y, in, weights.data(), scratch); });
    });
  }
  auto const filters = rounded_normals(conv.shape.weights(), 14);
  Buffer const w(filters);
  for (ConvPass const pass : {ConvPass::forward, ConvPass::input_gradient}) {
    CAPTURE(name_of(pass));
    bool const forward = pass == ConvPass::forward;
    conv.pass = pass;
    int64_t const inputs = forward ? conv.shape.inputs() : conv.shape.outputs();
    int64_t const outputs = forward ? conv.shape.outputs() : conv.shape.inputs();
    auto const x = rounded_normals(inputs, 15);
    check_product(conv, outputs, 9 * 48, [&](const Conv2dProblem& of, void* y, TestScratch& scratch) {
      both(x, of.dtype,
           [&](void* in) { run_conv2d(stream(), of, forward ? in : y, w.data(), forward ? y : in, scratch); });
    });
  }
}
