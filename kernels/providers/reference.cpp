// The provider that is believed: naive loops in double, every problem, every device.
#include "kernels/launch/table.h"
#include "kernels/providers/provider.h"

namespace mith {
namespace {

/// A family of kernels for f32 and f64.
template <class... Args>
struct FloatKernels {
  Kernel<Args...> f32, f64;
  explicit FloatKernels(const char* name) : f32(name, DType::f32), f64(name, DType::f64) {}
  const Kernel<Args...>& of(DType type) const { return type == DType::f64 ? f64 : f32; }
  bool exists(Device device, DType type) const {
    return (type == DType::f32 || type == DType::f64) && of(type).exists(device);
  }
};

const FloatKernels<MatmulProblem, void*, const void*, const void*> matmul_kernels{"reference_matmul"};
const FloatKernels<Conv2dProblem, void*, void*, void*> conv2d_kernels{"reference_conv2d"};
const FloatKernels<Epilogue, int64_t, int64_t, const void*> sums_kernels{"reference_column_sums"};

void column_sums(const Stream& stream, DType type, const Epilogue& e, int64_t rows, int64_t columns, const void* y) {
  if (e.column_sum || e.column_sum_squares) sums_kernels.of(type)(stream, e, rows, columns, y);
}

class ReferenceMatmul final : public MatmulProvider {
 public:
  std::string_view name() const override { return "reference"; }
  bool supports(Device device, const MatmulProblem& p) const override { return matmul_kernels.exists(device, p.dtype); }
  void run(const Stream& stream, const MatmulProblem& p, void* y, const void* a, const void* b, void*) const override {
    matmul_kernels.of(p.dtype)(stream, p, y, a, b);
    column_sums(stream, p.dtype, p.epilogue, p.m, p.n, y);
  }
};

class ReferenceConv2d final : public Conv2dProvider {
 public:
  std::string_view name() const override { return "reference"; }
  bool supports(Device device, const Conv2dProblem& p) const override { return conv2d_kernels.exists(device, p.dtype); }
  void run(const Stream& stream, const Conv2dProblem& p, void* x, void* w, void* y, void*) const override {
    conv2d_kernels.of(p.dtype)(stream, p, x, w, y);
    void* const written = p.pass == ConvPass::forward ? y : p.pass == ConvPass::input_gradient ? x : w;
    column_sums(stream, p.dtype, p.epilogue, p.rows(), p.columns(), written);
  }
};

const MatmulProviderRegistration matmul_registration{std::make_unique<ReferenceMatmul>()};
const Conv2dProviderRegistration conv2d_registration{std::make_unique<ReferenceConv2d>()};

}  // namespace
}  // namespace mith
