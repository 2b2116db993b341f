// The element-wise moves of minimum-norm attacks, f32, rows of one image each. Signatures:
//
//   cw_tanh_start    (float* w, float* adv, const float* x, int64_t n_images, int64_t per_image)
//   cw_tanh_step     (float* w, float* exp_avg, float* exp_avg_sq, float* adv, const float* x, const float* gradient,
//                     const float* weight, double rate, int64_t t, int64_t* nan_count, int64_t n_images, int64_t
//                     per_image)
//   cw_clip_step     (the same without w)
//   deepfool_step_l2, deepfool_step_linf
//                    (float* total, float* adv, const float* x, const float* gradients, const int64_t* chosen, const
//                     float* factor, float overshoot, int64_t n_images, int64_t per_image)
//   shrink_distance  (float* adv, const float* x, const float* share, int64_t n_images, int64_t per_image)
#include "kernels/launch/bytes.h"
#include "kernels/launch/exponential.h"
#include "kernels/launch/launch.h"
#include "kernels/map/adam.h"

namespace mith::MITH_SPACE {

/// (tanh w + 1) / 2 and its slope by w, as 1 / (1 + s) and 2 s / (1 + s)^2 with s = e^(-2 |w|): neither end of the box
/// loses its digits, and no w overflows.
struct TanhBox {
  float value, slope;
  MITH_DEVICE explicit TanhBox(float w) {
    float const s = exponential(-2 * (w < 0 ? -w : w)), inverse = 1 / (1 + s);
    value = w < 0 ? s * inverse : inverse;
    slope = 2 * s * inverse * inverse;
  }
};

/// w = atanh(0.999999 (2 x - 1)) and the image that it stands for (Carlini & Wagner's own factor: without it a black
/// pixel would lie at -infinity).
__global__ void cw_tanh_start(float* __restrict__ w, float* __restrict__ adv, const float* __restrict__ x, int64_t n) {
  for (auto i : grid_stride(n)) {
    double const inside = 0.999999 * (2 * static_cast<double>(x[i]) - 1);
    w[i] = static_cast<float>(0.5 * std::log((1 + inside) / (1 - inside)));
    adv[i] = TanhBox(w[i]).value;
  }
}

/// The gradient of |adv - x|^2 - weight * margin by one pixel; a gradient that is not finite counts as zero.
MITH_DEVICE float cw_slope(float adv, float x, float gradient, float weight) {
  return 2 * (adv - x) - weight * finite_or_zero(gradient);
}

/// One step of Adam on w, and the image that it leads to. `gradient` is the margin's by the image.
__global__ void cw_tanh_step(float* __restrict__ w, float* __restrict__ exp_avg, float* __restrict__ exp_avg_sq,
                             float* __restrict__ adv, const float* __restrict__ x, const float* __restrict__ gradient,
                             const float* __restrict__ weight, AdamMove<float> move, int64_t* nan_count, int64_t images,
                             int64_t per_image) {
  int32_t bad = 0;
  for (auto image : grid_rows(images)) {
    float const c = weight[image];
    for (auto col : row_cols(per_image)) {
      int64_t const i = image * per_image + col;
      bad += !is_finite(gradient[i]);
      float const slope = cw_slope(adv[i], x[i], gradient[i], c) * TanhBox(w[i]).slope;
      w[i] -= move(exp_avg[i], exp_avg_sq[i], slope);
      adv[i] = TanhBox(w[i]).value;
    }
  }
  if (bad) atomic_add(nan_count, bad);
}

/// The same on the pixels themselves, limited to [0, 1].
__global__ void cw_clip_step(float* __restrict__ exp_avg, float* __restrict__ exp_avg_sq, float* __restrict__ adv,
                             const float* __restrict__ x, const float* __restrict__ gradient,
                             const float* __restrict__ weight, AdamMove<float> move, int64_t* nan_count, int64_t images,
                             int64_t per_image) {
  int32_t bad = 0;
  for (auto image : grid_rows(images)) {
    float const c = weight[image];
    for (auto col : row_cols(per_image)) {
      int64_t const i = image * per_image + col;
      bad += !is_finite(gradient[i]);
      float const slope = cw_slope(adv[i], x[i], gradient[i], c);
      adv[i] = clamp(adv[i] - move(exp_avg[i], exp_avg_sq[i], slope), 0.0f, 1.0f);
    }
  }
  if (bad) atomic_add(nan_count, bad);
}

struct AlongGradient {
  MITH_DEVICE static float of(float g) { return g; }
};
struct AlongSign {
  MITH_DEVICE static float of(float g) { return sign(g); }
};

/// total += factor * w with w = gradients[chosen], or its sign, and adv = clamp(x + (1 + overshoot) total, 0, 1)
/// (Moosavi-Dezfooli et al. 2016, algorithm 2).
template <class Direction>
__global__ void deepfool_step(float* __restrict__ total, float* __restrict__ adv, const float* __restrict__ x,
                              const float* __restrict__ gradients, const int64_t* __restrict__ chosen,
                              const float* __restrict__ factor, float overshoot, int64_t images, int64_t per_image) {
  for (auto image : grid_rows(images)) {
    float const f = factor[image];
    const float* const w = gradients + chosen[image] * per_image;
    for (auto col : row_cols(per_image)) {
      int64_t const i = image * per_image + col;
      float const t = total[i] + f * Direction::of(finite_or_zero(w[col]));
      total[i] = t;
      adv[i] = clamp(x[i] + (1 + overshoot) * t, 0.0f, 1.0f);
    }
  }
}

/// adv = x + share (adv - x); a share of 1 leaves the image as it is, to the last bit.
__global__ void shrink_distance(float* __restrict__ adv, const float* __restrict__ x, const float* __restrict__ share,
                                int64_t images, int64_t per_image) {
  for (auto image : grid_rows(images)) {
    float const s = share[image];
    for (auto col : row_cols(per_image)) {
      int64_t const i = image * per_image + col;
      adv[i] = s < 1 ? x[i] + s * (adv[i] - x[i]) : adv[i];
    }
  }
}

void launch_cw_tanh_start(const Stream& stream, float* w, float* adv, const float* x, int64_t images,
                          int64_t per_image) {
  int64_t const n = images * per_image;
  launch_map(stream, {"cw_tanh_start", n, bytes_of<float>(3, n)}, cw_tanh_start, w, adv, x, n);
}

/// Carlini & Wagner leave Adam's other constants as Kingma & Ba have them.
AdamMove<float> cw_move(double rate, int64_t t) { return {rate, 0.9, 0.999, 1e-8, t}; }

void launch_cw_tanh_step(const Stream& stream, float* w, float* exp_avg, float* exp_avg_sq, float* adv, const float* x,
                         const float* gradient, const float* weight, double rate, int64_t t, int64_t* nan_count,
                         int64_t images, int64_t per_image) {
  launch_rows_cols(stream, {"cw_tanh_step", images, bytes_of<float>(9, images * per_image)}, per_image, cw_tanh_step, w,
                   exp_avg, exp_avg_sq, adv, x, gradient, weight, cw_move(rate, t), nan_count, images, per_image);
}

void launch_cw_clip_step(const Stream& stream, float* exp_avg, float* exp_avg_sq, float* adv, const float* x,
                         const float* gradient, const float* weight, double rate, int64_t t, int64_t* nan_count,
                         int64_t images, int64_t per_image) {
  launch_rows_cols(stream, {"cw_clip_step", images, bytes_of<float>(8, images * per_image)}, per_image, cw_clip_step,
                   exp_avg, exp_avg_sq, adv, x, gradient, weight, cw_move(rate, t), nan_count, images, per_image);
}

template <class Direction>
void run_deepfool_step(const Stream& stream, const char* name, float* total, float* adv, const float* x,
                       const float* gradients, const int64_t* chosen, const float* factor, float overshoot,
                       int64_t images, int64_t per_image) {
  launch_rows_cols(stream, {name, images, bytes_of<float>(5, images * per_image)}, per_image, deepfool_step<Direction>,
                   total, adv, x, gradients, chosen, factor, overshoot, images, per_image);
}

void launch_deepfool_step_l2(const Stream& stream, float* total, float* adv, const float* x, const float* gradients,
                             const int64_t* chosen, const float* factor, float overshoot, int64_t images,
                             int64_t per_image) {
  run_deepfool_step<AlongGradient>(stream, "deepfool_step_l2", total, adv, x, gradients, chosen, factor, overshoot,
                                   images, per_image);
}

void launch_deepfool_step_linf(const Stream& stream, float* total, float* adv, const float* x, const float* gradients,
                               const int64_t* chosen, const float* factor, float overshoot, int64_t images,
                               int64_t per_image) {
  run_deepfool_step<AlongSign>(stream, "deepfool_step_linf", total, adv, x, gradients, chosen, factor, overshoot,
                               images, per_image);
}

void launch_shrink_distance(const Stream& stream, float* adv, const float* x, const float* share, int64_t images,
                            int64_t per_image) {
  launch_rows_cols(stream, {"shrink_distance", images, bytes_of<float>(3, images * per_image)}, per_image,
                   shrink_distance, adv, x, share, images, per_image);
}

KERNEL(cw_tanh_start, launch_cw_tanh_start);
KERNEL(cw_tanh_step, launch_cw_tanh_step);
KERNEL(cw_clip_step, launch_cw_clip_step);
KERNEL(deepfool_step_l2, launch_deepfool_step_l2);
KERNEL(deepfool_step_linf, launch_deepfool_step_linf);
KERNEL(shrink_distance, launch_shrink_distance);

}  // namespace mith::MITH_SPACE
