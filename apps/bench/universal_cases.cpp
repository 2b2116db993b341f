// Cases of the kernels behind universal perturbations and patches.
#include "apps/bench/case_builder.h"

namespace mith::bench {
namespace {

constexpr int64_t images = 32, h = 224, w = 224, c = 3, per_image = h * w * c;
const char* const shape = "32 images of 224x224x3";

/// Poses in the middle of every image: centre x and y, side, cosine and sine.
const float* poses(Operands& o, int64_t n) {
  float* const all = o.empty<float>(5 * n);
  std::vector<float> host;
  for (int64_t i = 0; i < n; ++i) host.insert(host.end(), {112.5f, 111.5f, 64, 0.96f, 0.28f});
  copy_bytes(o.stream, all, host.data(), host.size() * sizeof(float), Copy::host_to_device);
  synchronize(o.stream);  // the host's copy ends here
  return all;
}

}  // namespace

std::vector<KernelCase> universal_cases() {
  std::vector<KernelCase> cases;
  cases.push_back(make_case<Kernel<float*, const float*, const float*, int64_t, int64_t, int64_t>>(
      "universal_apply", shape, 1, [](Operands& o, auto run) {
        int64_t const n = o.extent(images);
        float* const out = o.empty<float>(n * per_image);
        const float *const x = o.values<float>(n * per_image), *const v = o.values<float>(per_image);
        return [=] { run(out, x, v, n, h, w * c); };
      }));
  cases.push_back(make_case<Kernel<float*, const float*, const float*, const float*, const float*, float, int, int64_t,
                                   int64_t, int64_t>>("universal_gradient", shape, 1, [](Operands& o, auto run) {
    int64_t const n = o.extent(images);
    float* const mean = o.empty<float>(per_image);
    const float *const x = o.values<float>(n * per_image), *const v = o.values<float>(per_image),
                       *const g = o.values<float>(n * per_image), *const loss = o.values<float>(n);
    return [=] { run(mean, x, v, g, loss, 9.0f, 1, n, h, w * c); };
  }));
  cases.push_back(make_case<Kernel<float*, const float*, int64_t, int64_t, int64_t>>(
      "universal_mean_sign", shape, 2, [](Operands& o, auto run) {
        int64_t const n = o.extent(images);
        float* const mean = o.empty<float>(per_image);
        const float* const delta = o.values<float>(n * per_image);
        return [=] { run(mean, delta, n, h, w * c); };
      }));
  cases.push_back(make_case<Kernel<float*, const float*, float, int64_t>>(
      "universal_shift", "224x224x3", 2, [](Operands& o, auto run) {
        float* const v = o.values<float>(per_image);
        const float* const delta = o.values<float>(per_image);
        return [=] { run(v, delta, 0.5f, per_image); };
      }));
  using Blend =
      Kernel<float*, const float*, const float*, float, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t>;
  cases.push_back(make_case<Blend>("patch_blend", shape, 1, [](Operands& o, auto run) {
    int64_t const n = o.extent(images), place = 80, size = 64;
    float* const out = o.empty<float>(n * per_image);
    const float *const x = o.values<float>(n * per_image), *const patch = o.values<float>(size * size * c);
    return [=] { run(out, x, patch, 0.5f, place, place, size, n, h, w, c); };
  }));
  using BlendGradient =
      Kernel<float*, const float*, float, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t>;
  cases.push_back(make_case<BlendGradient>("patch_blend_gradient", "64x64 of 32 images", 1, [](Operands& o, auto run) {
    int64_t const n = o.extent(images), place = 80, size = 64;
    float* const mean = o.empty<float>(size * size * c);
    const float* const g = o.values<float>(n * per_image);
    return [=] { run(mean, g, 0.5f, place, place, size, n, h, w, c); };
  }));
  using Warp =
      Kernel<float*, const float*, const float*, const float*, float, int64_t, int64_t, int64_t, int64_t, int64_t>;
  cases.push_back(make_case<Warp>("patch_warp", shape, 1, [](Operands& o, auto run) {
    int64_t const n = o.extent(images), size = 64;
    float* const out = o.empty<float>(n * per_image);
    const float *const x = o.values<float>(n * per_image), *const patch = o.values<float>(size * size * c),
                       *const at = poses(o, n);
    return [=] { run(out, x, patch, at, 1.0f, size, n, h, w, c); };
  }));
  using WarpGradient = Kernel<float*, const float*, const float*, float, int64_t, int64_t, int64_t, int64_t, int64_t>;
  cases.push_back(make_case<WarpGradient>("patch_warp_gradient", "64x64 of 32 images", 1, [](Operands& o, auto run) {
    int64_t const n = o.extent(images), size = 64;
    float* const mean = o.empty<float>(size * size * c);
    const float *const g = o.values<float>(n * per_image), *const at = poses(o, n);
    return [=] { run(mean, g, at, 1.0f, size, n, h, w, c); };
  }));
  cases.push_back(make_case<Kernel<float*, const float*, const float*, int64_t, int64_t, int64_t, int64_t>>(
      "gaussian_smooth_axis", "64x64x3, 7 neighbours", 2, [](Operands& o, auto run) {
        int64_t const size = 64, radius = 3;
        float* const out = o.empty<float>(size * size * c);
        const float *const in = o.values<float>(size * size * c), *const weights = o.values<float>(2 * radius + 1);
        return [=] { run(out, in, weights, radius, int64_t(1), size, size * c); };
      }));
  return cases;
}

}  // namespace mith::bench
