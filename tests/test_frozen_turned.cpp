// The input gradient of a convolution as a convolution of stride 1, in double precision, against its definition.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "engine/frozen/graph.h"
#include "tests/guarded.h"

using namespace mith;

namespace {

using Values = std::vector<double>;

/// For every product of the convolution: element of x, of w [o,kh,kw,c / groups], of y.
template <class Function>
void for_each_product(const Conv2dShape& s, const Function& f) {
  int64_t const inputs = s.c / s.groups, outputs = s.o / s.groups;
  for (int64_t i = 0; i < s.n * s.oh() * s.ow() * s.o; ++i) {
    int64_t const o = i % s.o, column = i / s.o % s.ow(), row = i / s.o / s.ow() % s.oh(),
                  image = i / s.o / s.ow() / s.oh();
    for (int64_t t = 0; t < s.kh * s.kw * inputs; ++t) {
      int64_t const c = t % inputs, kx = t / inputs % s.kw, ky = t / inputs / s.kw;
      int64_t const y = row * s.stride_h + ky * s.dilation_h - s.pad_h,
                    x = column * s.stride_w + kx * s.dilation_w - s.pad_w;
      if (y < 0 || y >= s.h || x < 0 || x >= s.w) continue;
      f(((image * s.h + y) * s.w + x) * s.c + o / outputs * inputs + c, o * s.kh * s.kw * inputs + t, i);
    }
  }
}

}  // namespace

TEST_CASE("the turned convolution is the input gradient") {
  std::vector<Conv2dShape> const shapes{
      {.n = 2, .h = 6, .w = 7, .c = 8, .o = 3, .kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1},
      {.n = 1, .h = 9, .w = 8, .c = 9, .o = 4, .kh = 5, .kw = 1, .pad_h = 2},
      {.n = 1,
       .h = 9,
       .w = 9,
       .c = 8,
       .o = 2,
       .kh = 3,
       .kw = 3,
       .pad_h = 2,
       .pad_w = 1,
       .dilation_h = 2,
       .dilation_w = 2},
      {.n = 1, .h = 5, .w = 5, .c = 6, .o = 6, .kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1, .groups = 6},
      {.n = 2,
       .h = 16,
       .w = 16,
       .c = 3,
       .o = 4,
       .kh = 7,
       .kw = 7,
       .stride_h = 2,
       .stride_w = 2,
       .pad_h = 3,
       .pad_w = 3},
      {.n = 1,
       .h = 15,
       .w = 17,
       .c = 1,
       .o = 5,
       .kh = 7,
       .kw = 7,
       .stride_h = 2,
       .stride_w = 2,
       .pad_h = 3,
       .pad_w = 3},
      {.n = 1, .h = 15, .w = 16, .c = 3, .o = 4, .kh = 3, .kw = 3, .stride_h = 2, .stride_w = 2},
      {.n = 1,
       .h = 16,
       .w = 15,
       .c = 3,
       .o = 4,
       .kh = 3,
       .kw = 3,
       .stride_h = 2,
       .stride_w = 2,
       .pad_h = 1,
       .pad_w = 1},
      {.n = 1,
       .h = 13,
       .w = 14,
       .c = 2,
       .o = 3,
       .kh = 5,
       .kw = 4,
       .stride_h = 3,
       .stride_w = 3,
       .pad_h = 1,
       .pad_w = 2},
      {.n = 1, .h = 12, .w = 12, .c = 3, .o = 8, .kh = 4, .kw = 4, .stride_h = 4, .stride_w = 4}};
  for (Conv2dShape const& s : shapes) {
    CAPTURE(s.h);
    CAPTURE(s.w);
    CAPTURE(s.kh);
    CAPTURE(s.stride_h);
    auto const weight = uniform_values(size_t(s.weights()), 1, -1, 1),
               gradient = uniform_values(size_t(s.outputs()), 2, -1, 1);
    Values wanted(size_t(s.inputs()));
    for_each_product(s, [&](int64_t x, int64_t w, int64_t y) {
      wanted[size_t(x)] += double(weight[size_t(w)]) * double(gradient[size_t(y)]);
    });

    auto const t = frozen::turned(s, Tensor::from(weight, {s.o, s.kh, s.kw, s.c / s.groups}));
    REQUIRE(t.weight.defined());
    REQUIRE(t.shape.inputs() == s.outputs());
    auto const turned = t.weight.to_host<float>();
    Values blocks(size_t(t.shape.outputs()));
    for_each_product(t.shape, [&](int64_t x, int64_t w, int64_t y) {
      blocks[size_t(y)] += double(turned[size_t(w)]) * double(gradient[size_t(x)]);
    });
    double worst = 0;
    for (int64_t i = 0; i < s.inputs(); ++i) {
      int64_t const c = i % s.c, x = i / s.c % s.w, y = i / s.c / s.w % s.h, image = i / s.c / s.w / s.h;
      int64_t const row = t.shift_h + y / t.stride, column = t.shift_w + x / t.stride;
      REQUIRE(row < t.shape.oh());
      REQUIRE(column < t.shape.ow());
      int64_t const at = ((image * t.shape.oh() + row) * t.shape.ow() + column) * t.shape.o +
                         (y % t.stride * t.stride + x % t.stride) * s.c + c;
      double const apart = std::abs(blocks[size_t(at)] - wanted[size_t(i)]);
      worst = apart <= worst ? worst : apart;
    }
    CHECK(worst <= 1e-12);
  }
}

TEST_CASE("what would not pay is not turned") {
  Tensor const weight = Tensor::zeros({8, 3, 3, 8});
  Conv2dShape const strided{.n = 1, .h = 8, .w = 8, .c = 8, .o = 8, .kh = 3, .kw = 3, .stride_h = 2, .stride_w = 2};
  CHECK(!frozen::turned(strided, weight).weight.defined());
  Conv2dShape const wide_padding{.n = 1, .h = 8, .w = 8, .c = 8, .o = 8, .kh = 3, .kw = 3, .pad_h = 3, .pad_w = 3};
  CHECK(!frozen::turned(wide_padding, weight).weight.defined());
}
