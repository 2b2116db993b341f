// What the rows of test_conformance.cpp cannot say about operators.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "engine/ops/support.h"
#include "tests/operator_rows.h"

using namespace mith;

TEST_CASE("a pass that watches only the input keeps nothing for weight gradients") {
  Tensor const x = Tensor::full({2, 4, 4, 3}, 1), w = Tensor::full({5, 3, 3, 3}, 1), b = Tensor::full({5}, 1);
  Tensor const lw = Tensor::full({2, 20}, 1), lb = Tensor::full({2}, 1), one = Tensor::full({5}, 1);
  BatchNormState state{Tensor::zeros({5}), Tensor::full({5}, 1)};
  Tape tape;
  tape.watch(x);
  Tensor const y = batch_norm_eval(conv2d(x, w, b), one, b, state);
  linear(flatten(y), lw, lb);
  auto const& nodes = tape.nodes();
  REQUIRE(nodes.size() == 4);
  auto const& conv = dynamic_cast<const Conv2dNode&>(*nodes[0]);
  CHECK_FALSE(conv.input.defined());
  CHECK_FALSE(conv.output.defined());
  CHECK(conv.name() == "conv2d");
  CHECK(conv.flops() == 2 * 2 * 2 * 2 * 5 * 27);
  CHECK(conv.attributes()[0] == Attribute{"kernel", "3x3"});
  CHECK_FALSE(dynamic_cast<const BatchNormNode&>(*nodes[1]).input.defined());
  auto const& dense = dynamic_cast<const LinearNode&>(*nodes[3]);
  CHECK_FALSE(dense.input.defined());
  CHECK(dense.flops() == 2 * 2 * 20 * 2);

  Tape weights;
  weights.watch(w);
  conv2d(x, w, b, {}, Activation::relu);
  auto const& kept = dynamic_cast<const Conv2dNode&>(*weights.nodes()[0]);
  CHECK(kept.input.defined());
  CHECK(kept.output.defined());
}

TEST_CASE("batch norm keeps running statistics as PyTorch does, also far from zero") {
  // A mean of 1000 with deviation 1: squares of f32 would lose the variance.
  int64_t const n = 500;
  Values x = draw(2 * n, 7, -1, 1);
  for (double& v : x) v += 1000;
  Tensor const input = Tensor::from(x, {n, 2}).cast(DType::f32);
  Values const held = on_host(input);
  BatchNormState state{Tensor::full({2}, 5), Tensor::full({2}, 3), 0.1, 1e-5};
  Tensor const one = Tensor::full({2}, 1), zero = Tensor::zeros({2});
  batch_norm_train(input, one, zero, state, false);
  CHECK(on_host(state.running_mean) == Values{5, 5});
  Tensor const y = batch_norm_train(input, one, zero, state);
  Values const result = on_host(y);
  for (size_t c : {0, 1}) {
    double mean = 0, variance = 0, error = 0;
    for (size_t i = c; i < held.size(); i += 2) mean += held[i] / n;
    for (size_t i = c; i < held.size(); i += 2) variance += std::pow(held[i] - mean, 2) / n;
    for (size_t i = c; i < held.size(); i += 2)
      error = std::max(error, std::abs(result[i] - (held[i] - mean) / std::sqrt(variance + 1e-5)));
    CHECK(error <= 2e-4);  // the f32 mean of 1000 is off by up to 3e-5, divided by a deviation of 0.58
    CHECK(std::abs(on_host(state.running_mean)[c] - (0.9 * 5 + 0.1 * mean)) <= 1e-5);  // f32 near 100
    CHECK(std::abs(on_host(state.running_var)[c] - (0.9 * 3 + 0.1 * variance * n / (n - 1))) <= 1e-6);
  }
  CHECK_THROWS_AS(batch_norm_train(input.rows(0, 1), one, zero, state), Error);
}

