// The copies of each image that SI-FGSM, Admix and USMM look at, f32. An image is mixed with partners, rows
// partners[image * draws + draw] of the pool; -1, or no partners at all, leaves it alone. Signatures:
//
//   scaled_mixes      (float* out, const float* x, const float* pool, const int64_t* partners, float eta, MixedCopies)
//       out = 2^-scale (x + eta partner)                             (Wang et al. 2021, eq. 7)
//   masked_mixes      (float* out, const float* x, const float* pool, const int64_t* partners, MixMask, MixedCopies)
//       out = clamp(s x M, 0, 1);  s from low to high,  M = 1 - r + 2 r partner
//   masked_mixes_back (float* gradients, const float* x, const float* pool, const int64_t* partners, MixMask,
//                      MixedCopies)
//       in place, a copy's gradient becomes that of the image: times s M where s x M lies in [0, 1], else 0
#include "kernels/map/mixed_copies.h"

#include "kernels/launch/bytes.h"
#include "kernels/launch/divide.h"
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

/// Which copy a row is.
struct CopyRow {
  int64_t image, draw, scale;
  MITH_DEVICE CopyRow(int64_t row, Divider by_count, const MixedCopies& s) {
    image = by_count.quotient(static_cast<uint32_t>(row));
    int64_t const copy = s.first + row - image * s.count;
    draw = copy / s.scales;
    scale = copy - draw * s.scales;
  }
  MITH_DEVICE int64_t partner(const int64_t* partners, const MixedCopies& s) const {
    return partners ? partners[image * s.draws + draw] : -1;
  }
};

__global__ void scaled_mixes(float* __restrict__ out, const float* __restrict__ x, const float* __restrict__ pool,
                             const int64_t* __restrict__ partners, float eta, MixedCopies s, Divider by_count,
                             int64_t rows) {
  for (auto row : grid_rows(rows)) {
    CopyRow const copy(row, by_count, s);
    int64_t const partner = copy.partner(partners, s);
    float const factor = 1.0f / static_cast<float>(int64_t(1) << copy.scale);
    float* __restrict__ to = out + row * s.per_image;
    const float* __restrict__ own = x + copy.image * s.per_image;
    if (partner < 0) {
      for (auto i : row_cols(s.per_image)) to[i] = factor * own[i];
      continue;
    }
    const float* __restrict__ other = pool + partner * s.per_image;
    for (auto i : row_cols(s.per_image)) to[i] = factor * (own[i] + eta * other[i]);
  }
}

/// Scale number `scale` of the even grid from low to high; a single one is low.
MITH_DEVICE float grid_scale(const MixMask& m, int64_t scale, int64_t scales) {
  return scales > 1 ? m.low + (m.high - m.low) * static_cast<float>(scale) / static_cast<float>(scales - 1) : m.low;
}

/// What a pixel is multiplied with; a partner of a half makes the mask 1.
MITH_DEVICE float mask_factor(float scale, float r, float partner) { return scale * ((1 - r) + 2 * r * partner); }

__global__ void masked_mixes(float* __restrict__ out, const float* __restrict__ x, const float* __restrict__ pool,
                             const int64_t* __restrict__ partners, MixMask mask, MixedCopies s, Divider by_count,
                             int64_t rows) {
  for (auto row : grid_rows(rows)) {
    CopyRow const copy(row, by_count, s);
    int64_t const partner = copy.partner(partners, s);
    float const scale = grid_scale(mask, copy.scale, s.scales);
    float* __restrict__ to = out + row * s.per_image;
    const float* __restrict__ own = x + copy.image * s.per_image;
    if (partner < 0) {
      for (auto i : row_cols(s.per_image)) to[i] = clamp(scale * own[i], 0.0f, 1.0f);
      continue;
    }
    const float* __restrict__ other = pool + partner * s.per_image;
    for (auto i : row_cols(s.per_image)) to[i] = clamp(mask_factor(scale, mask.r, other[i]) * own[i], 0.0f, 1.0f);
  }
}

/// On the edge of the clamp the slope counts as 1, as PyTorch has it.
__global__ void masked_mixes_back(float* __restrict__ gradients, const float* __restrict__ x,
                                  const float* __restrict__ pool, const int64_t* __restrict__ partners, MixMask mask,
                                  MixedCopies s, Divider by_count, int64_t rows) {
  for (auto row : grid_rows(rows)) {
    CopyRow const copy(row, by_count, s);
    int64_t const partner = copy.partner(partners, s);
    float const scale = grid_scale(mask, copy.scale, s.scales);
    float* __restrict__ g = gradients + row * s.per_image;
    const float* __restrict__ own = x + copy.image * s.per_image;
    const float* __restrict__ other = pool + (partner < 0 ? 0 : partner) * s.per_image;
    for (auto i : row_cols(s.per_image)) {
      float const factor = partner < 0 ? scale : mask_factor(scale, mask.r, other[i]);
      float const moved = factor * own[i];
      g[i] = moved >= 0 && moved <= 1 ? factor * g[i] : 0.0f;
    }
  }
}

void launch_scaled_mixes(const Stream& stream, float* out, const float* x, const float* pool, const int64_t* partners,
                         float eta, MixedCopies s) {
  const char* const name = "scaled_mixes";
  if (s.rows() == 0) return;
  launch_rows_cols(stream, {name, s.rows(), bytes_of<float>(partners ? 3 : 2, s.rows() * s.per_image)}, s.per_image,
                   scaled_mixes, out, x, pool, partners, eta, s, Divider(s.count, s.rows(), name), s.rows());
}

void launch_masked_mixes(const Stream& stream, float* out, const float* x, const float* pool, const int64_t* partners,
                         MixMask mask, MixedCopies s) {
  const char* const name = "masked_mixes";
  if (s.rows() == 0) return;
  launch_rows_cols(stream, {name, s.rows(), bytes_of<float>(partners ? 3 : 2, s.rows() * s.per_image)}, s.per_image,
                   masked_mixes, out, x, pool, partners, mask, s, Divider(s.count, s.rows(), name), s.rows());
}

void launch_masked_mixes_back(const Stream& stream, float* gradients, const float* x, const float* pool,
                              const int64_t* partners, MixMask mask, MixedCopies s) {
  const char* const name = "masked_mixes_back";
  if (s.rows() == 0) return;
  launch_rows_cols(stream, {name, s.rows(), bytes_of<float>(partners ? 4 : 3, s.rows() * s.per_image)}, s.per_image,
                   masked_mixes_back, gradients, x, pool, partners, mask, s, Divider(s.count, s.rows(), name),
                   s.rows());
}

KERNEL(scaled_mixes, launch_scaled_mixes);
KERNEL(masked_mixes, launch_masked_mixes);
KERNEL(masked_mixes_back, launch_masked_mixes_back);

}  // namespace mith::MITH_SPACE
