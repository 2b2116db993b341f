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
/// target[indices[i]] = source[i]. Not recorded.
void scatter_rows(Tensor& target, const Tensor& source, const std::vector<int64_t>& indices);
/// target += alpha * x, in place. Not recorded.
void add_in_place(Tensor& target, const Tensor& x, double alpha = 1);

}  // namespace mith
