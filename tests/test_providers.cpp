// Every provider against the reference, the reference against definitions written here, and the policy that chooses.
#include <algorithm>

#include "tests/provider_fixtures.h"

using namespace mith;
using namespace mith::provider_tests;

namespace {

struct ConvCase {
  const char* what;
  Conv2dShape shape;
};

const std::vector<ConvCase>& conv_cases() {
  static const std::vector<ConvCase> cases{
      {"1x1", {.n = 2, .h = 5, .w = 7, .c = 17, .o = 19}},
      {"1x1 stride 2", {.n = 2, .h = 5, .w = 6, .c = 16, .o = 24, .stride_h = 2, .stride_w = 2}},
      {"3x3 same", {.n = 3, .h = 9, .w = 8, .c = 16, .o = 32, .kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1}},
      {"3x3 wide", {.n = 2, .h = 7, .w = 7, .c = 64, .o = 96, .kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1}},
      {"3x3 of more channels than a block of the depth",
       {.n = 1, .h = 5, .w = 6, .c = 272, .o = 16, .kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1}},
      {"3x3 valid", {.n = 2, .h = 8, .w = 5, .c = 32, .o = 48, .kh = 3, .kw = 3}},
      {"3x3 padded by 2 and 0", {.n = 2, .h = 6, .w = 9, .c = 16, .o = 80, .kh = 3, .kw = 3, .pad_h = 2}},
      {"3x3 of 1 channel", {.n = 4, .h = 28, .w = 28, .c = 1, .o = 32, .kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1}},
      {"3x3 of 3 channels", {.n = 2, .h = 13, .w = 11, .c = 3, .o = 20, .kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1}},
      {"7x7 stem",
       {.n = 1,
        .h = 19,
        .w = 21,
        .c = 3,
        .o = 16,
        .kh = 7,
        .kw = 7,
        .stride_h = 2,
        .stride_w = 2,
        .pad_h = 3,
        .pad_w = 3}},
      {"one filter", {.n = 2, .h = 6, .w = 5, .c = 8, .o = 1, .kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1}},
      {"one image, one pixel out", {.n = 1, .h = 3, .w = 3, .c = 5, .o = 7, .kh = 3, .kw = 3}},
      {"everything one", {.n = 1, .h = 1, .w = 1, .c = 1, .o = 1}},
      {"5x5 stride 2",
       {.n = 2,
        .h = 11,
        .w = 12,
        .c = 6,
        .o = 10,
        .kh = 5,
        .kw = 5,
        .stride_h = 2,
        .stride_w = 2,
        .pad_h = 2,
        .pad_w = 1}},
      {"1x7", {.n = 2, .h = 4, .w = 12, .c = 18, .o = 16, .kh = 1, .kw = 7, .pad_w = 3}},
      {"7x1 uneven strides",
       {.n = 2, .h = 12, .w = 5, .c = 16, .o = 9, .kh = 7, .kw = 1, .stride_h = 3, .stride_w = 2, .pad_h = 3}},
      {"2x2 stride 3: pixels that no window sees",
       {.n = 2, .h = 8, .w = 10, .c = 16, .o = 17, .kh = 2, .kw = 2, .stride_h = 3, .stride_w = 3}},
      {"dilated",
       {.n = 2,
        .h = 10,
        .w = 9,
        .c = 16,
        .o = 8,
        .kh = 3,
        .kw = 3,
        .pad_h = 2,
        .pad_w = 2,
        .dilation_h = 2,
        .dilation_w = 2}},
      {"dilated and strided",
       {.n = 1,
        .h = 14,
        .w = 13,
        .c = 4,
        .o = 8,
        .kh = 3,
        .kw = 2,
        .stride_h = 2,
        .stride_w = 3,
        .pad_h = 3,
        .pad_w = 1,
        .dilation_h = 3,
        .dilation_w = 2}},
      {"groups", {.n = 2, .h = 6, .w = 7, .c = 32, .o = 48, .kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1, .groups = 2}},
      {"odd groups", {.n = 2, .h = 6, .w = 7, .c = 9, .o = 15, .kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1, .groups = 3}},
      {"depthwise", {.n = 2, .h = 8, .w = 8, .c = 12, .o = 12, .kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1, .groups = 12}},
      {"depthwise, two filters a channel",
       {.n = 1, .h = 9, .w = 7, .c = 5, .o = 10, .kh = 3, .kw = 3, .stride_h = 2, .stride_w = 2, .groups = 5}},
      {"a sum in parts, two groups",
       {.n = 4, .h = 13, .w = 11, .c = 6, .o = 8, .kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1, .groups = 2}},
      {"image smaller than the kernel",
       {.n = 2, .h = 2, .w = 1, .c = 6, .o = 4, .kh = 5, .kw = 3, .pad_h = 2, .pad_w = 1}},
      {"deep", {.n = 1, .h = 4, .w = 3, .c = 300, .o = 130, .kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1}},
      {"long reduction", {.n = 6, .h = 30, .w = 30, .c = 16, .o = 16, .kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1}},
  };
  return cases;
}

/// The three passes as one nest of seven loops: y, dx and dw.
ConvData<double> convolve(const Conv2dShape& s, const ConvData<double>& in) {
  ConvData<double> out{std::vector<double>(in.x.size()), std::vector<double>(in.w.size()),
                       std::vector<double>(in.y.size())};
  int64_t const cg = s.c / s.groups, og = s.o / s.groups;
  for (int64_t n = 0; n < s.n; ++n)
    for (int64_t i = 0; i < s.oh(); ++i)
      for (int64_t j = 0; j < s.ow(); ++j)
        for (int64_t o = 0; o < s.o; ++o)
          for (int64_t kh = 0; kh < s.kh; ++kh)
            for (int64_t kw = 0; kw < s.kw; ++kw)
              for (int64_t c = 0; c < cg; ++c) {
                int64_t const h = i * s.stride_h + kh * s.dilation_h - s.pad_h;
                int64_t const v = j * s.stride_w + kw * s.dilation_w - s.pad_w;
                if (h < 0 || h >= s.h || v < 0 || v >= s.w) continue;
                auto const xi = static_cast<size_t>(((n * s.h + h) * s.w + v) * s.c + o / og * cg + c);
                auto const wi = static_cast<size_t>(((o * s.kh + kh) * s.kw + kw) * cg + c);
                auto const yi = static_cast<size_t>(((n * s.oh() + i) * s.ow() + j) * s.o + o);
                out.y[yi] += in.x[xi] * in.w[wi];
                out.x[xi] += in.y[yi] * in.w[wi];
                out.w[wi] += in.y[yi] * in.x[xi];
              }
  return out;
}

std::vector<double> product(const MatmulProblem& p, const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> y;
  for (int64_t i = 0; i < p.m; ++i)
    for (int64_t j = 0; j < p.n; ++j) {
      double sum = 0;
      for (int64_t k = 0; k < p.k; ++k)
        sum += a[static_cast<size_t>(p.transpose_a ? k * p.m + i : i * p.k + k)] *
               b[static_cast<size_t>(p.transpose_b ? j * p.k + k : k * p.n + j)];
      y.push_back(sum);
    }
  return y;
}

}  // namespace

