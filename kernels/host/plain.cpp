// What mith-bench measures some kernels against: the loops one would write by hand for the cpu, with OpenMP and
// -ffast-math, for the same instruction set. They share the kernels' signatures, so that one call serves both.
#include <cmath>

#include "kernels/launch/launch.h"
#include "kernels/launch/philox.h"
#include "kernels/row/column_groups.h"

namespace mith::MITH_SPACE {

template <class T>
void plain_relu_forward(const Stream&, T* y, const T* x, int64_t n) {
#pragma omp parallel for simd num_threads(threads())
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] > 0 ? x[i] : T(0);
}

template <class T>
void plain_relu_backward(const Stream&, T* dx, const T* dy, const T* y, int64_t n) {
#pragma omp parallel for simd num_threads(threads())
  for (int64_t i = 0; i < n; ++i) dx[i] = y[i] > 0 ? dy[i] : T(0);
}

template <class T>
void plain_adam_step(const Stream&, T* value, T* first, T* second, const T* gradient, double rate, double beta1,
                     double beta2, double epsilon, double, int, double correction1, double correction2, int64_t n) {
  T const b1 = T(beta1), b2 = T(beta2), c2 = T(1 / std::sqrt(correction2)), e = T(epsilon), r = T(rate / correction1);
#pragma omp parallel for simd num_threads(threads())
  for (int64_t i = 0; i < n; ++i) {
    first[i] = b1 * first[i] + (1 - b1) * gradient[i];
    second[i] = b2 * second[i] + (1 - b2) * gradient[i] * gradient[i];
    value[i] -= r * first[i] / (std::sqrt(second[i]) * c2 + e);
  }
}

template <class T>
void plain_cross_entropy_forward(const Stream&, T* loss, const T* logits, const int32_t* labels, const T*, double,
                                 int64_t n, int64_t k) {
#pragma omp parallel for num_threads(threads())
  for (int64_t i = 0; i < n; ++i) {
    const T* const z = logits + i * k;
    T m = z[0], sum = 0;
    for (int64_t j = 1; j < k; ++j) m = z[j] > m ? z[j] : m;
    for (int64_t j = 0; j < k; ++j) sum += std::exp(z[j] - m);
    loss[i] = std::log(sum) + m - z[labels[i]];
  }
}

template <class T>
void plain_cross_entropy_backward(const Stream&, T* dlogits, const T* dloss, const T* logits, const int32_t* labels,
                                  const T*, double, int, int64_t n, int64_t k) {
#pragma omp parallel for num_threads(threads())
  for (int64_t i = 0; i < n; ++i) {
    const T* const z = logits + i * k;
    T* const g = dlogits + i * k;
    T m = z[0], sum = 0;
    for (int64_t j = 1; j < k; ++j) m = z[j] > m ? z[j] : m;
    for (int64_t j = 0; j < k; ++j) sum += g[j] = std::exp(z[j] - m);
    T const factor = dloss[i] / sum;
    for (int64_t j = 0; j < k; ++j) g[j] *= factor;
    g[labels[i]] -= dloss[i];
  }
}

/// Sums of (x - x[0]) and its square down the columns of each group of rows.
template <class T>
void plain_batch_norm_statistics(const Stream&, double* partial, const T* x, int64_t rows, int64_t cols) {
#pragma omp parallel for num_threads(threads())
  for (int64_t g = 0; g < column_groups(rows); ++g) {
    double* const sum = partial + 2 * g * cols;
    T lanes[2][1024] = {};
    int64_t const last = (g + 1) * rows_per_group < rows ? (g + 1) * rows_per_group : rows;
    for (int64_t r = g * rows_per_group; r < last; ++r)
      for (int64_t c = 0; c < cols; ++c) {
        T const d = x[r * cols + c] - x[c];
        lanes[0][c] += d;
        lanes[1][c] += d * d;
      }
    for (int64_t c = 0; c < cols; ++c) sum[c] = double(lanes[0][c]), sum[cols + c] = double(lanes[1][c]);
  }
}

void plain_linf_project(const Stream&, float* adv, const float* x, float eps, int64_t n) {
#pragma omp parallel for simd num_threads(threads())
  for (int64_t i = 0; i < n; ++i) {
    float v = adv[i], low = x[i] - eps, high = x[i] + eps;
    v = v < low ? low : v > high ? high : v;
    adv[i] = v < 0 ? 0 : v > 1 ? 1 : v;
  }
}

void plain_linf_sign_step(const Stream&, float* adv, const float* x, const float* gradient, float alpha, float eps,
                          int64_t*, int64_t n) {
#pragma omp parallel for simd num_threads(threads())
  for (int64_t i = 0; i < n; ++i) {
    float const g = gradient[i], low = x[i] - eps, high = x[i] + eps;
    float v = adv[i] + (g > 0 ? alpha : g < 0 ? -alpha : 0);
    v = v < low ? low : v > high ? high : v;
    adv[i] = v < 0 ? 0 : v > 1 ? 1 : v;
  }
}

void plain_l2_normalized_step(const Stream&, float* adv, const float* x, const float* gradient, const int64_t*, DrawKey,
                              float alpha, float eps, int64_t*, int64_t images, int64_t n) {
#pragma omp parallel for num_threads(threads())
  for (int64_t image = 0; image < images; ++image) {
    float* const a = adv + image * n;
    const float *const o = x + image * n, *const g = gradient + image * n;
    double norm = 0, length = 0;
    for (int64_t i = 0; i < n; ++i) norm += double(g[i]) * g[i];
    double const factor = alpha / std::sqrt(norm);
    for (int64_t i = 0; i < n; ++i) {
      a[i] += float(factor * g[i]);
      length += (double(a[i]) - o[i]) * (double(a[i]) - o[i]);
    }
    float const shrink = length > double(eps) * eps ? float(eps / std::sqrt(length)) : 1;
    for (int64_t i = 0; i < n; ++i) {
      float const v = o[i] + (a[i] - o[i]) * shrink;
      a[i] = v < 0 ? 0 : v > 1 ? 1 : v;
    }
  }
}

KERNEL_FLOATS(plain_relu_forward, plain_relu_forward);
KERNEL_FLOATS(plain_relu_backward, plain_relu_backward);
KERNEL_FLOATS(plain_adam_step, plain_adam_step);
KERNEL_FLOATS(plain_cross_entropy_forward, plain_cross_entropy_forward);
KERNEL_FLOATS(plain_cross_entropy_backward, plain_cross_entropy_backward);
KERNEL_FLOATS(plain_batch_norm_statistics, plain_batch_norm_statistics);
KERNEL(plain_linf_project, plain_linf_project);
KERNEL(plain_linf_sign_step, plain_linf_sign_step);
KERNEL(plain_l2_normalized_step, plain_l2_normalized_step);

}  // namespace mith::MITH_SPACE
