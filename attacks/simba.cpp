#include "attacks/simba.h"

#include <algorithm>

#include "attacks/dct.h"
#include "engine/ops/arithmetic.h"

namespace mith {
namespace {

/// One image: the directions it has yet to try, and the one that it is trying.
struct Walk {
  DirectionOrder order;
  Direction direction = {};
  float side = 1;  ///< of the step: -1 first, then +1
  BasisStep taken = {};

  /// The other side, or the next direction; false when there is none.
  bool advance(bool accepted) {
    if (side < 0 && !accepted) {
      side = 1;
      return true;
    }
    if (order.exhausted()) return false;
    direction = order.next();
    side = -1;
    return true;
  }
};

}  // namespace

AttackResult Simba::run(Classifier& model, const Batch& batch, const AttackOptions& options) const {
  ScoreRun run(name, model, batch, options, Objective::probability, target);
  if (run.empty()) return run.finish(batch.x);
  Shape const image{batch.x.dim(1), batch.x.dim(2), batch.x.dim(3)};
  Directions const directions(basis == "dct" ? Basis::dct : Basis::pixel, image, batch.x.device());
  bool const everywhere = basis == "pixel" && order == "rand";
  std::vector<Walk> walks;
  for (int64_t i = 0; i < run.size(); ++i) {
    walks.push_back({.order = DirectionOrder(image, everywhere ? std::max(image[0], image[1]) : freq_dims,
                                             order == "strided" ? stride : 0, run.draws(0), run.id(i))});
    walks.back().advance(true);
  }

  Tensor state = run.clean().x.clone(), candidate = Tensor::empty_like(state);
  // Takes the accepted steps; `trying`: candidates are the images with the step that is tried, otherwise without.
  auto const move = [&](bool trying) {
    std::vector<BasisMove> moves;
    for (Walk& walk : walks) {
      moves.push_back({.taken = walk.taken, .tried = directions.step(walk.direction, trying ? walk.side * eps : 0)});
      walk.taken = {};
    }
    directions.move(candidate, state, moves);
  };
  auto const keep = [&](const std::vector<int64_t>& kept) {
    walks = pick(walks, kept);
    state = gather_rows(state, kept);
    candidate = gather_rows(candidate, kept);
  };

  // Every image has one candidate in every pass: whether it is on the first or the second side of its direction.
  for (int64_t query = 0; query < queries && !run.empty(); ++query) {
    move(true);
    auto const scores = run.query(candidate, query);
    std::vector<uint8_t> fooled, exhausted;
    for (int64_t i = 0; i < run.size(); ++i) {
      Walk& walk = walks[static_cast<size_t>(i)];
      const Score& score = scores[static_cast<size_t>(i)];
      bool const accepted = run.better(i, score);
      if (accepted) {
        run.accept(i, score);
        walk.taken = directions.step(walk.direction, walk.side * eps);
      }
      fooled.push_back(score.fooled);
      bool const more = walk.advance(accepted);
      if (!score.fooled) exhausted.push_back(!more);
    }
    if (std::count(fooled.begin(), fooled.end(), 1) > 0) keep(run.leave(candidate, fooled));
    if (std::count(exhausted.begin(), exhausted.end(), 1) > 0) {
      move(false);
      keep(run.leave(candidate, exhausted));
    }
    run.progress(query + 1, queries);
  }
  if (!run.empty()) move(false);
  return run.finish(candidate);
}

void Simba::fields(Fields& f) {
  f.text("basis", basis, "directions: frequencies of the whole image, or pixels", {"dct", "pixel"});
  f.number("eps", eps, "length of a step, in pixel units", 0, 1e4);
  f.text("order", order, "random, or random in squares of growing frequency", {"rand", "strided"});
  f.integer("freq_dims", freq_dims, "side of the first square of frequencies (or pixels); random DCT uses it alone", 1,
            1 << 20);
  f.integer("stride", stride, "strided: rows and columns by which the square grows", 1, 1 << 20);
  f.integer("queries", queries, "candidates to try for each image", 1, 1 << 30);
  f.integer("target", target, "class to be mistaken for; -1: any other", -1, 1 << 30);
}

namespace {

const AttackRegistry::Add simba = register_score<Simba>({
    .name = Simba::name,
    .summary = "SimBA: steps along random frequencies or pixels, kept where the label's probability falls",
    .paper = "Guo, Gardner, You, Wilson & Weinberger, Simple black-box adversarial attacks, ICML 2019, algorithm 1",
    .rule = "for directions q of an orthonormal basis (DCT or pixels) in random order, without repetition:\n"
            "  d - eps q, if p_y(clamp(x + d - eps q)) falls (targeted: p_t rises);\n"
            "  otherwise d + eps q, if p_y(clamp(x + d + eps q)) falls\n"
            "stop when fooled, when the directions run out, or after `queries`;  |d|_2 <= eps sqrt(steps)",
    .facts = {{"norm", "l2"},
              {"access", "score"},
              {"targeted", "yes"},
              {"draws", "order of directions"},
              {"cost", "at most `queries` forward passes"}},
});

}  // namespace
}  // namespace mith