TEST_CASE("the reference convolution is the definition, its gradients are adjoint") {
  for (auto const& [what, shape] : conv_cases()) {
    CAPTURE(what);
    auto const data = conv_data<double>(shape);
    auto const want = convolve(shape, data);
    auto const y = run_conv("reference", {.dtype = DType::f64, .pass = ConvPass::forward, .shape = shape}, data);
    auto const x = run_conv("reference", {.dtype = DType::f64, .pass = ConvPass::input_gradient, .shape = shape}, data);
    auto const w =
        run_conv("reference", {.dtype = DType::f64, .pass = ConvPass::weight_gradient, .shape = shape}, data);
    // Sums of at most 5400 products in double, in another order.
    CHECK(relative_l2(y, want.y) <= 1e-13);
    CHECK(relative_l2(x, want.x) <= 1e-13);
    CHECK(relative_l2(w, want.w) <= 1e-13);
    // <conv(x, w), dy> = <x, dx> = <w, dw>, to the same rounding relative to the vectors' lengths.
    double const product = inner(y, data.y), scale = std::sqrt(inner(y, y) * inner(data.y, data.y)) + 1e-300;
    CHECK(std::abs(inner(data.x, x) - product) <= 1e-12 * scale);
    CHECK(std::abs(inner(data.w, w) - product) <= 1e-12 * scale);
  }
}

