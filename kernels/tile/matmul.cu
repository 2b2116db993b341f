// Matrix product on the GPU in f32, with prologue and epilogue.
#include "kernels/tile/product.h"

namespace mith::MITH_SPACE {

struct MatmulTile {
  Epilogue epilogue;
  int m, n, k;
};

template <int TM, int TN, bool transpose_a, bool transpose_b>
__global__ void __launch_bounds__(tile_threads)
    matmul_f32(MatmulTile p, float* y, Matrix<!transpose_a> a, Matrix<transpose_b> b) {
  int const row0 = static_cast<int>(blockIdx.x) * 16 * TM, column0 = static_cast<int>(blockIdx.y) * 16 * TN;
  multiply_tile<TM, TN>(a, b, row0, column0, 0, p.k, [&](int row, int column, float r) {
    if (row < p.m && column < p.n) store_result(p.epilogue, r, row, column, p.n, y);
  });
}

template <int TM, int TN, bool ta, bool tb>
void launch_tiles(const Stream& stream, const MatmulProblem& p, float* y, const float* a, const float* b) {
  constexpr const char* name = "matmul_f32";
  MatmulTile const tile{p.epilogue, tile_extent(name, p.m), tile_extent(name, p.n), tile_extent(name, p.k)};
  Matrix<!ta> const left{a, ta ? p.m : p.k, tile.m, p.prologue};
  Matrix<tb> const right{b, tb ? p.k : p.n, tile.n};
  dim3 const grid(tiles_of(p.m, 16 * TM), tiles_of(p.n, 16 * TN));
  int64_t const bytes = 4 * (p.m * p.k + p.k * p.n + p.m * p.n);
  launch_tile(stream, {name, p.m * p.n, bytes}, grid, dim3(tile_threads), 0, matmul_f32<TM, TN, ta, tb>, tile, y, left,
              right);
}

template <bool ta, bool tb>
void launch_transposed(const Stream& stream, const MatmulProblem& p, float* y, const float* a, const float* b) {
  if (large_tiles(p.m, p.n)) return launch_tiles<8, 8, ta, tb>(stream, p, y, a, b);
  launch_tiles<4, 4, ta, tb>(stream, p, y, a, b);
}

void launch_matmul(const Stream& stream, MatmulProblem p, void* y_, const void* a_, const void* b_, void*) {
  auto* const y = static_cast<float*>(y_);
  auto const* const a = static_cast<const float*>(a_);
  auto const* const b = static_cast<const float*>(b_);
  clear_sign_bits(stream, p.epilogue, p.m * p.n);
  if (p.transpose_a) {
    if (p.transpose_b) return launch_transposed<true, true>(stream, p, y, a, b);
    return launch_transposed<true, false>(stream, p, y, a, b);
  }
  if (p.transpose_b) return launch_transposed<false, true>(stream, p, y, a, b);
  launch_transposed<false, false>(stream, p, y, a, b);
}

KERNEL(matmul_f32, launch_matmul);

}  // namespace mith::MITH_SPACE
