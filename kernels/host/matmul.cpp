// The native provider's matrix product on the cpu.
#include "kernels/host/gemm.h"

namespace mith::MITH_SPACE {

/// at[m, k] = a[k, m] transposed, in strips that stay in the first-level cache.
inline void transpose(const float* a, int64_t k, int64_t m, float* at) {
  constexpr int64_t strip = 16;
  for (int64_t k0 = 0; k0 < k; k0 += strip)
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = k0; j < k0 + strip && j < k; ++j) at[i * k + j] = a[j * m + i];
}

inline void launch_matmul(const Stream& stream, MatmulProblem p, void* y, const void* a, const void* b, void* scratch) {
  LaunchScope const scope(stream, {"matmul_f32", p.m * p.n});
  auto const* left = static_cast<const float*>(a);
  auto const* const right = static_cast<const float*>(b);
  HostScratch shared{static_cast<float*>(scratch), nullptr};
  Output const out{static_cast<float*>(y), p.epilogue, p.n};
  clear_sign_bits(out, p.m);
  if (p.transpose_a && !p.transpose_b) {
    shared.workers = shared.shared + native::reduction_floats(p.m, p.n, p.k);
    multiply_transposed(plain_matrix(left, p.k, p.m, p.m), plain_matrix(right, p.k, p.n, p.n), false, out, shared);
    return;
  }
  if (p.transpose_a) {
    transpose(left, p.k, p.m, shared.shared);
    left = shared.shared;
    shared.shared += native::round_up(p.m * p.k, native::most_lanes);
  }
  shared.workers = shared.shared + native::packed_floats(p.k, p.n);
  Right const packed{right, p.n, 0, p.transpose_b ? 1 : p.n, p.transpose_b ? p.k : 1};
  multiply(plain_matrix(left, p.m, p.k, p.k, p.prologue), packed, {0, 0, 1}, out, shared);
}

KERNEL(matmul_f32, launch_matmul);

}  // namespace mith::MITH_SPACE
