// Perturbations with one value a column and channel: the Square attack's stripes, and all of the vertical attack.
#pragma once
#include "engine/classifier/classifier.h"

namespace mith {

/// x + columns, limited to [0, 1]; columns f32 [n,w,c], added to every row of x [n,h,w,c].
Tensor add_columns(const Tensor& x, const Tensor& columns);
/// +eps or -eps for every column and channel of every image, w * c values each, drawn by the image's id.
std::vector<float> random_columns(const std::vector<uint64_t>& ids, int64_t per_image, float eps, const DrawKey&);
/// columns <- clamp(columns + alpha sign(sum over rows of the gradient), -eps, eps). Elements whose gradient is NaN
/// count as zero, and in nan_count (i64 [1]).
void column_sign_step(Tensor& columns, const Tensor& gradient, float alpha, float eps, Tensor& nan_count);

}  // namespace mith