TEST_CASE("a rectified batch norm masks its gradient where its output was cut off, to the last bit") {
  int64_t const n = 50, c = 300;
  for (DType const type : {DType::f32, DType::f64}) {
    auto const of = [&](const Values& values, const Shape& shape) { return Tensor::from(values, shape).cast(type); };
    Tensor const x = of(draw(n * c, 71, -2, 3), {n, c}), weight = of(draw(c, 72), {c});
    BatchNormState state{of(Values(c, 0), {c}), of(Values(c, 1), {c})};
    // Biases that cancel one row: what is left of it is rounding, of either sign.
    Values bias = on_host(batch_norm_train(x, weight, of(Values(c, 0), {c}), state).rows(7, 1));
    for (double& b : bias) b = -b;
    Tensor const shift = of(bias, {c});
    Tape tape;
    tape.watch(x);
    tape.watch(shift);
    Tensor const y = batch_norm_train(x, weight, shift, state, false, {.activation = Activation::relu});
    auto const g = tape.gradients(y, Tensor::full(y.shape(), 1, type), {x, shift});
    Values const out = on_host(y), dx = on_host(g[0]), counted = on_host(g[1]);
    for (size_t k = 0; k < size_t(c); ++k) {
      double passed = 0;
      for (size_t r = 0; r < size_t(n); ++r) passed += out[r * size_t(c) + k] > 0;
      CHECK(counted[k] == passed);
    }
    // The same gradient where the mask comes from the output; one element more or less would show in the first digit.
    Tape second;
    second.watch(x);
    Tensor const z = relu(batch_norm_train(x, weight, shift, state, false));
    Values const expected = on_host(second.gradients(z, Tensor::full(z.shape(), 1, type), {x})[0]);
    for (size_t i = 0; i < dx.size(); ++i) CHECK(std::abs(dx[i] - expected[i]) <= 1e-5);  // rounding in f32
  }
}

TEST_CASE("dropout draws by image, not by place in the batch") {
  DrawKey const key{.seed = 9, .purpose = Purpose::dropout};
  Tensor const x = Tensor::full({4, 1000}, 1);
  Tensor const ids = Tensor::from(std::vector<int64_t>{8, 3, 11, 5}, {4});
  Values const together = on_host(dropout(x, 0.3, ids, key));
  Values const alone = on_host(dropout(x.rows(0, 1), 0.3, Tensor::from(std::vector<int64_t>{11}, {1}), key));
  CHECK(Values(together.begin() + 2000, together.begin() + 3000) == alone);
  double dropped = 0;
  for (double v : together) {
    CHECK((v == 0 || std::abs(v - 1 / 0.7) <= 1e-6));
    dropped += v == 0;
  }
  CHECK(std::abs(dropped / 4000 - 0.3) <= 0.03);  // four standard errors of 0.0072
  CHECK(on_host(dropout(x, 0.3, ids, key.with(Purpose::dropout, 1))) != together);
}

TEST_CASE("stochastic depth drops whole images by their ids, not by their place in the batch") {
  DrawKey const key{.seed = 9, .purpose = Purpose::dropout};
  int64_t const n = 1000;
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < n; ++i) ids.push_back(3 * i);
  Values const together = on_host(stochastic_depth(Tensor::full({n, 2}, 1), 0.3, Tensor::from(ids, {n}), key));
  double dropped = 0;
  for (size_t i = 0; i < together.size(); i += 2) {
    CHECK(together[i] == together[i + 1]);
    CHECK((together[i] == 0 || std::abs(together[i] - 1 / 0.7) <= 1e-6));
    dropped += together[i] == 0;
  }
  CHECK(std::abs(dropped / double(n) - 0.3) <= 0.06);  // four standard errors of 0.0145
  Tensor const last = Tensor::from(std::vector{ids.back()}, {1});
  CHECK(on_host(stochastic_depth(Tensor::full({1, 2}, 1), 0.3, last, key))[0] == together.back());
  CHECK(on_host(stochastic_depth(Tensor::full({1, 2}, 1), 1, last, key)) == Values{0, 0});
}