TEST_CASE("the reference convolution's gradients are central differences") {
  Conv2dShape const shape{.n = 2,
                          .h = 6,
                          .w = 5,
                          .c = 4,
                          .o = 6,
                          .kh = 3,
                          .kw = 2,
                          .stride_h = 2,
                          .stride_w = 1,
                          .pad_h = 1,
                          .pad_w = 1,
                          .dilation_h = 1,
                          .dilation_w = 2,
                          .groups = 2};
  auto const data = conv_data<double>(shape);
  Conv2dProblem const forward{.dtype = DType::f64, .pass = ConvPass::forward, .shape = shape};
  auto const dx = run_conv("reference", {.dtype = DType::f64, .pass = ConvPass::input_gradient, .shape = shape}, data);
  auto const dw = run_conv("reference", {.dtype = DType::f64, .pass = ConvPass::weight_gradient, .shape = shape}, data);
  auto const slope = [&](std::vector<double> ConvData<double>::*which, size_t i) {
    auto up = data, down = data;
    (up.*which)[i] += 0.5;  // the map is bilinear: a difference of any size is exact
    (down.*which)[i] -= 0.5;
    return inner(run_conv("reference", forward, up), data.y) - inner(run_conv("reference", forward, down), data.y);
  };
  for (size_t i : {size_t(0), size_t(17), dx.size() - 1})
    CHECK(std::abs(slope(&ConvData<double>::x, i) - dx[i]) <= 1e-11);  // rounding of sums of about 100
  for (size_t i : {size_t(0), size_t(7), dw.size() - 1})
    CHECK(std::abs(slope(&ConvData<double>::w, i) - dw[i]) <= 1e-11);
}

TEST_CASE("every convolution provider agrees with the reference") {
  for (auto const& name : conv_names()) {
    if (name == "reference") continue;
    int supported = 0;
    for (auto const& [what, shape] : conv_cases()) {
      auto const data = conv_data<float>(shape);
      for (auto pass : passes) {
        auto const want = run_conv("reference", {.pass = pass, .shape = shape}, data);
        for (bool fixed : {false, true}) {
          Conv2dProblem const p{
              .pass = pass, .fixed_weights = fixed && pass != ConvPass::weight_gradient, .shape = shape};
          CAPTURE(name);
          CAPTURE(what);
          CAPTURE(describe(p));
          bool const supports = conv_supports(name, p);
          if (name == "native") CHECK(supports);
          if (!supports) continue;
          supported += !fixed;
          CHECK(relative_l2(run_conv(name, p, data), want) <= f32_tolerance(terms(p)));
        }
      }
    }
    CAPTURE(name);
    if (name != "native" && device_under_test() == Device::cpu) CHECK((supported > 10 || name.substr(0, 2) == "cu"));
  }
}

