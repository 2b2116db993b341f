// Single pixels of many images.
#include "kernels/launch/bytes.h"
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

/// Image i's pixel positions[i][k] becomes values[i][k], for k < count; of equal positions the last one counts.
/// Images f32 [n,pixels,c], positions i32 [n,count], values f32 [n,count,c].
__global__ void write_pixels(float* __restrict__ images, const int32_t* __restrict__ positions,
                             const float* __restrict__ values, int64_t n, int64_t count, int64_t pixels, int64_t c) {
  for (auto i : grid_stride(n)) {
    for (int64_t k = i * count; k < (i + 1) * count; ++k)
      for (int64_t ch = 0; ch < c; ++ch) images[(i * pixels + positions[k]) * c + ch] = values[k * c + ch];
  }
}

void launch_write_pixels(const Stream& stream, float* images, const int32_t* positions, const float* values, int64_t n,
                         int64_t count, int64_t pixels, int64_t c) {
  launch_map(stream, {"write_pixels", n, bytes_of<float>(2, n * count * c)}, write_pixels, images, positions, values, n,
             count, pixels, c);
}

KERNEL(write_pixels, launch_write_pixels);

}  // namespace mith::MITH_SPACE