TEST_CASE("sigmoid and silu over the whole range of f32, against double") {
  Values x;
  for (double v = -120; v <= 120; v += 0.037) x.push_back(double(float(v)));
  x.insert(x.end(), {0, 3e38, -3e38, 88.72, 88.73, -87.3, -87.4});
  Tensor const t = Tensor::from(x, {int64_t(x.size())}).cast(DType::f32);
  Values const held = on_host(t), s = on_host(sigmoid(t)), y = on_host(silu(t));
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    double const exact = 1 / (1 + std::exp(-held[i]));
    CHECK(s[i] >= 0);
    CHECK(s[i] <= 1);
    CHECK(!std::isnan(y[i]));
    if (held[i] > -87) worst = std::max(worst, std::abs(s[i] / exact - 1));
  }
  CHECK(worst <= 4e-7);  // two units of the exponential, one each of the sum and the quotient
}

TEST_CASE("gelu over the whole range of f32, against double") {
  Values x;
  for (double v = -12; v <= 12; v += 0.0037) x.push_back(double(float(v)));
  x.insert(x.end(), {0, 3e38, -3e38, -40});
  Tensor const t = Tensor::from(x, {int64_t(x.size())}).cast(DType::f32);
  Values const held = on_host(t), y = on_host(gelu(t));
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    double const v = held[i], exact = v / 2 * std::erfc(-v / std::sqrt(2.0));
    CHECK(!std::isnan(y[i]));
    // Two units for the polynomial's fit, its roundings and the exponential, whose argument's rounding grows with it.
    if (std::abs(exact) > 1e-37) worst = std::max(worst, std::abs(y[i] / exact - 1) / (10 + v * v / 2));
  }
  CHECK(worst <= 6e-8);
}

TEST_CASE("tokens: a class token before the patches, positions added, the class token taken") {
  Tensor const patches = Tensor::from(Values{1, 2, 3, 4, 5, 6, 7, 8}, {2, 2, 2});
  Tensor const token = Tensor::from(Values{10, 20}, {1, 1, 2});
  Tensor const positions = Tensor::from(Values{.1, .2, .3, .4, .5, .6}, {1, 3, 2});
  Tensor const tokens = add(concat({expand(token, 2), patches}, 1), expand(positions, 2));
  CHECK(distance(on_host(tokens), {10.1, 20.2, 1.3, 2.4, 3.5, 4.6, 10.1, 20.2, 5.3, 6.4, 7.5, 8.6}) <= 1e-15);
  CHECK(distance(on_host(narrow(tokens, 1, 0, 1)), {10.1, 20.2, 10.1, 20.2}) <= 1e-15);
}

TEST_CASE("sums of many elements, alone and by channel") {
  int64_t const rows = 40001, cols = 3;
  Values const x = draw(rows * cols, 12, 0, 1);
  Tensor const t = Tensor::from(x, {rows, cols}).cast(DType::f32);
  Values const held = on_host(t);
  double total = 0;
  Values columns(cols, 0);
  for (size_t i = 0; i < held.size(); ++i) {
    total += held[i];
    columns[i % 3] += held[i];
  }
  CHECK(std::abs(on_host(sum(t))[0] / total - 1) <= 1e-6);  // partial sums are rounded to f32 once
  CHECK(std::abs(on_host(mean(t))[0] * double(held.size()) / total - 1) <= 1e-6);
  CHECK(distance(on_host(column_sums(t)), columns) <= 1e-6);
  CHECK(distance(on_host(column_sums(t.cast(DType::f64))), columns) <= 1e-13);
}

TEST_CASE("results do not depend on the number of threads") {
  Tensor const x = Tensor::from(draw(20000 * 7, 13), {20000, 7}).cast(DType::f32);
  auto const results = [&] {
    BatchNormState state{Tensor::zeros({7}), Tensor::full({7}, 1)};
    Tensor const one = Tensor::full({7}, 1);
    return std::vector{on_host(sum(x)), on_host(column_sums(x)), on_host(batch_norm_train(x, one, one, state))};
  };
  int const before = threads();
  set_threads(1);
  auto const alone = results();
  set_threads(3);
  auto const together = results();
  set_threads(before);
  CHECK(alone == together);
}

