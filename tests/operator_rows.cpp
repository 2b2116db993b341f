#include "tests/operator_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/train/batch_source.h"

namespace mith {

Values draw(int64_t n, uint64_t seed, double low, double high) {
  Values v;
  DrawKey const key{.seed = seed, .purpose = Purpose::noise};
  for (int64_t i = 0; i < n; ++i) v.push_back(low + (high - low) * double(uniform(key, 0, uint64_t(i))));
  return v;
}

Values on_grid(int64_t n, uint64_t seed, double step, double offset) {
  Values v = draw(n, seed, -4.5, 4.5);
  for (double& e : v) e = std::round(e) * step + offset;
  return v;
}

Values apart(int64_t n, uint64_t seed) {
  Values const order = draw(n, seed);
  std::vector<size_t> rank;
  for (size_t i = 0; i < order.size(); ++i) rank.push_back(i);
  std::sort(rank.begin(), rank.end(), [&](size_t a, size_t b) { return order[a] < order[b]; });
  Values v(order.size());
  for (size_t i = 0; i < rank.size(); ++i) v[rank[i]] = 0.1 * (double(i) - double(n / 2)) + 0.05;
  return v;
}

namespace {

int64_t product(const Shape& s) { return s.numel(); }

Operand random_operand(const Shape& s, uint64_t seed, double low = -2, double high = 2) {
  return {s, draw(product(s), seed, low, high)};
}

std::string named(const std::string& what, const Shape& s) { return what + " " + s.str(); }

/// Element by element: f(value of every operand).
template <class F>
std::function<Values(const std::vector<Values>&)> elementwise(F f) {
  return [f](const std::vector<Values>& in) {
    Values out;
    for (size_t i = 0; i < in[0].size(); ++i) out.push_back(f(in, i));
    return out;
  };
}

OperatorRow channel_affine_row(const Shape& s) {
  int64_t const c = s[-1];
  Values const factor = draw(c, 21), offset = draw(c, 22);
  return {named("channel_affine", s),
          {random_operand(s, 20)},
          [=](const std::vector<Tensor>& in) {
            Tensor const f = Tensor::from(factor, {c}).cast(in[0].dtype());
            return channel_affine(in[0], f, Tensor::from(offset, {c}).cast(in[0].dtype()));
          },
          elementwise([=](const std::vector<Values>& in, size_t i) {
            size_t const k = i % size_t(c);
            return in[0][i] * factor[k] + offset[k];
          })};
}

OperatorRow dropout_row(const Shape& s, double p) {
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < s[0]; ++i) ids.push_back(100 - 7 * i);
  DrawKey const key{.seed = 3, .step = 4, .purpose = Purpose::dropout, .stream = 2};
  size_t const per_image = size_t(s.numel() / s[0]);
  return {named("dropout", s),
          {random_operand(s, 30)},
          [=](const std::vector<Tensor>& in) { return dropout(in[0], p, Tensor::from(ids, {s[0]}), key); },
          elementwise([=](const std::vector<Values>& in, size_t i) {
            float const u = uniform(key, uint64_t(ids[i / per_image]), i % per_image);
            return u < float(p) ? 0 : in[0][i] / (1 - p);
          })};
}

/// y[r] = factor * sum of row r.
OperatorRow sum_row(const std::string& name, const Shape& s, Tensor (*op)(const Tensor&), int64_t rows, double factor) {
  size_t const length = size_t(s.numel() / rows);
  return {named(name, s),
          {random_operand(s, 40)},
          [=](const std::vector<Tensor>& in) { return op(in[0]); },
          [=](const std::vector<Values>& in) {
            Values out(size_t(rows), 0);
            for (size_t i = 0; i < in[0].size(); ++i) out[i / length] += factor * in[0][i];
            return out;
          }};
}

}  // namespace

std::vector<OperatorRow> arithmetic_rows() {
  std::vector<OperatorRow> rows;
  using In = std::vector<Values>;
  using Tensors = std::vector<Tensor>;
  for (Shape const& s : {Shape{1}, Shape{3, 5}, Shape{2, 3, 5, 7}}) {
    std::vector<Operand> const two{random_operand(s, 1), random_operand(s, 2)};
    rows.push_back({named("add", s), two, [](const Tensors& in) { return add(in[0], in[1]); },
                    elementwise([](const In& in, size_t i) { return in[0][i] + in[1][i]; })});
    rows.push_back({named("multiply", s), two, [](const Tensors& in) { return multiply(in[0], in[1]); },
                    elementwise([](const In& in, size_t i) { return in[0][i] * in[1][i]; })});
    rows.push_back({named("square by multiply", s),
                    {two[0]},
                    [](const Tensors& in) { return multiply(in[0], in[0]); },
                    elementwise([](const In& in, size_t i) { return in[0][i] * in[0][i]; })});
    rows.push_back({named("scale", s),
                    {two[0]},
                    [](const Tensors& in) { return scale(in[0], -1.7); },
                    elementwise([](const In& in, size_t i) { return -1.7 * in[0][i]; })});
    rows.push_back({named("relu", s),
                    {{s, apart(s.numel(), 3)}},
                    [](const Tensors& in) { return relu(in[0]); },
                    elementwise([](const In& in, size_t i) { return in[0][i] < 0 ? 0 : in[0][i]; })});
    rows.push_back({named("flatten", s),
                    {two[0]},
                    [](const Tensors& in) { return flatten(in[0]); },
                    [](const In& in) { return in[0]; }});
    rows.push_back({named("reshape", s),
                    {two[0]},
                    [](const Tensors& in) {
                      return reshape(in[0], {1, in[0].numel()});
                    },
                    [](const In& in) { return in[0]; }});
    rows.push_back(sum_row("sum", s, sum, 1, 1));
    rows.push_back(sum_row("mean", s, mean, 1, 1 / double(s.numel())));
    rows.push_back(sum_row("sum_rows", s, sum_rows, s[0], 1));
  }
  for (int64_t c : {1, 2, 3, 4, 5, 17}) rows.push_back(channel_affine_row({2, 3, c}));
  rows.push_back(dropout_row({3, 5}, 0.4));
  rows.push_back(dropout_row({2, 3, 2, 5}, 0.1));
  rows.push_back(dropout_row({1, 1}, 0));
  return rows;
}

std::vector<OperatorRow> all_rows() {
  std::vector<OperatorRow> rows = arithmetic_rows();
  for (auto const& more : {activation_rows(), channel_rows(), convolution_rows(), pooling_rows(), normalization_rows(),
                           loss_rows(), image_rows(), transformer_rows()})
    rows.insert(rows.end(), more.begin(), more.end());
  return rows;
}

Values on_host(const Tensor& t) { return t.cast(DType::f64).to_host<double>(); }

double largest(const Values& v) {
  double m = 0;
  for (double e : v) m = std::max(m, std::abs(e));
  return m;
}

double distance(const Values& a, const Values& expected) {
  if (a.size() != expected.size()) return std::numeric_limits<double>::infinity();
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    double const d = std::abs(a[i] - expected[i]);
    if (!(d <= worst)) worst = std::isnan(d) ? std::numeric_limits<double>::infinity() : d;
  }
  return worst / (1 + largest(expected));
}

}  // namespace mith
