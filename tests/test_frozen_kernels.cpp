// The passes of frozen networks: against plain loops, on slices of wider rows, with every tail, and with NaN.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "kernels/launch/table.h"
#include "kernels/map/depth_to_space.h"
#include "tests/guarded.h"
#include "tests/pool_windows.h"

using namespace mith;

namespace {

using Values = std::vector<float>;

const Kernel<float*, uint32_t*, const float*, const float*, const float*, bool, int64_t, int64_t, int64_t, int64_t>
    affine_relu_forward{"affine_relu_forward", DType::f32};
const Kernel<float*, const float*, const uint32_t*, const float*, bool, int64_t, int64_t, int64_t, int64_t>
    affine_relu_backward{"affine_relu_backward", DType::f32};

const Kernel<float*, const float*, int64_t, int64_t, int64_t, int64_t, PixelBlocks> depth_to_space{"depth_to_space",
                                                                                                   DType::f32};

const Kernel<float*, const float*, int64_t, int64_t, int64_t, int64_t, int64_t, bool> spread_pixels{"spread_pixels",
                                                                                                    DType::f32};

const Kernel<float*, uint8_t*, const float*, Pool2dShape, bool> max_pool_forward{"max_pool2d_forward", DType::f32};
const Kernel<float*, const float*, const uint8_t*, Pool2dShape> max_pool_backward{"max_pool2d_backward", DType::f32};

const Stream& stream() { return stream_of(default_device()); }

struct Case {
  int64_t rows, cols, x_pitch, y_pitch;
  bool scales, relu;
};

/// Every tail of the words of 32 rows and of the host's 64 columns, dense and as slices.
std::vector<Case> cases() {
  std::vector<Case> all;
  for (auto const& [rows, cols] : {std::pair<int64_t, int64_t>{1, 1}, {31, 3}, {32, 64}, {33, 65}, {70, 130}})
    for (int64_t const wider : {0, 5})
      for (bool const scales : {false, true})
        for (bool const relu : {false, true}) all.push_back({rows, cols, cols + wider, cols + 2 * wider, scales, relu});
  return all;
}

size_t extent(int64_t rows, int64_t cols, int64_t pitch) { return size_t((rows - 1) * pitch + cols); }

}  // namespace

TEST_CASE("affine_relu: forward, and the gradient through the signs that it kept") {
  for (const Case& k : cases()) {
    CAPTURE(k.rows);
    CAPTURE(k.cols);
    CAPTURE(k.x_pitch);
    CAPTURE(k.scales);
    CAPTURE(k.relu);
    Values const host_x = uniform_values(extent(k.rows, k.cols, k.x_pitch), 1, -1, 1);
    Values const host_scale = uniform_values(size_t(k.cols), 2, -2, 2),
                 host_shift = uniform_values(size_t(k.cols), 3, -1, 1);
    Values const before(extent(k.rows, k.cols, k.y_pitch), 5);
    GuardedValues const x(host_x), y(before), scale(host_scale), shift(host_shift);
    GuardedValues const signs(Values(size_t((k.rows + 31) / 32 * k.cols)));
    auto* const words = reinterpret_cast<uint32_t*>(signs.data());
    affine_relu_forward(stream(), y.data(), words, x.data(), k.scales ? scale.data() : nullptr,
                        k.scales ? shift.data() : nullptr, k.relu, k.rows, k.cols, k.y_pitch, k.x_pitch);
    Values const dy = uniform_values(extent(k.rows, k.cols, k.y_pitch), 4, -1, 1);
    GuardedValues const gradient(dy), dx(Values(host_x.size(), 7)), sum(Values(host_x.size(), 7));
    for (bool const add : {false, true})
      affine_relu_backward(stream(), add ? sum.data() : dx.data(), gradient.data(), k.relu ? words : nullptr,
                           k.scales ? scale.data() : nullptr, add, k.rows, k.cols, k.x_pitch, k.y_pitch);
    signs.read();
    Values const got = y.read(), got_dx = dx.read(), got_sum = sum.read();
    double worst = 0;
    auto const differ = [&](double a, double b) {
      if (!(std::abs(a - b) <= worst)) worst = std::isnan(a - b) ? 1e300 : std::abs(a - b);
    };
    int64_t between = 0;
    for (size_t i = 0; i < before.size(); ++i) {
      auto const r = int64_t(i) / k.y_pitch, c = int64_t(i) % k.y_pitch;
      if (c >= k.cols) {
        between += got[i] != 5;
        continue;
      }
      double v = host_x[size_t(r * k.x_pitch + c)];
      if (k.scales) v = v * host_scale[size_t(c)] + host_shift[size_t(c)];
      differ(got[i], k.relu && v < 0 ? 0 : v);
      double const back = (k.relu && v <= 0 ? 0 : dy[i]) * (k.scales ? double(host_scale[size_t(c)]) : 1);
      differ(got_dx[size_t(r * k.x_pitch + c)], back);
      differ(got_sum[size_t(r * k.x_pitch + c)], 7 + back);
    }
    for (size_t i = 0; i < got_dx.size(); ++i)
      if (int64_t(i) % k.x_pitch >= k.cols) between += got_dx[i] != 7 || got_sum[i] != 7;
    CHECK(worst <= 1e-6);  // a product and a sum of numbers up to 8
    CHECK(between == 0);
  }
}