TEST_CASE("max_pool2d: the first of equal elements gets the gradient, NaN before all") {
  double const nan = std::nan("");
  PoolOptions const overlapping{.kernel_h = 3, .kernel_w = 3, .stride_h = 1, .stride_w = 1, .pad_h = 1, .pad_w = 1};
  PoolOptions const any{.kernel_h = 2, .kernel_w = 3, .stride_h = 2, .stride_w = 3};
  struct Case {
    Shape shape;
    PoolOptions options;
    Values x, gradient;
  };
  for (Case const& o :
       {Case{{1, 2, 2, 1}, {}, {5, 5, 5, 5}, {1, 0, 0, 0}}, Case{{1, 2, 2, 1}, {}, {1, 5, 5, 5}, {0, 1, 0, 0}},
        Case{{1, 2, 2, 1}, {}, {5, nan, 7, 7}, {0, 1, 0, 0}},
        Case{{1, 2, 3, 1}, any, {1, 5, 5, 5, 1, 1}, {0, 1, 0, 0, 0, 0}},
        Case{{1, 3, 3, 1}, overlapping, Values(9, 2), {4, 2, 0, 2, 1, 0, 0, 0, 0}}}) {
    CAPTURE(o.shape);
    for (DType type : {DType::f32, DType::f64}) {
      Tensor const x = Tensor::from(o.x, o.shape).cast(type);
      Tape tape;
      tape.watch(x);
      Tensor const y = max_pool2d(x, o.options);
      CHECK(on_host(tape.gradient(y, Tensor::full(y.shape(), 1, type), x)) == o.gradient);
    }
  }
}

TEST_CASE("argmax: ties give the lowest index, NaN wins") {
  double const nan = std::nan(""), inf = std::numeric_limits<double>::infinity();
  Values const x{1, 3, 3, -1, nan, 9, nan, 2, -inf, -inf, -inf, -inf, -inf, 0, inf, inf};
  for (DType type : {DType::f32, DType::f64})
    CHECK(argmax(Tensor::from(x, {4, 4}).cast(type)).to_host<int32_t>() == std::vector<int32_t>{1, 0, 0, 2});
  Tensor const wide = Tensor::from(apart(2 * 3000, 4), {2, 3000});
  Values const v = on_host(wide);
  auto const found = argmax(wide).to_host<int32_t>();
  for (size_t r : {0, 1})
    CHECK(found[r] == std::max_element(v.begin() + 3000 * r, v.begin() + 3000 * (r + 1)) - (v.begin() + 3000 * r));
}

TEST_CASE("rows are gathered and scattered for every element type") {
  auto const check_type = [](auto zero) {
    using T = decltype(zero);
    std::vector<T> values;
    for (int i = 0; i < 4 * 3; ++i) values.push_back(T(i + 1));
    Tensor const x = Tensor::from(values, {4, 3});
    CHECK(gather_rows(x, {2, 0, 2}).template to_host<T>() == std::vector<T>{7, 8, 9, 1, 2, 3, 7, 8, 9});
    CHECK(gather_rows(x, {}).shape() == Shape{0, 3});
    Tensor target = Tensor::zeros({4, 3}, dtype_of<T>);
    scatter_rows(target, x.rows(0, 2), {3, 1});
    CHECK(target.to_host<T>() == std::vector<T>{0, 0, 0, 4, 5, 6, 0, 0, 0, 1, 2, 3});
    CHECK_THROWS_AS(gather_rows(x, {4}), Error);
    CHECK_THROWS_AS(gather_rows(x, {-1}), Error);
    CHECK_THROWS_AS(scatter_rows(target, x.rows(0, 2), {3}), Error);
  };
  check_type(float{});
  check_type(double{});
  check_type(int32_t{});
  check_type(int64_t{});
  check_type(uint8_t{});
}

