// The input gradient of a convolution as a convolution of stride 1, in double precision, against its definition.
#include <doctest/doctest.h>

#include <cmath>

#include "engine/frozen/graph.h"
#include "tests/provider_fixtures.h"

using namespace mith;
using namespace mith::provider_tests;

namespace {

using Values = std::vector<double>;

Values convolved(ConvPass pass, const Conv2dShape& shape, const ConvData<double>& data) {
  return run_conv("reference", {.dtype = DType::f64, .pass = pass, .shape = shape}, data);
}

/// Of square filters, strides and padding.
Conv2dShape square(int64_t n, int64_t h, int64_t w, int64_t c, int64_t o, int64_t taps, int64_t stride, int64_t pad) {
  Conv2dShape s{.n = n, .h = h, .w = w, .c = c, .o = o, .kh = taps, .kw = taps};
  s.stride_h = s.stride_w = stride;
  s.pad_h = s.pad_w = pad;
  return s;
}

std::vector<Conv2dShape> shapes() {
  std::vector<Conv2dShape> all{square(2, 6, 7, 8, 3, 3, 1, 1),   square(2, 16, 16, 3, 4, 7, 2, 3),
                               square(1, 15, 17, 1, 5, 7, 2, 3), square(1, 15, 16, 3, 4, 3, 2, 0),
                               square(1, 16, 15, 3, 4, 3, 2, 1), square(1, 12, 12, 3, 8, 4, 4, 0),
                               square(2, 9, 8, 10, 3, 1, 2, 0)};
  Conv2dShape line = square(1, 9, 8, 9, 4, 5, 1, 2);
  line.kw = 1, line.pad_w = 0;
  Conv2dShape dilated = square(1, 9, 9, 8, 2, 3, 1, 2);
  dilated.pad_w = 1, dilated.dilation_h = dilated.dilation_w = 2;
  Conv2dShape depthwise = square(1, 5, 5, 6, 6, 3, 1, 1);
  depthwise.groups = 6;
  Conv2dShape uneven = square(1, 13, 14, 2, 3, 5, 3, 1);
  uneven.kw = 4, uneven.pad_w = 2;
  all.insert(all.end(), {line, dilated, depthwise, uneven});
  return all;
}

}  // namespace

TEST_CASE("the turned convolution is the input gradient") {
  for (Conv2dShape const& s : shapes()) {
    CAPTURE(s.h);
    CAPTURE(s.w);
    CAPTURE(s.kh);
    CAPTURE(s.stride_h);
    auto const drawn = conv_data<float>(s);
    Values const gradient(drawn.y.begin(), drawn.y.end());
    Values const wanted = convolved(ConvPass::input_gradient, s,
                                    {Values(drawn.x.size()), Values(drawn.w.begin(), drawn.w.end()), gradient});

    auto const t = frozen::turned(s, Tensor::from(drawn.w, {s.o, s.kh, s.kw, s.c / s.groups}), DType::bf16);
    REQUIRE(t.weight.defined());
    REQUIRE(t.shape.inputs() == s.outputs());
    auto const turned = t.weight.to_host<float>();
    Values const blocks =
        convolved(ConvPass::forward, t.shape,
                  {gradient, Values(turned.begin(), turned.end()), Values(size_t(t.shape.outputs()))});
    double worst = 0;
    for (int64_t i = 0; i < s.inputs(); ++i) {
      int64_t const c = i % s.c, x = i / s.c % s.w, y = i / s.c / s.w % s.h, image = i / s.c / s.w / s.h;
      int64_t const row = t.shift_h + y / t.stride, column = t.shift_w + x / t.stride;
      REQUIRE(row < t.shape.oh());
      REQUIRE(column < t.shape.ow());
      int64_t const in_block = y % t.stride * t.stride + x % t.stride;
      int64_t const at =
          ((image * t.shape.oh() + row) * t.shape.ow() + column) * t.shape.o + (t.pointwise ? 0 : in_block * s.c) + c;
      double const got = t.pointwise && in_block > 0 ? 0 : blocks[size_t(at)];
      double const apart = std::abs(got - wanted[size_t(i)]);
      worst = apart <= worst ? worst : apart;
    }
    CHECK(worst <= 1e-12);
  }
}

TEST_CASE("what would not pay is not turned") {
  Tensor const weight = Tensor::zeros({8, 3, 3, 8});
  for (Conv2dShape const& s : {square(1, 8, 8, 8, 8, 3, 2, 0), square(1, 8, 8, 8, 8, 3, 1, 3)})
    CHECK(!frozen::turned(s, weight, DType::f32).weight.defined());
  Conv2dShape const stem = square(1, 16, 16, 3, 16, 7, 2, 3);
  Tensor const filters = Tensor::zeros({16, 7, 7, 3});
  CHECK(frozen::turned(stem, filters, DType::f32).weight.defined() == (isa_level() != 3));
  CHECK(frozen::turned(stem, filters, DType::bf16).weight.defined());
}