TEST_CASE("affine_relu works where its operand lies, and needs no signs") {
  Values const values = uniform_values(45 * 70, 6, -1, 1);
  GuardedValues const x(values), y(Values(values.size())), both(values);
  affine_relu_forward(stream(), y.data(), nullptr, x.data(), nullptr, nullptr, true, 45, 70, 70, 70);
  affine_relu_forward(stream(), both.data(), nullptr, both.data(), nullptr, nullptr, true, 45, 70, 70, 70);
  CHECK(y.read() == both.read());
  GuardedValues const signs(Values(2 * 70)), dx(values), in_place(values);
  auto* const words = reinterpret_cast<uint32_t*>(signs.data());
  affine_relu_forward(stream(), y.data(), words, x.data(), nullptr, nullptr, true, 45, 70, 70, 70);
  affine_relu_backward(stream(), dx.data(), x.data(), words, nullptr, false, 45, 70, 70, 70);
  affine_relu_backward(stream(), in_place.data(), in_place.data(), words, nullptr, false, 45, 70, 70, 70);
  CHECK(dx.read() == in_place.read());
  CHECK(dx.read() == y.read());  // of these values: what is positive, and nothing else
}

TEST_CASE("affine_relu keeps NaN") {
  float const nan = std::numeric_limits<float>::quiet_NaN();
  GuardedValues const x(Values{nan, 1, -1}), y(Values(3)), signs(Values(3));
  auto* const words = reinterpret_cast<uint32_t*>(signs.data());
  affine_relu_forward(stream(), y.data(), words, x.data(), nullptr, nullptr, true, 1, 3, 3, 3);
  Values const forward = y.read();
  CHECK(std::isnan(forward[0]));
  CHECK(forward[1] == 1);
  CHECK(forward[2] == 0);
  GuardedValues const dy(Values{1, nan, nan}), dx(Values(3));
  affine_relu_backward(stream(), dx.data(), dy.data(), words, nullptr, false, 1, 3, 3, 3);
  Values const backward = dx.read();
  CHECK(backward[0] == 0);
  CHECK(std::isnan(backward[1]));
  CHECK(backward[2] == 0);
}

