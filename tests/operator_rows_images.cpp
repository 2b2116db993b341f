// Rows of resizing, padding, transposed convolution and the losses between two tensors.
#include <algorithm>
#include <cmath>

#include "tests/operator_rows.h"

namespace mith {
namespace {

using Tensors = std::vector<Tensor>;
using In = std::vector<Values>;

size_t at(const Shape& s, int64_t n, int64_t i, int64_t j, int64_t c) {
  return size_t(((n * s[1] + i) * s[2] + j) * s[3] + c);
}

/// Calls f(n, i, j, c) for every element of an image tensor, in order.
template <class F>
void each_element(const Shape& s, F f) {
  for (int64_t n = 0; n < s[0]; ++n)
    for (int64_t i = 0; i < s[1]; ++i)
      for (int64_t j = 0; j < s[2]; ++j)
        for (int64_t c = 0; c < s[3]; ++c) f(n, i, j, c);
}

/// The input coordinate of an output coordinate, as PyTorch documents it.
double source(int64_t at, int64_t in, int64_t out, Interpolation mode) {
  if (mode == Interpolation::nearest) return double(at * in / out);
  if (mode == Interpolation::bilinear_align_corners) return out > 1 ? double(at * (in - 1)) / double(out - 1) : 0;
  return std::max(0.0, (double(at) + 0.5) * double(in) / double(out) - 0.5);
}

OperatorRow interpolate_row(const Shape& s, int64_t oh, int64_t ow, Interpolation mode) {
  Shape const to{s[0], oh, ow, s[3]};
  return {cat("interpolate ", s, " to ", oh, "x", ow, " mode ", int(mode)),
          {{s, draw(s.numel(), 180)}},
          [=](const Tensors& in) { return interpolate(in[0], oh, ow, mode); },
          [=](const In& in) {
            Values y;
            each_element(to, [&](int64_t n, int64_t i, int64_t j, int64_t c) {
              double const a = source(i, s[1], oh, mode), b = source(j, s[2], ow, mode);
              int64_t const i0 = int64_t(a), j0 = int64_t(b), nearest = mode == Interpolation::nearest;
              int64_t const i1 = nearest ? i0 : std::min(i0 + 1, s[1] - 1),
                            j1 = nearest ? j0 : std::min(j0 + 1, s[2] - 1);
              double const v = a - double(i0), u = b - double(j0);
              y.push_back((1 - v) * ((1 - u) * in[0][at(s, n, i0, j0, c)] + u * in[0][at(s, n, i0, j1, c)]) +
                          v * ((1 - u) * in[0][at(s, n, i1, j0, c)] + u * in[0][at(s, n, i1, j1, c)]));
            });
            return y;
          }};
}

OperatorRow reflection_pad_row(const Shape& s, const Padding2d& p) {
  Shape const to{s[0], s[1] + p.top + p.bottom, s[2] + p.left + p.right, s[3]};
  auto const mirror = [](int64_t i, int64_t size) { return i < 0 ? -i : i >= size ? 2 * size - 2 - i : i; };
  return {cat("reflection_pad2d ", s, " to ", to),
          {{s, draw(s.numel(), 190)}},
          [=](const Tensors& in) { return reflection_pad2d(in[0], p); },
          [=](const In& in) {
            Values y;
            each_element(to, [&](int64_t n, int64_t i, int64_t j, int64_t c) {
              y.push_back(in[0][at(s, n, mirror(i - p.top, s[1]), mirror(j - p.left, s[2]), c)]);
            });
            return y;
          }};
}

/// Every input element stamps its weights on the output.
OperatorRow conv_transpose_row(const std::string& name, const Shape& s, int64_t o, int64_t kh, int64_t kw,
                               const ConvTranspose2dOptions& options, bool bias) {
  ConvTranspose2dOptions const p = options;
  Shape const to{s[0], (s[1] - 1) * p.stride_h - 2 * p.pad_h + p.dilation_h * (kh - 1) + p.output_pad_h + 1,
                 (s[2] - 1) * p.stride_w - 2 * p.pad_w + p.dilation_w * (kw - 1) + p.output_pad_w + 1, o};
  std::vector<Operand> operands{{s, draw(s.numel(), 200)}, {{s[3], kh, kw, o}, draw(s[3] * kh * kw * o, 201)}};
  if (bias) operands.push_back({{o}, draw(o, 202)});
  return {"conv_transpose2d " + name, operands,
          [=](const Tensors& in) { return conv_transpose2d(in[0], in[1], bias ? in[2] : Tensor(), p); },
          [=](const In& in) {
            Values y(size_t(to.numel()), 0);
            each_element(s, [&](int64_t n, int64_t i, int64_t j, int64_t c) {
              for (int64_t a = 0; a < kh; ++a)
                for (int64_t b = 0; b < kw; ++b)
                  for (int64_t k = 0; k < o; ++k) {
                    int64_t const row = i * p.stride_h - p.pad_h + a * p.dilation_h;
                    int64_t const column = j * p.stride_w - p.pad_w + b * p.dilation_w;
                    if (row < 0 || row >= to[1] || column < 0 || column >= to[2]) continue;
                    y[at(to, n, row, column, k)] +=
                        in[0][at(s, n, i, j, c)] * in[1][size_t(((c * kh + a) * kw + b) * o + k)];
                  }
            });
            for (size_t i = 0; bias && i < y.size(); ++i) y[i] += in[2][i % size_t(o)];
            return y;
          }};
}

/// Row means of definition(a, b). The operands keep 0.05 apart, clear of the kink of |a - b|.
OperatorRow pair_loss_row(const char* name, const Shape& s, Tensor (*op)(const Tensor&, const Tensor&),
                          double (*definition)(double, double), bool constant_target) {
  Values const a = apart(s.numel(), 210);
  Values b = draw(s.numel(), 211, 0, 1);
  if (!constant_target)
    for (size_t i = 0; i < b.size(); ++i) b[i] = a[b.size() - 1 - i] + 0.05;
  std::vector<Operand> operands{{s, a}};
  if (!constant_target) operands.push_back({s, b});
  size_t const length = size_t(s.numel() / s[0]);
  return {
      cat(name, " ", s), operands,
      [=](const Tensors& in) { return op(in[0], constant_target ? Tensor::from(b, s).cast(in[0].dtype()) : in[1]); },
      [=](const In& in) {
        Values y(size_t(s[0]), 0);
        for (size_t i = 0; i < in[0].size(); ++i)
          y[i / length] += definition(in[0][i], constant_target ? b[i] : in[1][i]) / double(length);
        return y;
      }};
}

OperatorRow gram_row(const Shape& s, double factor) {
  return {cat("gram_matrix ", s),
          {{s, draw(s.numel(), 220)}},
          [=](const Tensors& in) { return gram_matrix(in[0], factor); },
          [=](const In& in) {
            Values y;
            for (int64_t n = 0; n < s[0]; ++n)
              for (int64_t c = 0; c < s[3]; ++c)
                for (int64_t d = 0; d < s[3]; ++d) {
                  double sum = 0;
                  for (int64_t i = 0; i < s[1]; ++i)
                    for (int64_t j = 0; j < s[2]; ++j) sum += in[0][at(s, n, i, j, c)] * in[0][at(s, n, i, j, d)];
                  y.push_back(factor * sum);
                }
            return y;
          }};
}

}  // namespace

std::vector<OperatorRow> image_rows() {
  std::vector<OperatorRow> rows;
  for (Interpolation mode : {Interpolation::nearest, Interpolation::bilinear, Interpolation::bilinear_align_corners}) {
    rows.push_back(interpolate_row({2, 3, 2, 5}, 6, 4, mode));
    rows.push_back(interpolate_row({1, 5, 4, 3}, 7, 9, mode));
    rows.push_back(interpolate_row({1, 7, 9, 2}, 3, 4, mode));
    rows.push_back(interpolate_row({2, 1, 3, 1}, 4, 1, mode));
    rows.push_back(interpolate_row({1, 2, 3, 70}, 2, 3, mode));
  }
  rows.push_back(reflection_pad_row({2, 4, 5, 3}, {.left = 1, .right = 1, .top = 1, .bottom = 1}));
  rows.push_back(reflection_pad_row({1, 3, 4, 2}, {.left = 3, .right = 0, .top = 2, .bottom = 1}));
  rows.push_back(reflection_pad_row({1, 2, 2, 70}, {.left = 1, .right = 1, .top = 0, .bottom = 1}));
  rows.push_back(reflection_pad_row({1, 1, 1, 1}, {}));
  rows.push_back(conv_transpose_row(
      "3x3 stride 2 padding 1 output padding 1", {2, 3, 4, 3}, 2, 3, 3,
      {.stride_h = 2, .stride_w = 2, .pad_h = 1, .pad_w = 1, .output_pad_h = 1, .output_pad_w = 1}, true));
  rows.push_back(conv_transpose_row("2x3 stride 1x3 dilation 2x1", {1, 3, 2, 2}, 5, 2, 3,
                                    {.stride_w = 3, .output_pad_w = 2, .dilation_h = 2}, false));
  rows.push_back(conv_transpose_row("4x4 stride 2 padding 1", {1, 2, 2, 4}, 1, 4, 4,
                                    {.stride_h = 2, .stride_w = 2, .pad_h = 1, .pad_w = 1}, true));
  for (Shape const& s : {Shape{1, 1}, Shape{3, 5}, Shape{2, 3, 4, 7}}) {
    rows.push_back(pair_loss_row(
        "l1_loss", s, l1_loss, [](double a, double b) { return std::abs(a - b); }, false));
    rows.push_back(pair_loss_row(
        "mse_loss", s, mse_loss, [](double a, double b) { return (a - b) * (a - b); }, false));
    rows.push_back(pair_loss_row(
        "bce_with_logits", s, bce_with_logits,
        [](double x, double t) { return t * std::log1p(std::exp(-x)) + (1 - t) * std::log1p(std::exp(x)); }, true));
  }
  rows.push_back(gram_row({2, 3, 2, 4}, 0.25));
  rows.push_back(gram_row({1, 1, 1, 1}, 1));
  return rows;
}

}  // namespace mith