TEST_CASE("unrecorded operators: add_in_place, count_nan, matmul, softmax") {
  Tensor target = Tensor::from(Values{1, 2, 3}, {3});
  add_in_place(target, Tensor::from(Values{1, 10, 100}, {3}), -0.5);
  CHECK(on_host(target) == Values{0.5, -3, -47});
  Values many = draw(40000, 5);
  for (size_t i : {0, 17, 20000, 39999}) many[i] = std::nan("");
  for (DType type : {DType::f32, DType::f64}) CHECK(count_nan(Tensor::from(many, {40000}).cast(type)) == 4);

  Values const a = draw(6, 1), b = draw(12, 2);  // a [2,3], b [3,4]
  Values expected(8, 0), a_transposed(6), b_transposed(12);
  for (size_t i = 0; i < 2; ++i)
    for (size_t k = 0; k < 3; ++k)
      for (size_t j = 0; j < 4; ++j) {
        expected[i * 4 + j] += a[i * 3 + k] * b[k * 4 + j];
        a_transposed[k * 2 + i] = a[i * 3 + k];
        b_transposed[j * 3 + k] = b[k * 4 + j];
      }
  for (bool ta : {false, true})
    for (bool tb : {false, true}) {
      Tensor const left = ta ? Tensor::from(a_transposed, {3, 2}) : Tensor::from(a, {2, 3});
      Tensor const right = tb ? Tensor::from(b_transposed, {4, 3}) : Tensor::from(b, {3, 4});
      CHECK(distance(on_host(matmul(left, right, ta, tb)), expected) <= 1e-14);
    }

  Values const p = on_host(softmax(Tensor::from(Values{2, 1, .5, -1, 0, 1000, 1000, -1000, 0, 0}, {2, 5})));
  Values const golden{.56302123, .20712394, .12562702, .02803118, .07619664, .5, .5, 0, 0, 0};  // attacks.md 11
  CHECK(distance(p, golden) <= 1e-8);
  Values const f32 =
      on_host(softmax(Tensor::from(Values{2, 1, .5, -1, 0, 1000, 1000, -1000, 0, 0}, {2, 5}).cast(DType::f32)));
  CHECK(distance(f32, golden) <= 1e-6);
}

TEST_CASE("softmax keeps small probabilities to their last places, and NaN in its row") {
  constexpr int64_t k = 37;  // whole vectors and a rest
  // A rounding for each addend of the sum, in whatever order, and four for exponential, difference and quotient.
  constexpr double bound = (k + 4) * 0x1p-24;
  Values logits;
  for (int64_t i = 0; i < 40 * k; ++i) logits.push_back(i % k ? -86.0 * double(i) / double(40 * k) : 0);
  std::vector<float> const z(logits.begin(), logits.end());
  std::vector<float> const p = softmax(Tensor::from(z, {40, k})).to_host<float>();
  for (int64_t r = 0; r < 40; ++r) {
    double sum = 0;
    for (int64_t j = 0; j < k; ++j) sum += std::exp(double(z[size_t(r * k + j)]));
    for (int64_t j = 0; j < k; ++j) {
      size_t const at = size_t(r * k + j);
      double const expected = std::exp(double(z[at])) / sum;
      CHECK(std::abs(p[at] / expected - 1) <= bound);
    }
  }
  std::vector<float> bad(2 * k, -1);
  bad[5] = std::nanf("");
  std::vector<float> const q = softmax(Tensor::from(bad, {2, k})).to_host<float>();
  for (int64_t j = 0; j < k; ++j) {
    CHECK(std::isnan(q[size_t(j)]));
    CHECK(q[size_t(k + j)] == doctest::Approx(1.0 / k));
  }
}

