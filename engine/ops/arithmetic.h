// Element-wise operators, reductions and reshapes.
#pragma once
#include "engine/autograd/tape.h"

namespace mith {

Tensor add(const Tensor& a, const Tensor& b);       ///< same shape
Tensor multiply(const Tensor& a, const Tensor& b);  ///< same shape
Tensor scale(const Tensor& x, double factor);
Tensor relu(const Tensor& x);     ///< NaN stays NaN
Tensor flatten(const Tensor& x);  ///< [n, ...] -> [n, d], in NHWC order
Tensor reshape(const Tensor& x, const Shape&);
Tensor sum(const Tensor& x);       ///< -> [1]
Tensor mean(const Tensor& x);      ///< -> [1]
Tensor sum_rows(const Tensor& x);  ///< [n, ...] -> [n]: per-image sum

/// y = x * scale[c] + shift[c] over the last dimension: a model's normalisation layer. scale and shift are constants.
Tensor channel_affine(const Tensor& x, const Tensor& scale, const Tensor& shift);

/// Index of the largest of each row's k values [n, k] -> i32 [n]; ties give the lowest index, NaN wins. Not recorded.
Tensor argmax(const Tensor& x);
/// Number of NaN elements. Not recorded.
int64_t count_nan(const Tensor& x);
/// Rows of x in the order of `indices` (i64 [m], host values): x [n, ...] -> [m, ...]. Not recorded.
Tensor gather_rows(const Tensor& x, const std::vector<int64_t>& indices);
/// target[indices[i]] = source[i], for distinct indices. Not recorded.
void scatter_rows(Tensor& target, const Tensor& source, const std::vector<int64_t>& indices);
/// target += alpha * x, in place. Not recorded.
void add_in_place(Tensor& target, const Tensor& x, double alpha = 1);

struct AddNode final : Node {
  std::string_view name() const override { return "add"; }
  void backward(Gradients&) override;
  Tensor again(const std::vector<Tensor>& values) const override;
};

struct MultiplyNode final : Node {
  Tensor a, b;  ///< each kept if the other's gradient may be asked for
  std::string_view name() const override { return "multiply"; }
  void backward(Gradients&) override;
  Tensor again(const std::vector<Tensor>& values) const override;
};

struct ScaleNode final : Node {
  double factor = 1;
  std::string_view name() const override { return "scale"; }
  std::vector<Attribute> attributes() const override;
  void backward(Gradients&) override;
  Tensor again(const std::vector<Tensor>& values) const override;
};

struct ReluNode final : Node {
  Tensor output;
  std::string_view name() const override { return "relu"; }
  void backward(Gradients&) override;
};

struct ReshapeNode final : Node {
  std::string_view name() const override { return "reshape"; }
  void backward(Gradients&) override;
  Tensor again(const std::vector<Tensor>& values) const override;
};

/// sum, mean and sum_rows: y[r] = factor * the sum of row r.
struct SumNode final : Node {
  int64_t rows = 1;
  double factor = 1;
  std::string_view name() const override { return "sum"; }
  std::vector<Attribute> attributes() const override;
  void backward(Gradients&) override;
};

struct ChannelAffineNode final : Node {
  Tensor scale, shift;
  std::string_view name() const override { return "channel_affine"; }
  void backward(Gradients&) override;
};

}  // namespace mith
