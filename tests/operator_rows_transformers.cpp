// Rows of the operators that mix the elements of a row or an image: softmax, attention, layer and group norm.
#include <cmath>

#include "tests/operator_rows.h"

namespace mith {
namespace {

using Tensors = std::vector<Tensor>;
using In = std::vector<Values>;

OperatorRow softmax_row(const Shape& s) {
  size_t const k = size_t(s[-1]);
  return {cat("softmax ", s),
          {{s, draw(s.numel(), 230, -3, 3)}},
          [](const Tensors& in) { return softmax(in[0]); },
          [=](const In& in) {
            Values y;
            for (size_t r = 0; r < in[0].size() / k; ++r) {
              double sum = 0;
              for (size_t j = 0; j < k; ++j) sum += std::exp(in[0][r * k + j]);
              for (size_t j = 0; j < k; ++j) y.push_back(std::exp(in[0][r * k + j]) / sum);
            }
            return y;
          }};
}

OperatorRow self_attention_row(int64_t n, int64_t t, int64_t c, int64_t heads) {
  int64_t const d = c / heads;
  return {cat("self_attention [", n, ", ", t, ", ", 3 * c, "] in ", heads, " heads"),
          {{{n, t, 3 * c}, draw(n * t * 3 * c, 240, -1, 1)}},
          [=](const Tensors& in) { return self_attention(in[0], heads); },
          [=](const In& in) {
            Values y(size_t(n * t * c), 0);
            /// Feature k of head h of token i: which = 0 its query, 1 its key, 2 its value.
            auto const part = [&](int64_t which, int64_t image, int64_t i, int64_t h, int64_t k) {
              return in[0][size_t((image * t + i) * 3 * c + which * c + h * d + k)];
            };
            for (int64_t image = 0; image < n; ++image)
              for (int64_t h = 0; h < heads; ++h)
                for (int64_t i = 0; i < t; ++i) {
                  Values weight;
                  double sum = 0;
                  for (int64_t j = 0; j < t; ++j) {
                    double score = 0;
                    for (int64_t k = 0; k < d; ++k) score += part(0, image, i, h, k) * part(1, image, j, h, k);
                    weight.push_back(std::exp(score / std::sqrt(double(d))));
                    sum += weight.back();
                  }
                  for (int64_t j = 0; j < t; ++j)
                    for (int64_t k = 0; k < d; ++k)
                      y[size_t((image * t + i) * c + h * d + k)] += weight[size_t(j)] / sum * part(2, image, j, h, k);
                }
            return y;
          }};
}

/// Normalises the sets that `set_of(i)` numbers, then weighs by channel.
OperatorRow norm_row(const std::string& name, const Shape& s, bool affine, size_t sets,
                     std::function<size_t(size_t)> set_of, std::function<Tensor(const Tensors&)> apply) {
  size_t const c = size_t(s[-1]);
  std::vector<Operand> operands{{s, draw(s.numel(), 250, 2, 6)}};
  if (affine) {
    operands.push_back({{s[-1]}, draw(s[-1], 251)});
    operands.push_back({{s[-1]}, draw(s[-1], 252)});
  }
  return {cat(name, " ", s), operands, apply,
          [=](const In& in) {
            Values mean(sets, 0), variance(sets, 0), y;
            double const share = double(sets) / double(in[0].size());
            for (size_t i = 0; i < in[0].size(); ++i) mean[set_of(i)] += in[0][i] * share;
            for (size_t i = 0; i < in[0].size(); ++i)
              variance[set_of(i)] += std::pow(in[0][i] - mean[set_of(i)], 2) * share;
            for (size_t i = 0; i < in[0].size(); ++i) {
              double const xhat = (in[0][i] - mean[set_of(i)]) / std::sqrt(variance[set_of(i)] + 1e-3);
              y.push_back(affine ? xhat * in[1][i % c] + in[2][i % c] : xhat);
            }
            return y;
          },
          1e-5};  // x - mean cancels about four bits: values near 4 with deviation 1
}

OperatorRow layer_norm_row(const Shape& s) {
  size_t const c = size_t(s[-1]);
  return norm_row(
      "layer_norm", s, true, size_t(s.numel()) / c, [=](size_t i) { return i / c; },
      [](const Tensors& in) { return layer_norm(in[0], in[1], in[2], 1e-3); });
}

OperatorRow group_norm_row(const Shape& s, int64_t groups, bool affine) {
  size_t const c = size_t(s[3]), per_image = size_t(s[1] * s[2] * s[3]), width = c / size_t(groups);
  return norm_row(
      cat("group_norm in ", groups), s, affine, size_t(s[0] * groups),
      [=](size_t i) { return i / per_image * size_t(groups) + i % c / width; },
      [=](const Tensors& in) {
        Tensor const weight = affine ? in[1] : Tensor(), bias = affine ? in[2] : Tensor();
        return groups == s[3] ? instance_norm(in[0], weight, bias, 1e-3)
                              : group_norm(in[0], groups, weight, bias, 1e-3);
      });
}

}  // namespace

std::vector<OperatorRow> transformer_rows() {
  return {softmax_row({1, 1}),
          softmax_row({3, 2, 5}),
          softmax_row({2, 70}),
          self_attention_row(1, 1, 2, 1),
          self_attention_row(2, 5, 6, 3),
          self_attention_row(1, 7, 4, 1),
          layer_norm_row({3, 5}),
          layer_norm_row({2, 3, 70}),
          layer_norm_row({70, 6}),
          group_norm_row({2, 3, 2, 6}, 2, true),
          group_norm_row({1, 9, 8, 4}, 1, true),
          group_norm_row({2, 3, 3, 5}, 5, true),
          group_norm_row({1, 9, 8, 3}, 3, false),
          group_norm_row({2, 2, 1, 70}, 7, false)};
}

}  // namespace mith
