// Rows of activations, and of the operators that join, cut, repeat and weigh.
#include <cmath>

#include "tests/operator_rows.h"

namespace mith {
namespace {

using Tensors = std::vector<Tensor>;
using In = std::vector<Values>;

OperatorRow activation_row(const char* name, const Shape& s, Tensor (*op)(const Tensor&),
                           double (*definition)(double)) {
  // apart() stops short of 6, where relu6 has its second kink: the first element lies beyond it.
  Operand x{s, apart(s.numel(), 110)};
  x.values[0] = 7.35;
  return {cat(name, " ", s),
          {x},
          [=](const Tensors& in) { return op(in[0]); },
          [=](const In& in) {
            Values y;
            for (double v : in[0]) y.push_back(definition(v));
            return y;
          }};
}

/// Slices of all parts in turn: `outer` of them, each of inner[i] elements of part i.
OperatorRow concat_row(const std::vector<Shape>& shapes, int dim, size_t outer, const std::vector<size_t>& inner) {
  OperatorRow row;
  row.name = cat("concat ", shapes.size(), " along ", dim);
  for (size_t i = 0; i < shapes.size(); ++i) row.operands.push_back({shapes[i], draw(shapes[i].numel(), 120 + i)});
  row.apply = [=](const Tensors& in) { return concat(in, dim); };
  row.reference = [=](const In& in) {
    Values y;
    for (size_t o = 0; o < outer; ++o)
      for (size_t i = 0; i < in.size(); ++i)
        for (size_t k = 0; k < inner[i]; ++k) y.push_back(in[i][o * inner[i] + k]);
    return y;
  };
  return row;
}

/// Elements first ... first + count - 1 of every `period`.
OperatorRow narrow_row(const Shape& s, int dim, int64_t start, int64_t length, size_t period, size_t first,
                       size_t count) {
  return {cat("narrow ", s, " along ", dim),
          {{s, draw(s.numel(), 130)}},
          [=](const Tensors& in) { return narrow(in[0], dim, start, length); },
          [=](const In& in) {
            Values y;
            for (size_t i = 0; i < in[0].size(); ++i)
              if (i % period >= first && i % period < first + count) y.push_back(in[0][i]);
            return y;
          }};
}

OperatorRow channel_gate_row(const Shape& s) {
  size_t const c = size_t(s[3]), per_image = size_t(s[1] * s[2] * s[3]);
  return {cat("channel_gate ", s),
          {{s, draw(s.numel(), 140)}, {{s[0], s[3]}, draw(s[0] * s[3], 141)}},
          [](const Tensors& in) { return channel_gate(in[0], in[1]); },
          [=](const In& in) {
            Values y;
            for (size_t i = 0; i < in[0].size(); ++i) y.push_back(in[0][i] * in[1][i / per_image * c + i % c]);
            return y;
          }};
}

OperatorRow expand_row(const Shape& s, int64_t n) {
  return {cat("expand ", s, " to ", n),
          {{s, draw(s.numel(), 150)}},
          [=](const Tensors& in) { return expand(in[0], n); },
          [=](const In& in) {
            Values y;
            for (int64_t i = 0; i < n; ++i) y.insert(y.end(), in[0].begin(), in[0].end());
            return y;
          }};
}

OperatorRow repeat_channels_row(const Shape& s, int64_t channels) {
  return {cat("repeat_channels ", s, " to ", channels),
          {{s, draw(s.numel(), 160)}},
          [=](const Tensors& in) { return repeat_channels(in[0], channels); },
          [=](const In& in) {
            Values y;
            for (double v : in[0]) y.insert(y.end(), size_t(channels), v);
            return y;
          }};
}

OperatorRow stochastic_depth_row(const Shape& s, double p) {
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < s[0]; ++i) ids.push_back(60 - 7 * i);
  DrawKey const key{.seed = 3, .step = 4, .purpose = Purpose::dropout, .stream = 2};
  size_t const per_image = size_t(s.numel() / s[0]);
  return {cat("stochastic_depth ", s, " at ", p),
          {{s, draw(s.numel(), 170)}},
          [=](const Tensors& in) { return stochastic_depth(in[0], p, Tensor::from(ids, {s[0]}), key); },
          [=](const In& in) {
            Values y;
            for (size_t i = 0; i < in[0].size(); ++i) {
              bool const dropped = uniform(key, uint64_t(ids[i / per_image]), 0) < float(p);
              y.push_back(dropped ? 0 : in[0][i] / (1 - p));
            }
            return y;
          }};
}

}  // namespace

std::vector<OperatorRow> activation_rows() {
  std::vector<OperatorRow> rows;
  for (Shape const& s : {Shape{1}, Shape{3, 37}}) {
    rows.push_back(activation_row("relu6", s, relu6, [](double x) { return x < 0 ? 0 : x > 6 ? 6 : x; }));
    rows.push_back(activation_row(
        "leaky_relu", s, [](const Tensor& x) { return leaky_relu(x, 0.2); },
        [](double x) { return x < 0 ? 0.2 * x : x; }));
    rows.push_back(activation_row("sigmoid", s, sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }));
    rows.push_back(activation_row("tanh", s, tanh, [](double x) { return std::tanh(x); }));
    rows.push_back(activation_row("silu", s, silu, [](double x) { return x / (1 + std::exp(-x)); }));
    rows.push_back(
        activation_row("gelu", s, gelu, [](double x) { return x / 2 * (1 + std::erf(x / std::sqrt(2.0))); }));
  }
  return rows;
}

std::vector<OperatorRow> channel_rows() {
  return {concat_row({{2, 2, 3, 4}, {2, 2, 3, 1}, {2, 2, 3, 5}}, -1, 12, {4, 1, 5}),
          concat_row({{2, 1, 5}, {2, 3, 5}}, 1, 2, {5, 15}),
          concat_row({{1, 3}, {2, 3}}, 0, 1, {3, 6}),
          concat_row({{2, 70}}, 1, 2, {70}),
          narrow_row({2, 3, 2, 5}, 3, 1, 3, 5, 1, 3),
          narrow_row({2, 4, 3}, 1, 0, 1, 12, 0, 3),
          narrow_row({5, 3}, 0, 2, 2, 15, 6, 6),
          channel_gate_row({2, 3, 2, 5}),
          channel_gate_row({1, 9, 8, 3}),
          channel_gate_row({3, 1, 1, 70}),
          expand_row({1, 2, 3}, 4),
          expand_row({1, 1, 5}, 1),
          repeat_channels_row({2, 3, 2, 1}, 3),
          repeat_channels_row({4, 1}, 5),
          stochastic_depth_row({6, 2, 3, 2}, 0.4),
          stochastic_depth_row({2, 5}, 0)};
}

}  // namespace mith