TEST_CASE("NaN in an image or a weight comes out wherever the reference lets it") {
  Conv2dShape const shapes[] = {{.n = 2, .h = 6, .w = 6, .c = 16, .o = 32, .kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1},
                                {.n = 2, .h = 8, .w = 8, .c = 1, .o = 32, .kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1}};
  for (auto const& shape : shapes) {
    for (auto activation : {Activation::none, Activation::relu}) {
      for (auto pass : passes) {
        auto data = conv_data<float>(shape);
        auto& spoilt = pass == ConvPass::input_gradient ? data.y : data.x;
        spoilt[spoilt.size() / 2 + 3] = std::numeric_limits<float>::quiet_NaN();
        Conv2dProblem p{.pass = pass, .shape = shape};
        p.epilogue.activation = activation;
        auto const want = run_conv("reference", p, data);
        auto const check_nans = [&](const std::string& name) {
          if (!conv_supports(name, p)) return;
          CAPTURE(name);
          CAPTURE(describe(p));
          auto const got = run_conv(name, p, data);
          int64_t lost = 0, nans = 0;
          for (size_t i = 0; i < want.size(); ++i) {
            nans += std::isnan(want[i]);
            lost += std::isnan(want[i]) && !std::isnan(got[i]);
          }
          CHECK(nans > 0);
          CHECK(lost == 0);
        };
        for (auto const& name : conv_names()) check_nans(name);
        p.fixed_weights = true;
        if (pass == ConvPass::forward)
          for (auto const& name : conv_names()) check_nans(name);
      }
    }
  }
}

TEST_CASE("the reference matrix product is the definition, the others agree") {
  for (auto const& [m, n, k] : matmul_cases) {
    for (int transposed = 0; transposed < 4; ++transposed) {
      MatmulProblem p{
          .m = m, .n = n, .k = k, .transpose_a = (transposed & 1) != 0, .transpose_b = (transposed & 2) != 0};
      CAPTURE(describe(p));
      auto const a64 = normals<double>(m * k, 41), b64 = normals<double>(k * n, 42);
      p.dtype = DType::f64;
      // Sums of at most 5000 products in double.
      CHECK(relative_l2(multiply("reference", p, a64, b64), product(p, a64, b64)) <= 1e-13);
      p.dtype = DType::f32;
      auto const a = normals<float>(m * k, 41), b = normals<float>(k * n, 42);
      auto const want = multiply("reference", p, a, b);
      for (auto const& name : matmul_names()) {
        CAPTURE(name);
        if (name == "native") CHECK(matmul_supports(name, p));
        if (matmul_supports(name, p)) CHECK(relative_l2(multiply(name, p, a, b), want) <= f32_tolerance(k));
      }
    }
  }
}

TEST_CASE("a batch of products is so many products") {
  for (int transposed = 0; transposed < 4; ++transposed) {
    MatmulProblem p{.m = 13, .n = 9, .k = 30, .batch = 5};
    p.transpose_a = (transposed & 1) != 0, p.transpose_b = (transposed & 2) != 0;
    auto const a = normals<float>(p.batch * p.m * p.k, 41), b = normals<float>(p.batch * p.k * p.n, 42);
    std::vector<float> want;
    MatmulProblem one = p;
    one.batch = 1;
    for (int64_t i = 0; i < p.batch; ++i) {
      auto const part = [i](const std::vector<float>& all, int64_t each) {
        return std::vector<float>(all.begin() + i * each, all.begin() + (i + 1) * each);
      };
      auto const y = multiply("reference", one, part(a, p.m * p.k), part(b, p.k * p.n));
      want.insert(want.end(), y.begin(), y.end());
    }
    for (auto const& name : matmul_names()) {
      CAPTURE(name);
      CAPTURE(describe(p));
      if (matmul_supports(name, p)) CHECK(relative_l2(multiply(name, p, a, b), want) <= f32_tolerance(p.k));
    }
    p.epilogue.activation = Activation::relu;
    CHECK_THROWS_WITH_AS(multiply("reference", p, a, b), doctest::Contains("has no prologue and no epilogue"), Error);
  }
}

