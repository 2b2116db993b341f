#include <algorithm>
#include <cmath>

#include "engine/report/report.h"

// The implementation is in stb_image_write.cpp.
#include <stb/stb_image_write.h>

namespace mith {
namespace {

/// Nearest of 256 levels; NaN becomes black.
uint8_t level(float value) { return value > 0 ? static_cast<uint8_t>(std::lround(std::min(value, 1.f) * 255)) : 0; }

void append(void* context, void* data, int size) {
  auto* const bytes = static_cast<const uint8_t*>(data);
  auto* const png = static_cast<std::vector<uint8_t>*>(context);
  png->insert(png->end(), bytes, bytes + size);
}

}  // namespace

std::vector<uint8_t> encode_png(const Tensor& image, int64_t least) {
  Shape const shape = image.shape();
  bool const is_image = shape.rank() == 3 && shape.numel() > 0 && (shape[2] == 1 || shape[2] == 3);
  check(is_image, "a PNG is made from an image [h, w, 1 or 3], not from ", shape);
  std::vector<float> const pixels = image.to_host<float>();
  int64_t const zoom = std::max<int64_t>(1, (least + shape[1] - 1) / shape[1]);
  int64_t const h = shape[0] * zoom, w = shape[1] * zoom, c = shape[2];
  check(h <= 1 << 15 && w <= 1 << 15, "a PNG of ", h, " x ", w, " pixels is too large");
  std::vector<uint8_t> levels(static_cast<size_t>(h * w * c));
  for (int64_t y = 0; y < h; ++y)
    for (int64_t x = 0; x < w; ++x)
      for (int64_t i = 0; i < c; ++i)
        levels[static_cast<size_t>((y * w + x) * c + i)] =
            level(pixels[static_cast<size_t>((y / zoom * shape[1] + x / zoom) * c + i)]);
  std::vector<uint8_t> png;
  int const written = stbi_write_png_to_func(append, &png, static_cast<int>(w), static_cast<int>(h),
                                             static_cast<int>(c), levels.data(), static_cast<int>(w * c));
  check(written != 0, "encoding a PNG of ", h, " x ", w, " pixels failed");
  return png;
}

}  // namespace mith