TEST_CASE("empty batches pass through") {
  Tensor const x = Tensor::zeros({0, 6, 6, 2}), w = Tensor::full({3, 3, 3, 2}, 1), b = Tensor::full({3}, 1);
  Tensor const lw = Tensor::full({4, 3 * 2 * 2}, 1), ids = Tensor::zeros({0}, DType::i64);
  Tape tape;
  for (Tensor const& t : {x, w, b, lw}) tape.watch(t);
  BatchNormState state{Tensor::zeros({3}), Tensor::full({3}, 1)};
  Tensor y = max_pool2d(conv2d(x, w, b, {}, Activation::relu));
  y = linear(flatten(dropout(batch_norm_eval(y, b, b, state), 0.5, ids, {})), lw, Tensor());
  Tensor const loss = cross_entropy(y, Tensor::zeros({0}, DType::i32));
  CHECK(loss.shape() == Shape{0});
  CHECK(argmax(y).shape() == Shape{0});
  CHECK(on_host(sum(loss)) == Values{0});
  auto const g = tape.gradients(loss, Tensor::zeros({0}), {x, w, b, lw});
  CHECK(g[0].shape() == x.shape());
  CHECK(largest(on_host(g[1])) == 0);
  CHECK(largest(on_host(g[2])) == 0);
  CHECK(largest(on_host(g[3])) == 0);
}

TEST_CASE("the operators of branches, transformers and images let empty batches pass") {
  Tensor const x = Tensor::zeros({0, 4, 4, 6}), gate = Tensor::zeros({0, 6}), v = Tensor::full({6}, 1);
  Tensor const w = Tensor::full({6, 2, 2, 6}, 1), ids = Tensor::zeros({0}, DType::i64);
  Tape tape;
  for (Tensor const& t : {x, gate, v, w}) tape.watch(t);
  Tensor y = channel_gate(concat({narrow(x, 3, 0, 2), narrow(silu(x), 3, 2, 4)}), gate);
  y = stochastic_depth(group_norm(adaptive_avg_pool2d(y, 3, 3), 2, v, v), 0.5, ids, {});
  y = reflection_pad2d(interpolate(y, 5, 5, Interpolation::bilinear), {.left = 1});
  y = global_avg_pool2d(conv_transpose2d(y, w, v));
  y = self_attention(reshape(layer_norm(y, v, v), {0, 1, 6}), 2);
  Tensor const loss = mse_loss(y, y);
  CHECK(loss.shape() == Shape{0});
  auto const g = tape.gradients(loss, Tensor::zeros({0}), {x, gate, v, w});
  CHECK(g[0].shape() == x.shape());
  CHECK(g[1].shape() == gate.shape());
  CHECK(largest(on_host(g[2])) == 0);
  CHECK(largest(on_host(g[3])) == 0);
}