TEST_CASE("native results do not depend on the number of threads") {
  int const before = threads();
  auto const same = [](auto run) {
    set_threads(1);
    auto const one = run();
    for (int count : {2, 3, 7}) {
      set_threads(count);
      CHECK(run() == one);
    }
  };
  for (auto const& [what, shape] : conv_cases()) {
    CAPTURE(what);
    auto const data = conv_data<float>(shape);
    for (auto pass : passes) same([&] { return run_conv("native", {.pass = pass, .shape = shape}, data); });
    same([&] { return run_conv("native", {.fixed_weights = true, .shape = shape}, data); });
  }
  for (auto const& [m, n, k] : matmul_cases) {
    for (bool transpose_a : {false, true}) {
      MatmulProblem const p{.m = m, .n = n, .k = k, .transpose_a = transpose_a, .transpose_b = true};
      auto const a = normals<float>(m * k, 41), b = normals<float>(k * n, 42);
      same([&] { return multiply("native", p, a, b); });
    }
  }
  set_threads(before);
}

TEST_CASE("native rows do not depend on the batch they are in") {
  for (auto const& [what, shape] : conv_cases()) {
    CAPTURE(what);
    auto whole_shape = shape, part_shape = shape;
    whole_shape.n = 11;
    auto const whole = conv_data<float>(whole_shape);
    for (auto [pass, fixed] :
         {std::pair(ConvPass::forward, false), {ConvPass::forward, true}, {ConvPass::input_gradient, false}}) {
      auto const all = run_conv("native", {.pass = pass, .fixed_weights = fixed, .shape = whole_shape}, whole);
      for (int64_t batch : {1, 4}) {
        part_shape.n = batch;
        int64_t const skip = 5;  // images [5, 5 + batch)
        auto const images = [&](const std::vector<float>& v) {
          auto const each = static_cast<int64_t>(v.size()) / whole_shape.n;
          return std::vector<float>(v.begin() + skip * each, v.begin() + (skip + batch) * each);
        };
        ConvData<float> const part{images(whole.x), whole.w, images(whole.y)};
        CHECK(run_conv("native", {.pass = pass, .fixed_weights = fixed, .shape = part_shape}, part) == images(all));
      }
    }
  }
  for (auto const& [m, n, k] : matmul_cases) {
    MatmulProblem p{.m = m + 30, .n = n, .k = k, .transpose_b = true};
    auto const a = normals<float>(p.m * k, 41), b = normals<float>(k * n, 42);
    auto const all = multiply("native", p, a, b);
    p.m = 3;
    auto const first = static_cast<int64_t>(11);
    std::vector<float> const rows(a.begin() + first * k, a.begin() + (first + 3) * k);
    CHECK(multiply("native", p, rows, b) == std::vector<float>(all.begin() + first * n, all.begin() + (first + 3) * n));
  }
}

TEST_CASE("empty problems and empty sums") {
  MatmulProblem p{.m = 3, .n = 5, .k = 0};
  Buffer const y(std::vector<float>(15, 7)), bias_(std::vector<float>{1, -2, 3, -4, 5});
  p.epilogue.bias = bias_.data();
  p.epilogue.activation = Activation::relu;
  TestScratch scratch;
  run_matmul(stream(), p, y.data(), nullptr, nullptr, scratch);
  CHECK(y.read<float>() == std::vector<float>{1, 0, 3, 0, 5, 1, 0, 3, 0, 5, 1, 0, 3, 0, 5});
  p.m = 0;
  p.k = 4;
  run_matmul(stream(), p, nullptr, nullptr, nullptr, scratch);

  Conv2dShape const none{.n = 0, .h = 5, .w = 5, .c = 2, .o = 3, .kh = 3, .kw = 3};
  run_conv2d(stream(), {.shape = none}, nullptr, nullptr, nullptr, scratch);
  Buffer const w(std::vector<float>(static_cast<size_t>(none.weights()), 7));
  run_conv2d(stream(), {.pass = ConvPass::weight_gradient, .shape = none}, nullptr, w.data(), nullptr, scratch);
  CHECK(w.read<float>() == std::vector<float>(static_cast<size_t>(none.weights()), 0));
}

