// Rows of the operators that look through windows, and of those that mix all rows of a channel.
#include <cmath>

#include "tests/operator_rows.h"

namespace mith {
namespace {

/// Calls visit(output, input, weight) for every product of a convolution; an output without products is left alone.
template <class Visit>
void each_product(const Conv2dShape& s, Visit visit) {
  int64_t const cg = s.c / s.groups, og = s.o / s.groups;
  for (int64_t i = 0; i < s.outputs(); ++i) {
    int64_t const o = i % s.o, column = i / s.o % s.ow(), row = i / s.o / s.ow() % s.oh(),
                  image = i / s.o / s.ow() / s.oh();
    for (int64_t a = 0; a < s.kh; ++a)
      for (int64_t b = 0; b < s.kw; ++b) {
        int64_t const y = row * s.stride_h - s.pad_h + a * s.dilation_h;
        int64_t const x = column * s.stride_w - s.pad_w + b * s.dilation_w;
        if (y < 0 || y >= s.h || x < 0 || x >= s.w) continue;
        for (int64_t k = 0; k < cg; ++k)
          visit(size_t(i), size_t(((image * s.h + y) * s.w + x) * s.c + o / og * cg + k),
                size_t(((o * s.kh + a) * s.kw + b) * cg + k));
      }
  }
}

OperatorRow conv2d_row(const std::string& name, const Conv2dShape& s, bool bias, Activation activation) {
  Conv2dOptions const options{s.stride_h, s.stride_w, s.pad_h, s.pad_w, s.dilation_h, s.dilation_w, s.groups};
  // Products are multiples of 1/4 and biases lie 0.1 off that grid: no pre-activation is near ReLU's kink.
  std::vector<Operand> operands{{{s.n, s.h, s.w, s.c}, on_grid(s.inputs(), 60, 0.5)},
                                {{s.o, s.kh, s.kw, s.c / s.groups}, on_grid(s.weights(), 61, 0.5)}};
  if (bias) operands.push_back({{s.o}, on_grid(s.o, 62, 0.25, 0.1)});
  return {
      "conv2d " + name, operands,
      [=](const std::vector<Tensor>& in) { return conv2d(in[0], in[1], bias ? in[2] : Tensor(), options, activation); },
      [=](const std::vector<Values>& in) {
        Values y(size_t(s.outputs()), 0);
        each_product(s, [&](size_t o, size_t i, size_t w) { y[o] += in[0][i] * in[1][w]; });
        for (size_t i = 0; i < y.size(); ++i) {
          if (bias) y[i] += in[2][i % size_t(s.o)];
          if (activation == Activation::relu && y[i] < 0) y[i] = 0;
        }
        return y;
      }};
}

OperatorRow linear_row(int64_t n, int64_t d, int64_t o, bool bias, Activation activation) {
  Conv2dShape const as_convolution{.n = n, .h = 1, .w = 1, .c = d, .o = o};
  OperatorRow row = conv2d_row("", as_convolution, bias, activation);
  row.name = cat("linear ", n, "x", d, "x", o, bias ? " bias" : "", activation == Activation::relu ? " relu" : "");
  row.operands[0].shape = {n, d};
  row.operands[1].shape = {o, d};
  row.apply = [=](const std::vector<Tensor>& in) { return linear(in[0], in[1], bias ? in[2] : Tensor(), activation); };
  return row;
}

/// Output extent by counting windows: those that begin inside the image or its left padding, and fit, or with ceil_mode
/// only begin there.
int64_t count_windows(int64_t size, int64_t kernel, int64_t stride, int64_t pad, bool ceil) {
  int64_t count = 0;
  for (int64_t first = -pad; first + kernel <= size + pad; first += stride) ++count;
  int64_t const next = -pad + count * stride;
  bool const whole = next - stride + kernel == size + pad;  // nothing is left over
  return ceil && !whole && next < size ? count + 1 : count;
}

template <class Visit>
void each_window(const Shape& s, const PoolOptions& o, Visit visit) {
  int64_t const oh = count_windows(s[1], o.kernel_h, o.stride_h, o.pad_h, o.ceil_mode);
  int64_t const ow = count_windows(s[2], o.kernel_w, o.stride_w, o.pad_w, o.ceil_mode);
  for (int64_t n = 0; n < s[0]; ++n)
    for (int64_t i = 0; i < oh; ++i)
      for (int64_t j = 0; j < ow; ++j)
        for (int64_t c = 0; c < s[3]; ++c) {
          std::vector<size_t> inside;
          int64_t padded = 0;
          for (int64_t a = 0; a < o.kernel_h; ++a)
            for (int64_t b = 0; b < o.kernel_w; ++b) {
              int64_t const y = i * o.stride_h - o.pad_h + a, x = j * o.stride_w - o.pad_w + b;
              padded += y < s[1] + o.pad_h && x < s[2] + o.pad_w;
              if (y >= 0 && y < s[1] && x >= 0 && x < s[2])
                inside.push_back(size_t(((n * s[1] + y) * s[2] + x) * s[3] + c));
            }
          visit(inside, padded);
        }
}

OperatorRow max_pool_row(const std::string& name, const Shape& s, const PoolOptions& o) {
  return {"max_pool2d " + name + " " + s.str(),
          {{s, apart(s.numel(), 70)}},
          [=](const std::vector<Tensor>& in) { return max_pool2d(in[0], o); },
          [=](const std::vector<Values>& in) {
            Values y;
            each_window(s, o, [&](const std::vector<size_t>& inside, int64_t) {
              double best = in[0][inside[0]];
              for (size_t i : inside)
                if (in[0][i] > best || std::isnan(in[0][i])) best = in[0][i];
              y.push_back(best);
            });
            return y;
          }};
}

OperatorRow avg_pool_row(const std::string& name, const Shape& s, const PoolOptions& o) {
  return {"avg_pool2d " + name + " " + s.str(),
          {{s, draw(s.numel(), 71)}},
          [=](const std::vector<Tensor>& in) { return avg_pool2d(in[0], o); },
          [=](const std::vector<Values>& in) {
            Values y;
            each_window(s, o, [&](const std::vector<size_t>& inside, int64_t padded) {
              double sum = 0;
              for (size_t i : inside) sum += in[0][i];
              y.push_back(sum / double(o.count_padding ? padded : int64_t(inside.size())));
            });
            return y;
          }};
}

/// Output (i, j) is the mean over the pixels that overlap the i-th of oh equal shares of the height and the j-th of ow
/// of the width.
OperatorRow adaptive_avg_pool_row(const Shape& s, int64_t oh, int64_t ow, bool global) {
  return {cat(global ? "global_avg_pool2d " : "adaptive_avg_pool2d ", s, " to ", oh, "x", ow),
          {{s, draw(s.numel(), 72)}},
          [=](const std::vector<Tensor>& in) {
            return global ? global_avg_pool2d(in[0]) : adaptive_avg_pool2d(in[0], oh, ow);
          },
          [=](const std::vector<Values>& in) {
            Values y;
            for (int64_t n = 0; n < s[0]; ++n)
              for (int64_t i = 0; i < oh; ++i)
                for (int64_t j = 0; j < ow; ++j)
                  for (int64_t c = 0; c < s[3]; ++c) {
                    double sum = 0, count = 0;
                    for (int64_t a = 0; a < s[1]; ++a)
                      for (int64_t b = 0; b < s[2]; ++b) {
                        bool const rows = (a + 1) * oh > i * s[1] && a * oh < (i + 1) * s[1];
                        bool const columns = (b + 1) * ow > j * s[2] && b * ow < (j + 1) * s[2];
                        if (!rows || !columns) continue;
                        sum += in[0][size_t(((n * s[1] + a) * s[2] + b) * s[3] + c)];
                        ++count;
                      }
                    y.push_back(sum / count);
                  }
            return y;
          }};
}

/// `tail`: what follows in the same pass: a residual is added, the result rectified.
struct Tail {
  bool residual, rectified;
};

OperatorRow batch_norm_row(const Shape& s, bool training, Tail tail) {
  size_t const c = size_t(s[-1]);
  std::vector<Operand> inputs{
      {s, draw(s.numel(), 82, 2, 6)}, {{s[-1]}, draw(int64_t(c), 83)}, {{s[-1]}, draw(int64_t(c), 84)}};
  if (tail.residual) inputs.push_back({s, draw(s.numel(), 85)});
  double const epsilon = 1e-3;
  Values const mean = draw(int64_t(c), 80), variance = draw(int64_t(c), 81, 0.5, 2);
  return {cat("batch_norm ", training ? "train " : "eval ", s, tail.residual ? " + residual" : "",
              tail.rectified ? ", relu" : ""),
          inputs,
          [=](const std::vector<Tensor>& in) {
            BatchNormState state{Tensor::from(mean, {int64_t(c)}).cast(in[0].dtype()),
                                 Tensor::from(variance, {int64_t(c)}).cast(in[0].dtype()), 0.1, epsilon};
            BatchNormTail const after{.activation = tail.rectified ? Activation::relu : Activation::none,
                                      .residual = tail.residual ? in[3] : Tensor()};
            return training ? batch_norm_train(in[0], in[1], in[2], state, true, after)
                            : batch_norm_eval(in[0], in[1], in[2], state, after);
          },
          [=](const std::vector<Values>& in) {
            Values m = mean, v = variance, y;
            double const rows = double(in[0].size() / c);
            if (training) {
              std::fill(m.begin(), m.end(), 0);
              std::fill(v.begin(), v.end(), 0);
              for (size_t i = 0; i < in[0].size(); ++i) m[i % c] += in[0][i] / rows;
              for (size_t i = 0; i < in[0].size(); ++i) v[i % c] += std::pow(in[0][i] - m[i % c], 2) / rows;
            }
            for (size_t i = 0; i < in[0].size(); ++i) {
              double const normed = (in[0][i] - m[i % c]) / std::sqrt(v[i % c] + epsilon) * in[1][i % c] + in[2][i % c];
              double const sum = normed + (tail.residual ? in[3][i] : 0);
              y.push_back(tail.rectified ? std::max(sum, 0.0) : sum);
            }
            return y;
          },
          1e-5};  // x - mean cancels about four bits: values near 4 with deviation 1
}

}  // namespace

std::vector<OperatorRow> convolution_rows() {
  using enum Activation;
  Conv2dShape const same{.n = 2, .h = 5, .w = 4, .c = 3, .o = 4, .kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1};
  Conv2dShape uneven{.n = 1, .h = 7, .w = 6, .c = 2, .o = 3, .kh = 3, .kw = 2};
  uneven.stride_h = 2;
  uneven.stride_w = 3;
  uneven.pad_h = 2;
  uneven.dilation_w = 2;
  Conv2dShape grouped{.n = 2, .h = 4, .w = 3, .c = 4, .o = 6, .kh = 3, .kw = 3, .pad_h = 1, .pad_w = 1};
  grouped.groups = 2;
  Conv2dShape depthwise = grouped;
  depthwise.o = 4;
  depthwise.groups = 4;
  Conv2dShape depthwise_wide{.n = 1, .h = 7, .w = 6, .c = 20, .o = 20, .kh = 5, .kw = 5, .pad_h = 2, .pad_w = 2};
  depthwise_wide.stride_h = depthwise_wide.stride_w = 2;
  depthwise_wide.groups = 20;
  Conv2dShape const row{.n = 1, .h = 4, .w = 8, .c = 3, .o = 4, .kh = 1, .kw = 7, .pad_w = 3};
  Conv2dShape const column{.n = 1, .h = 8, .w = 4, .c = 3, .o = 4, .kh = 7, .kw = 1, .pad_h = 3};
  Conv2dShape const pointwise{.n = 3, .h = 1, .w = 1, .c = 5, .o = 2};
  return {conv2d_row("3x3 same", same, true, none),
          conv2d_row("3x3 same, relu", same, true, relu),
          conv2d_row("3x3 same, no bias", same, false, none),
          conv2d_row("uneven strides, padding and dilation, relu", uneven, true, relu),
          conv2d_row("two groups, relu", grouped, true, relu),
          conv2d_row("depthwise", depthwise, true, none),
          conv2d_row("depthwise 5x5 stride 2", depthwise_wide, false, none),
          conv2d_row("1x7", row, false, none),
          conv2d_row("7x1, relu", column, true, relu),
          conv2d_row("1x1 on one pixel", pointwise, true, none),
          linear_row(1, 1, 1, true, none),
          linear_row(3, 7, 5, true, none),
          linear_row(3, 7, 5, true, relu),
          linear_row(5, 4, 2, false, none)};
}

std::vector<OperatorRow> pooling_rows() {
  PoolOptions const plain, overlapping{.kernel_h = 3, .kernel_w = 3, .pad_h = 1, .pad_w = 1};
  PoolOptions const gaps{.kernel_h = 2, .kernel_w = 1, .stride_h = 3, .stride_w = 2};
  PoolOptions const wide{.kernel_h = 2, .kernel_w = 5, .stride_h = 1, .stride_w = 2, .pad_w = 2};
  PoolOptions ceil = overlapping, inner = overlapping, ceil_inner = overlapping;
  ceil.ceil_mode = ceil_inner.ceil_mode = true;
  inner.count_padding = ceil_inner.count_padding = false;
  PoolOptions ceil2 = plain;
  ceil2.ceil_mode = true;
  PoolOptions const global{.kernel_h = 3, .kernel_w = 4, .stride_h = 3, .stride_w = 4};
  std::vector<OperatorRow> rows;
  for (auto* make : {max_pool_row, avg_pool_row}) {
    rows.push_back(make("2x2", {2, 4, 6, 5}, plain));
    rows.push_back(make("2x2, a row and a column left over", {1, 5, 3, 2}, plain));
    rows.push_back(make("2x2 ceil", {1, 5, 3, 2}, ceil2));
    rows.push_back(make("2x2, one element", {1, 2, 2, 1}, plain));
    rows.push_back(make("3x3 stride 2 padding 1", {2, 6, 5, 3}, overlapping));
    rows.push_back(make("3x3 stride 2 padding 1 ceil", {1, 6, 4, 3}, ceil));
    rows.push_back(make("windows with gaps", {1, 7, 6, 3}, gaps));
    rows.push_back(make("2x5 stride 1x2", {1, 3, 6, 2}, wide));
    rows.push_back(make("global", {2, 3, 4, 70}, global));
  }
  rows.push_back(avg_pool_row("3x3 without padding counted", {1, 6, 5, 3}, inner));
  rows.push_back(avg_pool_row("3x3 ceil without padding counted", {1, 6, 4, 3}, ceil_inner));
  rows.push_back(adaptive_avg_pool_row({2, 6, 4, 3}, 3, 2, false));
  rows.push_back(adaptive_avg_pool_row({1, 7, 5, 2}, 3, 4, false));
  rows.push_back(adaptive_avg_pool_row({1, 2, 3, 5}, 7, 7, false));
  rows.push_back(adaptive_avg_pool_row({2, 3, 4, 70}, 1, 1, true));
  rows.push_back(adaptive_avg_pool_row({2, 9, 11, 3}, 1, 1, true));
  return rows;
}

std::vector<OperatorRow> normalization_rows() {
  std::vector<OperatorRow> rows;
  for (bool training : {false, true})
    for (Shape const& s : {Shape{2, 1}, Shape{3, 5}, Shape{2, 3, 2, 4}, Shape{90, 3}, Shape{3, 70}})
      for (Tail const& tail : {Tail{false, false}, Tail{true, false}, Tail{false, true}, Tail{true, true}})
        rows.push_back(batch_norm_row(s, training, tail));
  return rows;
}

}  // namespace mith
