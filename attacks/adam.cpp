#include "attacks/adam.h"

#include "engine/ops/arithmetic.h"
#include "kernels/launch/table.h"

namespace mith {
namespace {

const Kernel<float*, float*, float*, const float*, double, double, double, double, int64_t, float, float, int64_t*,
             int64_t>
    adam_ascent_clamp{"adam_ascent_clamp"};

}  // namespace

void Adam::move(double signed_rate, Tensor& value, const Tensor& gradient, float low, float high, Tensor& nan_count) {
  if (!exp_avg.defined()) {
    exp_avg = Tensor::zeros_like(value);
    exp_avg_sq = Tensor::zeros_like(value);
  }
  check(gradient.shape() == value.shape() && exp_avg.shape() == value.shape(), "Adam: a value ", value.shape(),
        " with a gradient ", gradient.shape(), " and moments ", exp_avg.shape());
  adam_ascent_clamp(value.stream(), value.data<float>(), exp_avg.data<float>(), exp_avg_sq.data<float>(),
                    gradient.data<float>(), signed_rate, beta1, beta2, epsilon, ++steps, low, high,
                    nan_count.data<int64_t>(), value.numel());
}

void Adam::keep(const std::vector<int64_t>& rows) {
  if (!exp_avg.defined()) return;
  exp_avg = gather_rows(exp_avg, rows);
  exp_avg_sq = gather_rows(exp_avg_sq, rows);
}

}  // namespace mith
