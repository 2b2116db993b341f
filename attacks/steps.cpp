#include "attacks/steps.h"

#include "kernels/launch/table.h"

namespace mith {
namespace {

const Kernel<float*, const float*, const float*, float, float, int64_t*, int64_t> linf_sign_step{"linf_sign_step"};
const Kernel<float*, const float*, const float*, const int64_t*, DrawKey, float, float, int64_t*, int64_t, int64_t>
    l2_normalized_step{"l2_normalized_step"};
const Kernel<float*, const float*, float, int64_t> linf_project{"linf_project"};
const Kernel<float*, const float*, const int64_t*, DrawKey, float, int64_t, int64_t> linf_random_start{
    "linf_random_start"};
const Kernel<float*, const float*, const int64_t*, DrawKey, float, int, int64_t, int64_t> l2_random_start{
    "l2_random_start"};
const Kernel<float*, const float*, const int64_t*, DrawKey, float, int64_t, int64_t> sign_noise{"sign_noise"};
const Kernel<float*, const float*, const int64_t*, DrawKey, float, int64_t, int64_t> normal_noise{"gaussian_noise"};
const Kernel<float*, const float*, const float*, int64_t, int64_t> linf_distances{"linf_distance"};
const Kernel<float*, const float*, const float*, int64_t, int64_t> l2_distances{"l2_distance"};

int64_t per_image(const Tensor& x) { return x.dim(0) ? x.numel() / x.dim(0) : 0; }

void check_fit(const char* name, const Tensor& a, const Tensor& b) {
  check(a.shape() == b.shape(), name, ": images ", a.shape(), " with ", b.shape());
}

using Distance = Kernel<float*, const float*, const float*, int64_t, int64_t>;
std::vector<float> distances(const Distance& kernel, const Tensor& a, const Tensor& b) {
  check_fit(kernel.name().c_str(), a, b);
  Tensor out = Tensor::empty({a.dim(0)}, DType::f32, a.device());
  kernel(a.stream(), out.data<float>(), a.data<float>(), b.data<float>(), a.dim(0), per_image(a));
  return out.to_host<float>();
}

}  // namespace

void sign_step_project(Tensor& adv, const Tensor& x, const Tensor& gradient, float alpha, float eps,
                       Tensor& nan_count) {
  check_fit("linf_sign_step", adv, x);
  check_fit("linf_sign_step", adv, gradient);
  linf_sign_step(adv.stream(), adv.data<float>(), x.data<float>(), gradient.data<float>(), alpha, eps,
                 nan_count.data<int64_t>(), adv.numel());
}

void l2_step_project(Tensor& adv, const Batch& clean, const Tensor& gradient, float alpha, float eps,
                     const std::optional<DrawKey>& key, Tensor& nan_count) {
  check_fit("l2_normalized_step", adv, clean.x);
  check_fit("l2_normalized_step", adv, gradient);
  l2_normalized_step(adv.stream(), adv.data<float>(), clean.x.data<float>(), gradient.data<float>(),
                     key ? clean.ids.data<int64_t>() : nullptr, key.value_or(DrawKey{}), alpha, eps,
                     nan_count.data<int64_t>(), adv.dim(0), per_image(adv));
}

void project_linf(Tensor& adv, const Tensor& x, float eps) {
  check_fit("linf_project", adv, x);
  linf_project(adv.stream(), adv.data<float>(), x.data<float>(), eps, adv.numel());
}

Tensor uniform_in_linf_ball(const Batch& clean, float eps, const DrawKey& key) {
  Tensor adv = Tensor::empty_like(clean.x);
  linf_random_start(adv.stream(), adv.data<float>(), clean.x.data<float>(), clean.ids.data<int64_t>(), key, eps,
                    adv.dim(0), per_image(adv));
  return adv;
}

Tensor draw_in_l2_ball(const Batch& clean, float eps, L2Start how, const DrawKey& key) {
  Tensor adv = Tensor::empty_like(clean.x);
  l2_random_start(adv.stream(), adv.data<float>(), clean.x.data<float>(), clean.ids.data<int64_t>(), key, eps,
                  static_cast<int>(how), adv.dim(0), per_image(adv));
  return adv;
}

Tensor random_signs(const Batch& clean, float eps, const DrawKey& key) {
  Tensor adv = Tensor::empty_like(clean.x);
  sign_noise(adv.stream(), adv.data<float>(), clean.x.data<float>(), clean.ids.data<int64_t>(), key, eps, adv.dim(0),
             per_image(adv));
  return adv;
}

Tensor gaussian_noise(const Batch& clean, float sigma, const DrawKey& key) {
  Tensor adv = Tensor::empty_like(clean.x);
  normal_noise(adv.stream(), adv.data<float>(), clean.x.data<float>(), clean.ids.data<int64_t>(), key, sigma,
               adv.dim(0), per_image(adv));
  return adv;
}

std::vector<float> linf_distance(const Tensor& a, const Tensor& b) { return distances(linf_distances, a, b); }
std::vector<float> l2_distance(const Tensor& a, const Tensor& b) { return distances(l2_distances, a, b); }

}  // namespace mith
