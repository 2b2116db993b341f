// Clean images that attacks blend into each image, or take a style from.
#pragma once
#include "attacks/momentum.h"

namespace mith {

enum class PartnerClass : uint8_t { other, any };

/// For each image of the batch `draws` rows of the pool, drawn with repetition by the image's id: of another class than
/// its label, or of any. Row-major [n, draws]; -1 where the pool has no image of another class.
std::vector<int64_t> draw_partner_rows(const Batch& clean, const Batch& pool, const DrawKey&, int64_t draws,
                                       PartnerClass);

/// Rows of a pool of clean images, several for each image under attack.
struct Partners {
  Tensor pool;  ///< f32 [p,h,w,c]
  Tensor rows;  ///< i64 [n, draws]; -1: none
};

/// Partners from source.partners(): they do not depend on the batch as long as the options name some. Where the pool
/// has none of another class the image stays unmixed, and the source is told to warn.
Partners draw_partners(GradientSource&, const MomentumStep&, int64_t draws, PartnerClass);

}  // namespace mith
