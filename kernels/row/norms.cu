// Norms of gradients, by which attacks measure how far a class is, and the L1 distance (row/l2.cu has the others).
// f32, one block an image, sums in double. Signatures:
//
//   gradient_norm_linf, gradient_norm_l2, gradient_norm_l1
//               (float* out, const float* gradients, int64_t* nan_count, int64_t n_images, int64_t per_image)
//       elements that are not finite count as zero, and in nan_count
//   l1_distance (float* out, const float* a, const float* b, int64_t n_images, int64_t per_image)
#include "kernels/row/norms.h"

#include "kernels/launch/bytes.h"

namespace mith::MITH_SPACE {

template <class Norm>
__global__ void gradient_norm(float* __restrict__ out, const float* __restrict__ gradients, int64_t* nan_count,
                              int64_t images, int64_t per_image) {
  for (auto image : block_items(images)) {
    const float* const g = gradients + image * per_image;
    int32_t bad = 0;
    for (auto i : block_stride(per_image)) bad += !is_finite(g[i]);
    if (bad) atomic_add(nan_count, bad);
    double const norm = Norm::of(per_image, [=](int64_t i) { return finite_or_zero(g[i]); });
    if (block_leader()) out[image] = static_cast<float>(norm);
  }
}

__global__ void l1_distance(float* __restrict__ out, const float* __restrict__ a, const float* __restrict__ b,
                            int64_t images, int64_t per_image) {
  for (auto image : block_items(images)) {
    double const norm =
        L1Norm::of(per_image, [=](int64_t i) { return a[image * per_image + i] - b[image * per_image + i]; });
    if (block_leader()) out[image] = static_cast<float>(norm);
  }
}

template <class Norm>
void run_gradient_norm(const Stream& stream, const char* name, float* out, const float* gradients, int64_t* nan_count,
                       int64_t images, int64_t per_image) {
  launch_row(stream, {name, images, bytes_of<float>(1, images * per_image)}, per_image, gradient_norm<Norm>, out,
             gradients, nan_count, images, per_image);
}

void launch_gradient_norm_linf(const Stream& stream, float* out, const float* gradients, int64_t* nan_count,
                               int64_t images, int64_t per_image) {
  run_gradient_norm<LinfNorm>(stream, "gradient_norm_linf", out, gradients, nan_count, images, per_image);
}

void launch_gradient_norm_l2(const Stream& stream, float* out, const float* gradients, int64_t* nan_count,
                             int64_t images, int64_t per_image) {
  run_gradient_norm<L2Norm>(stream, "gradient_norm_l2", out, gradients, nan_count, images, per_image);
}

void launch_gradient_norm_l1(const Stream& stream, float* out, const float* gradients, int64_t* nan_count,
                             int64_t images, int64_t per_image) {
  run_gradient_norm<L1Norm>(stream, "gradient_norm_l1", out, gradients, nan_count, images, per_image);
}

void launch_l1_distance(const Stream& stream, float* out, const float* a, const float* b, int64_t images,
                        int64_t per_image) {
  launch_row(stream, {"l1_distance", images, bytes_of<float>(2, images * per_image)}, per_image, l1_distance, out, a, b,
             images, per_image);
}

KERNEL(gradient_norm_linf, launch_gradient_norm_linf);
KERNEL(gradient_norm_l2, launch_gradient_norm_l2);
KERNEL(gradient_norm_l1, launch_gradient_norm_l1);
KERNEL(l1_distance, launch_l1_distance);

}  // namespace mith::MITH_SPACE
