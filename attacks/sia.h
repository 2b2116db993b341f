// SIA, the structure-invariant attack (Wang et al. 2023): copies whose blocks are each transformed by themselves.
#pragma once
#include "attacks/momentum.h"
#include "kernels/map/block_moves.h"

namespace mith {

/// g = mean over `copies` of grad_x CE(f(B(x)), y); B cuts the image into blocks x blocks pieces at random places and
/// draws a move for each.
struct Sia {
  static constexpr const char* name = "sia";
  MomentumFrame frame;
  int copies = 20, blocks = 3;
  std::string sia_ops = "7";  ///< 7: shifts, flips, rotation, scaling, noise; 10: resize, low_pass, channel_dropout too
  std::string only = "any";   ///< the one move to draw, for ablations

  std::vector<BlockMove> moves() const;
  Tensor estimate(GradientSource&, MomentumStep&) const;
  void fields(Fields&);
};

/// Entries of a block table (kernels/map/block_moves.h), one for each row: cuts, and for each block one of the moves
/// and its parameter, keyed by the images' ids and the copies' numbers.
std::vector<int32_t> draw_block_moves(const std::vector<int64_t>& ids, const DrawKey&,
                                      const std::vector<BlockMove>& moves, const BlockCopies&);

/// For every extent e up to `most` and a < 2 e, at e (e - 1) + a: 1 + 2 sum_{0 < k < K} cos(pi k a / e) with K =
/// kept_frequencies(e). The projection of e values onto their K lowest cosines is a matrix of such sums: element (r, t)
/// is (D(|r - t|) + D(r + t + 1)) / (2 e).
std::vector<float> dirichlet_sums(int64_t most);

}  // namespace mith