TEST_CASE("operands that do not fit are refused by name") {
  Tensor const x = Tensor::zeros({2, 5, 5, 3}), w = Tensor::zeros({4, 3, 3, 3}), v = Tensor::zeros({3});
  Tensor const m = Tensor::zeros({2, 6}), labels = Tensor::zeros({2}, DType::i32);
  BatchNormState state{v, v};
  struct Refused {
    const char* name;
    std::function<void()> call;
  };
  for (Refused const& r : std::vector<Refused>{
           {"add", [&] { add(x, w); }},
           {"multiply", [&] { multiply(x, x.cast(DType::f64)); }},
           {"reshape", [&] { reshape(x, {7}); }},
           {"mean", [&] { mean(Tensor::zeros({0})); }},
           {"channel_affine", [&] { channel_affine(x, v, m); }},
           {"argmax", [&] { argmax(x); }},
           {"conv2d",
            [&] {
              conv2d(x, Tensor::zeros({4, 3, 3, 2}), Tensor());
            }},
           {"conv2d", [&] { conv2d(x, w, v); }},
           {"conv2d", [&] { conv2d(x, w, Tensor(), {.groups = 2}); }},
           {"conv2d", [&] { conv2d(x, w, Tensor(), {.stride_h = 0}); }},
           {"conv2d",
            [&] {
              conv2d(x, Tensor::zeros({4, 7, 7, 3}), Tensor());
            }},
           {"linear",
            [&] {
              linear(m, Tensor::zeros({4, 5}), Tensor());
            }},
           {"linear", [&] { linear(x, m, Tensor()); }},
           {"matmul", [&] { matmul(m, m); }},
           {"batch_norm", [&] { batch_norm_eval(m, v, v, state); }},
           {"max_pool2d", [&] { max_pool2d(m); }},
           {"max_pool2d", [&] { max_pool2d(x, {.kernel_h = 6}); }},
           {"max_pool2d",
            [&] {
              max_pool2d(Tensor::zeros({1, 17, 17, 1}), {.kernel_h = 17, .kernel_w = 17});
            }},
           {"avg_pool2d", [&] { avg_pool2d(x, {.pad_h = 2}); }},
           {"dropout", [&] { dropout(x, 1, Tensor::zeros({2}, DType::i64), {}); }},
           {"dropout", [&] { dropout(x, 0.5, Tensor::zeros({3}, DType::i64), {}); }},
           {"stochastic_depth", [&] { stochastic_depth(x, 1.5, Tensor::zeros({2}, DType::i64), {}); }},
           {"stochastic_depth", [&] { stochastic_depth(x, 0.5, labels, {}); }},
           {"concat", [&] { concat({}); }},
           {"concat",
            [&] {
              concat({x, m});
            }},
           {"concat",
            [&] {
              concat({x, w});
            }},
           {"concat",
            [&] {
              concat({x, x}, 4);
            }},
           {"narrow", [&] { narrow(x, 3, 2, 2); }},
           {"expand", [&] { expand(x, 3); }},
           {"repeat_channels", [&] { repeat_channels(x, 3); }},
           {"channel_gate", [&] { channel_gate(x, m); }},
           {"adaptive_avg_pool2d", [&] { adaptive_avg_pool2d(x, 0, 1); }},
           {"global_avg_pool2d", [&] { global_avg_pool2d(m); }},
           {"self_attention",
            [&] {
              self_attention(Tensor::zeros({2, 3, 12}), 3);
            }},
           {"layer_norm", [&] { layer_norm(x, v, m); }},
           {"group_norm", [&] { group_norm(x, 2, v, v); }},
           {"group_norm", [&] { group_norm(x, 3, v, Tensor()); }},
           {"interpolate", [&] { interpolate(m, 3, 3, Interpolation::nearest); }},
           {"reflection_pad2d", [&] { reflection_pad2d(x, {.left = 5}); }},
           {"conv_transpose2d", [&] { conv_transpose2d(x, w, Tensor()); }},
           {"conv_transpose2d",
            [&] {
              conv_transpose2d(x, Tensor::zeros({3, 2, 2, 4}), Tensor(), {.output_pad_h = 1});
            }},
           {"l1_loss", [&] { l1_loss(x, w); }},
           {"gram_matrix", [&] { gram_matrix(m); }},
           {"cross_entropy", [&] { cross_entropy(m, Tensor::zeros({3}, DType::i32)); }},
           {"cross_entropy", [&] { cross_entropy(m, labels, {.label_smoothing = 1}); }},
           {"cross_entropy", [&] { cross_entropy(m, labels, {.label_smoothing = 0.1, .direction_only = true}); }},
           {"cross_entropy", [&] { cross_entropy(m, labels, {.class_weights = v}); }},
           {"margin_loss", [&] { margin_loss(m, Tensor::zeros({3}, DType::i32)); }},
           {"margin_loss", [&] { margin_loss(m, labels, {.others = v}); }},
           {"margin_loss",
            [&] {
              margin_loss(Tensor::zeros({2, 1}), labels);
            }},
           {"kl_divergence", [&] { kl_divergence(v, m); }}}) {
    std::string message;
    try {
      r.call();
    } catch (const Error& e) {
      message = e.what();
    }
    CHECK_MESSAGE(message.starts_with(std::string(r.name) + ": "), r.name, " said '", message, "'");
  }
}
