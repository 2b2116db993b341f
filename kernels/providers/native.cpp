// This project's own kernels behind the provider interface: blocked vector loops on the cpu, tiles on the GPU.
#include "kernels/providers/native.h"

#include "kernels/launch/error.h"
#include "kernels/launch/table.h"
#include "kernels/providers/fixed_weights.h"
#include "kernels/providers/winograd.h"

namespace mith {
namespace {

const Kernel<MatmulProblem, void*, const void*, const void*, void*> matmul_kernel{"matmul_f32"};
using Conv2dKernel = Kernel<Conv2dProblem, void*, void*, void*, void*>;
const Conv2dKernel forward_kernel{"conv2d_forward_implicit_gemm_f32"};
const Conv2dKernel dgrad_kernel{"conv2d_dgrad_implicit_gemm_f32"};
const Conv2dKernel wgrad_kernel{"conv2d_wgrad_implicit_gemm_f32"};
const Kernel<Conv2dProblem, const float*, const float*, float*, float*> winograd_kernel{"conv2d_winograd_f32"};
const Kernel<Conv2dShape, const float*, float*> winograd_filters{"conv2d_winograd_filters_f32"};

const Conv2dKernel& kernel_of(ConvPass pass) {
  return pass == ConvPass::forward ? forward_kernel : pass == ConvPass::input_gradient ? dgrad_kernel : wgrad_kernel;
}

/// Statistics are a second pass over the result, which only the reference makes.
bool fits(const Epilogue& e) { return !e.column_sum && !e.column_sum_squares; }

size_t bytes(int64_t floats) { return static_cast<size_t>(floats) * sizeof(float); }

class NativeMatmul final : public MatmulProvider {
 public:
  std::string_view name() const override { return "native"; }
  bool supports(Device device, const MatmulProblem& p) const override {
    // With a transposed on the cpu its k index is a row, where the prologue has no place.
    bool const prologue_fits = p.prologue.empty() || device != Device::cpu || !p.transpose_a;
    return p.dtype == DType::f32 && prologue_fits && fits(p.epilogue) && matmul_kernel.exists(device);
  }
  size_t workspace(Device device, const MatmulProblem& p) const override {
    if (device != Device::cpu) return 0;
    int64_t const workers = threads() * native::worker_floats;
    if (p.transpose_a && !p.transpose_b) return bytes(native::reduction_floats(p.m, p.n, p.k) + workers);
    int64_t const turned = p.transpose_a ? native::round_up(p.m * p.k, native::most_lanes) : 0;
    return bytes(turned + native::packed_floats(p.k, p.n) + workers);
  }
  void run(const Stream& stream, const MatmulProblem& p, void* y, const void* a, const void* b,
           void* scratch) const override {
    matmul_kernel(stream, p, y, a, b, scratch);
  }
};

class NativeConv2d final : public Conv2dProvider {
 public:
  std::string_view name() const override { return "native"; }
  bool supports(Device device, const Conv2dProblem& p) const override {
    return p.dtype == DType::f32 && fits(p.epilogue) && pass_fits(p) && kernel_of(p.pass).exists(device);
  }
  size_t workspace(Device device, const Conv2dProblem& p) const override {
    if (device != Device::cpu) return bytes(native::cuda_shared_floats(p));
    if (winograd::takes(p)) return bytes(threads() * winograd::worker_floats(p.shape.c));
    bool const scatters = p.pass == ConvPass::input_gradient && native::input_gradient_scatters(p.shape);
    int64_t const image = scatters ? p.shape.h * p.shape.w * (p.shape.c / p.shape.groups) : 0;
    return bytes(native::tap_floats(p.shape) + native::shared_floats(p) + threads() * (native::worker_floats + image));
  }
  void run(const Stream& stream, const Conv2dProblem& p, void* x, void* w, void* y, void* scratch) const override {
    if (stream.device == Device::cpu && winograd::takes(p)) return convolve_by_winograd(stream, p, x, w, y, scratch);
    kernel_of(p.pass)(stream, p, x, w, y, scratch);
  }

 private:
  static void convolve_by_winograd(const Stream& stream, const Conv2dProblem& p, const void* x, const void* w, void* y,
                                   void* scratch) {
    constexpr int layout = -1;  // oneDNN numbers its own from 0
    auto const filters = FixedWeights::find(w, layout, bytes(winograd::filter_floats(p.shape)));
    check(filters.data, "native: fixed weights that no FixedWeights in use knows");
    auto* const transformed = static_cast<float*>(filters.data);
    if (filters.fresh) winograd_filters(stream, p.shape, static_cast<const float*>(w), transformed);
    winograd_kernel(stream, p, transformed, static_cast<const float*>(x), static_cast<float*>(y),
                    static_cast<float*>(scratch));
  }

  /// A weight gradient is stored as it is or accumulated.
  static bool pass_fits(const Conv2dProblem& p) {
    Epilogue const& e = p.epilogue;
    return p.pass != ConvPass::weight_gradient ||
           (!e.bias && !e.residual && !e.sign_bits && !e.mask_bits && !e.row_pitch && e.activation == Activation::none);
  }
};

const MatmulProviderRegistration matmul_registration{std::make_unique<NativeMatmul>()};
const Conv2dProviderRegistration conv2d_registration{std::make_unique<NativeConv2d>()};

}  // namespace
}  // namespace mith