TEST_CASE("impossible problems are refused with their sizes") {
  TestScratch scratch;
  auto const message = [&](const Conv2dShape& s) {
    try {
      run_conv2d(stream(), {.shape = s}, nullptr, nullptr, nullptr, scratch);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("nothing thrown");
  };
  CHECK(message({.n = 1, .h = 2, .w = 9, .c = 1, .o = 1, .kh = 3, .kw = 3}) ==
        "conv2d forward f32 1x2x9x1 -> 1 kernel 3x3: the kernel is larger than the padded input");
  CHECK(message({.n = 1, .h = 4, .w = 4, .c = 6, .o = 4, .groups = 4}).find("groups 4: groups must divide") !=
        std::string::npos);
  CHECK(message({.n = 1, .h = 4, .w = 4, .c = 6, .o = 4, .stride_h = 0}).find("strides") != std::string::npos);
}

TEST_CASE("the static policy and forced providers") {
  auto const names = conv_names();
  CHECK(names.back() == "reference");
  CHECK(names[names.size() - 2] == "native");
  clear_forced_providers();
  CHECK(forced_providers().empty());

  Conv2dProblem const f32{.shape = {.n = 2, .h = 8, .w = 8, .c = 16, .o = 16, .kh = 3, .kw = 3}};
  auto f64 = f32;
  f64.dtype = DType::f64;
  auto const first = std::find_if(names.begin(), names.end(), [&](auto const& n) { return conv_supports(n, f32); });
  CHECK(choose(device_under_test(), f32).name() == *first);
  CHECK(choose(device_under_test(), f64).name() == "reference");

  auto fixed = f32;
  fixed.fixed_weights = true;
  bool const by_winograd = device_under_test() == Device::cpu && isa_level() == 3;
  CHECK(choose(device_under_test(), fixed).name() == (by_winograd ? "native" : *first));

  CHECK_THROWS_AS(force_provider("conv3d", "native"), UsageError);
  CHECK_THROWS_AS(force_provider("conv2d", "abacus"), UsageError);
  CHECK_THROWS_WITH_AS(force_provider("all", "abacus"), doctest::Contains("native, reference"), UsageError);
  CHECK(forced_providers().empty());

  {
    Forced const forced("all", "native");
    CHECK(forced_providers() == std::map<std::string, std::string>{{"conv2d", "native"}, {"matmul", "native"}});
    CHECK(choose(device_under_test(), f32).name() == "native");
    CHECK(choose(device_under_test(), MatmulProblem{.m = 4, .n = 4, .k = 4}).name() == "native");
    // Forced means forced: what it cannot do is an error, not the next provider's work.
    CHECK_THROWS_WITH_AS(choose(device_under_test(), f64), doctest::Contains("native, forced by conv2d=native"), Error);
    TestScratch scratch;
    CHECK_THROWS_AS(run_conv2d(stream(), f64, nullptr, nullptr, nullptr, scratch), Error);
  }
  CHECK(forced_providers().empty());
}

TEST_CASE("problems describe themselves") {
  CHECK(describe(MatmulProblem{.m = 128, .n = 128, .k = 576, .transpose_b = true}) == "matmul f32 128x128x576 tb");
  Conv2dProblem p{.pass = ConvPass::input_gradient,
                  .shape = {.n = 2, .h = 8, .w = 9, .c = 16, .o = 32, .kh = 3, .kw = 1, .stride_h = 2, .pad_h = 1}};
  p.epilogue.accumulate = true;
  CHECK(describe(p) == "conv2d input_gradient f32 2x8x9x16 -> 32 kernel 3x1 stride 2x1 pad 1x0 +accumulate");
}
