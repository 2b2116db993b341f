// Mean and standard deviation of each channel of each image, f32: x [n, pixels, c] -> mean, deviation [n, c]. One block
// a channel of an image; two passes in double, so that a channel that hardly varies keeps its digits. Signature:
//
//   channel_moments (float* mean, float* deviation, const float* x, int64_t images, int64_t pixels, int64_t channels)
#include "kernels/launch/bytes.h"
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

__global__ void channel_moments(float* __restrict__ mean, float* __restrict__ deviation, const float* __restrict__ x,
                                int64_t images, int64_t pixels, int64_t channels) {
  for (auto i : block_items(images * channels)) {
    int64_t const image = i / channels;
    const float* const from = x + image * pixels * channels + (i - image * channels);
    double sum = 0;
    for (auto p : block_stride(pixels)) sum += static_cast<double>(from[p * channels]);
    double const centre = block_sum(sum) / static_cast<double>(pixels);
    double squares = 0;
    for (auto p : block_stride(pixels)) squares += square(static_cast<double>(from[p * channels]) - centre);
    squares = block_sum(squares);
    if (block_leader()) {
      mean[i] = static_cast<float>(centre);
      deviation[i] = static_cast<float>(std::sqrt(squares / static_cast<double>(pixels)));
    }
  }
}

void launch_channel_moments(const Stream& stream, float* mean, float* deviation, const float* x, int64_t images,
                            int64_t pixels, int64_t channels) {
  launch_row(stream, {"channel_moments", images * channels, bytes_of<float>(2, images * pixels * channels)}, pixels,
             channel_moments, mean, deviation, x, images, pixels, channels);
}

KERNEL(channel_moments, launch_channel_moments);

}  // namespace mith::MITH_SPACE
