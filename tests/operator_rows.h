// One row an operator (and shape): what it is applied to, how, and an independent definition in plain double loops.
// test_conformance.cpp runs every row through every check, so an operator is tested as soon as it has a row, and fails
// a test until it has one.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "engine/ops/ops.h"

namespace mith {

using Values = std::vector<double>;

struct Operand {
  Shape shape;
  Values values;
};

struct OperatorRow {
  std::string name;
  std::vector<Operand> operands;  ///< all differentiable
  std::function<Tensor(const std::vector<Tensor>&)> apply;
  std::function<Values(const std::vector<Values>&)> reference;
  /// Allowed distance of f32 results from f64 results, in units of 1 + the largest result. The default covers sums of a
  /// few hundred products: their rounding errors add up to about sqrt(300) * 6e-8.
  double f32_tolerance = 2e-6;
};

/// Uniform in [low, high).
Values draw(int64_t n, uint64_t seed, double low = -2, double high = 2);
/// Multiples of `step` between -4 and 4 steps, plus `offset`: sums of products of them keep clear of a kink at 0.
Values on_grid(int64_t n, uint64_t seed, double step, double offset = 0);
/// Distinct values at least 0.05 apart from each other and from 0, in random order: safe for maxima and ReLUs.
Values apart(int64_t n, uint64_t seed);

/// Values on the host, in double.
Values on_host(const Tensor&);
double largest(const Values&);
/// Largest distance in units of 1 + the largest expected value; NaN, or another length, is infinitely far.
double distance(const Values&, const Values& expected);

std::vector<OperatorRow> arithmetic_rows();
std::vector<OperatorRow> activation_rows();
std::vector<OperatorRow> channel_rows();
std::vector<OperatorRow> convolution_rows();
std::vector<OperatorRow> pooling_rows();
std::vector<OperatorRow> normalization_rows();
std::vector<OperatorRow> loss_rows();
std::vector<OperatorRow> image_rows();
std::vector<OperatorRow> transformer_rows();
std::vector<OperatorRow> all_rows();

}  // namespace mith
