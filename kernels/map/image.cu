// Batch assembly: u8 images gathered by row into f32 in [0, 1], flipped and rotated as drawn for each image.
#include "kernels/launch/launch.h"
#include "kernels/launch/philox.h"

namespace mith::MITH_SPACE {

/// How one output image is read from its source: mirrored or not, turned anticlockwise about its centre.
struct Placement {
  bool mirrored;
  float cosine, sine;
};

/// Element 0 of the image's stream decides the flip, element 1 the angle in [-rotate, rotate] radians.
MITH_DEVICE Placement draw_placement(const DrawKey& key, int64_t id, bool flip, float rotate) {
  uint64_t const image = static_cast<uint64_t>(id);
  float const angle = rotate * (2.0f * uniform(key, image, 1) - 1.0f);
  return {flip && uniform(key, image, 0) < 0.5f, cosf(angle), sinf(angle)};
}

/// One source image.
struct Source {
  const uint8_t* pixels;  // [h,w,c]
  int height, width, channels;
  /// A pixel's channel; zero outside.
  MITH_DEVICE float at(int y, int x, int channel) const {
    bool const inside = y >= 0 && y < height && x >= 0 && x < width;
    return inside ? float(pixels[(y * width + x) * channels + channel]) : 0.0f;
  }
};

__device__ __forceinline__ void write_plain(const Source& s, int y, float* __restrict__ line) {
  const uint8_t* __restrict__ from = s.pixels + y * s.width * s.channels;
  for (auto i : row_cols(int64_t(s.width) * s.channels)) line[i] = float(from[i]) / 255.0f;
}

__device__ __forceinline__ void write_mirrored(const Source& s, int y, float* __restrict__ line) {
  for (auto x : row_cols(s.width)) {
    const uint8_t* from = s.pixels + (y * s.width + (s.width - 1 - int(x))) * s.channels;
    for (int k = 0; k < s.channels; ++k) line[x * s.channels + k] = float(from[k]) / 255.0f;
  }
}

/// Bilinear, zero outside. An angle of 0 is exact: offsets from the centre are multiples of a half.
__device__ __forceinline__ void write_rotated(const Source& s, const Placement& p, int y, float* __restrict__ line) {
  float const centre_x = 0.5f * float(s.width - 1), centre_y = 0.5f * float(s.height - 1);
  float const dy = float(y) - centre_y;
  for (auto x : row_cols(s.width)) {
    float const dx = float(x) - centre_x;
    float const turned_x = centre_x + p.cosine * dx - p.sine * dy;
    float const source_x = p.mirrored ? float(s.width - 1) - turned_x : turned_x;
    float const source_y = centre_y + p.sine * dx + p.cosine * dy;
    float const left = floorf(source_x), top = floorf(source_y);
    float const u = source_x - left, v = source_y - top;
    int const x0 = int(left), y0 = int(top);
    for (int k = 0; k < s.channels; ++k) {
      float const upper = (1.0f - u) * s.at(y0, x0, k) + u * s.at(y0, x0 + 1, k);
      float const lower = (1.0f - u) * s.at(y0 + 1, x0, k) + u * s.at(y0 + 1, x0 + 1, k);
      line[x * s.channels + k] = ((1.0f - v) * upper + v * lower) / 255.0f;
    }
  }
}

__global__ void image_batch(const uint8_t* __restrict__ pixels, const int64_t* __restrict__ rows,
                            const int64_t* __restrict__ ids, float* __restrict__ out, int64_t n, int64_t h, int64_t w,
                            int64_t c, bool flip, float rotate, DrawKey key) {
  for (auto r : grid_rows(n * h)) {
    int64_t const image = r / h;
    int const y = int(r - image * h);
    Source const source{pixels + rows[image] * h * w * c, int(h), int(w), int(c)};
    float* const line = out + r * w * c;
    if (!flip && !(rotate > 0)) {
      write_plain(source, y, line);
      continue;
    }
    Placement const placement = draw_placement(key, ids[image], flip, rotate);
    if (rotate > 0) {
      write_rotated(source, placement, y, line);
    } else if (placement.mirrored) {
      write_mirrored(source, y, line);
    } else {
      write_plain(source, y, line);
    }
  }
}

/// out [n,h,w,c] f32 from pixels [any,h,w,c] u8; `rows` [n] says which image goes where, `ids` [n] key the draws.
/// One image holds fewer than 2^31 bytes. `rotate` in radians.
void launch_image_batch(const Stream& stream, const uint8_t* pixels, const int64_t* rows, const int64_t* ids,
                        float* out, int64_t n, int64_t h, int64_t w, int64_t c, bool flip, float rotate, DrawKey key) {
  launch_rows_cols(stream, {"image_batch", n * h, 5 * n * h * w * c}, w * c, image_batch, pixels, rows, ids, out, n, h,
                   w, c, flip, rotate, key);
}
KERNEL(image_batch, launch_image_batch);

}  // namespace mith::MITH_SPACE