TEST_CASE("max pooling with a ReLU behind it is pooling behind a ReLU, and so is its gradient") {
  for (PoolWindow const w : {PoolWindow{2, 2, 0}, PoolWindow{3, 2, 1}, PoolWindow{4, 3, 1}}) {
    CAPTURE(w.kernel);
    int64_t const n = 2, h = 9, c = 21;
    Pool2dShape const s = w.over(n, h, c);
    auto const outputs = static_cast<size_t>(s.outputs());
    // Most windows have no positive element; some have a zero or NaN for their maximum.
    Values values(static_cast<size_t>(s.inputs())), slopes(outputs);
    for (size_t i = 0; i < values.size(); ++i) values[i] = float(int(i * 7919 % 23) - 20) / 4;
    for (size_t i = 0; i < values.size(); i += 97) values[i] = 0;
    for (size_t i = 5; i < values.size(); i += 311) values[i] = std::numeric_limits<float>::quiet_NaN();
    for (size_t i = 0; i < outputs; ++i) slopes[i] = float(i % 5) - 1.5f;
    GuardedValues const x(values), dy(slopes), rectified(Values(values.size())), signs(Values(values.size()));
    auto* const words = reinterpret_cast<uint32_t*>(signs.data());
    affine_relu_forward(stream(), rectified.data(), words, x.data(), nullptr, nullptr, true, n * h * h, c, c, c);
    auto const pooled = [&](const GuardedValues& from, bool relu, bool masks) {
      GuardedValues const y{Values(outputs)}, index{Values(outputs)}, dx{Values(values.size())};
      auto* const taps = reinterpret_cast<uint8_t*>(index.data());
      max_pool_forward(stream(), y.data(), taps, from.data(), s, relu);
      max_pool_backward(stream(), dx.data(), dy.data(), taps, s);
      if (masks) affine_relu_backward(stream(), dx.data(), dx.data(), words, nullptr, false, n * h * h, c, c, c);
      return std::pair(y.read(), dx.read());
    };
    auto const [y, dx] = pooled(x, true, false);
    auto const [y_wanted, dx_wanted] = pooled(rectified, false, true);
    int64_t nans = 0, dead = 0;
    for (size_t i = 0; i < outputs; ++i) {
      nans += std::isnan(y[i]), dead += y[i] == 0;
      bool const same = y[i] == y_wanted[i] || (std::isnan(y[i]) && std::isnan(y_wanted[i]));
      CHECK(same);
    }
    CHECK(nans > 0);
    CHECK(dead > 0);
    CHECK(dead + nans < s.outputs());
    for (size_t i = 0; i < dx.size(); ++i) {  // a NaN is no loser: it gets the gradient that a ReLU keeps from it
      bool const same = dx[i] == dx_wanted[i] || std::isnan(values[i]);
      CHECK(same);
    }
  }
}

TEST_CASE("depth_to_space puts every pixel where its block has it") {
  for (int64_t const side : {1, 2, 3})
    for (int64_t const c : {1, 3}) {
      CAPTURE(side);
      CAPTURE(c);
      int64_t const n = 2, h = 7, w = 5, blocks_h = 8, blocks_w = 9, top = 1, left = 2, deep = side * side * c;
      Values const host = uniform_values(size_t(n * blocks_h * blocks_w * deep), 1, -1, 1);
      GuardedValues const x(host), y(Values(size_t(n * h * w * c)));
      depth_to_space(stream(), y.data(), x.data(), n, h, w, c,
                     {.h = blocks_h, .w = blocks_w, .top = top, .left = left, .side = side});
      Values wanted;
      for (int64_t i = 0; i < n; ++i)
        for (int64_t row = 0; row < h; ++row)
          for (int64_t column = 0; column < w; ++column)
            for (int64_t channel = 0; channel < c; ++channel) {
              int64_t const pixel = (i * blocks_h + top + row / side) * blocks_w + left + column / side;
              wanted.push_back(host[size_t(pixel * deep + (row % side * side + column % side) * c + channel)]);
            }
      CHECK(y.read() == wanted);
    }
}

TEST_CASE("spread_pixels puts every pixel first in its block, or adds it there") {
  for (int64_t const side : {2, 3})
    for (bool const adds : {false, true}) {
      CAPTURE(side);
      CAPTURE(adds);
      int64_t const n = 2, h = 7, w = 6, c = 5, lines = (h + side - 1) / side, columns = (w + side - 1) / side;
      Values const host = uniform_values(size_t(n * lines * columns * c), 1, -1, 1);
      Values wanted = uniform_values(size_t(n * h * w * c), 2, -1, 1);
      GuardedValues const x(host), y(wanted);
      spread_pixels(stream(), y.data(), x.data(), n, h, w, c, side, adds);
      for (size_t at = 0; at < wanted.size(); ++at) {
        int64_t const i = int64_t(at), column = i / c % w, row = i / c / w % h, image = i / c / w / h;
        bool const first = row % side == 0 && column % side == 0;
        float const own =
            first ? host[size_t(((image * lines + row / side) * columns + column / side) * c + i % c)] : 0;
        wanted[at] = adds ? wanted[at] + own : own;
      }
      CHECK(y.read() == wanted);
    }
}
