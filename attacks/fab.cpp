#include "attacks/fab.h"

#include <algorithm>
#include <cmath>

#include "attacks/draws.h"
#include "attacks/minimum_norm.h"
#include "attacks/steps.h"
#include "engine/ops/arithmetic.h"
#include "kernels/launch/table.h"

namespace mith {
namespace {

using Projection =
    Kernel<float*, const float*, const float*, const int64_t*, const float*, float, float, int64_t, int64_t>;
const Projection fab_projection_linf{"fab_projection_linf"}, fab_projection_l2{"fab_projection_l2"},
    fab_projection_l1{"fab_projection_l1"};

class Run {
 public:
  Run(const Fab& config, const char* name, Classifier& model, const Batch& batch, const AttackOptions& options)
      : config_(config),
        name_(name),
        batch_(batch),
        options_(options),
        norm_(norm_named(config.norm)),
        books_({.attack = name, .norm = norm_, .eps = static_cast<double>(config.eps)}, model, batch, options) {}

  /// Towards all classes at once.
  AttackResult towards_all() {
    rounds_ = config_.restarts;
    for (int restart = 0; restart < config_.restarts; ++restart)
      attack(restart, 0, books_.passes().model().classes() - 1);
    return books_.finish();
  }
  /// Towards the class of each rank below the label's.
  AttackResult by_rank(int targets) {
    int64_t const ranks = std::min<int64_t>(targets, books_.passes().model().classes() - 1);
    rounds_ = ranks * config_.restarts;
    for (int64_t rank = 0; rank < ranks; ++rank)
      for (int restart = 0; restart < config_.restarts; ++restart) attack(restart, rank, 1);
    return books_.finish();
  }

 private:
  /// Where an image begins: itself, or a random point within half of eps.
  Tensor start(const Batch& clean, int restart, int64_t rank) const {
    if (restart == 0) return clean.x.clone();
    DrawKey const key = draw_key(name_, options_, Purpose::attack_start, restart, static_cast<int>(rank));
    float const default_eps = norm_ == Norm::linf ? 0.3f : (norm_ == Norm::l2 ? 1.0f : 5.0f);
    float const radius = (config_.eps < 0 ? default_eps : config_.eps) / 2;
    if (norm_ == Norm::linf) return uniform_in_linf_ball(clean, radius, key);
    // The L2 ball of radius r / sqrt(D) lies in the L1 ball of radius r.
    int64_t const pixels = clean.x.numel() / clean.size();
    return draw_in_l2_ball(clean, norm_ == Norm::l2 ? radius : radius / std::sqrt(static_cast<float>(pixels)),
                           L2Start::uniform, key);
  }

  /// One run over `count` rival classes from the given rank. With eps, only images without a success are worth it.
  void attack(int restart, int64_t rank, int64_t count) {
    Rows const rows = config_.eps < 0 ? books_.open() : books_.standing();
    int64_t const round = round_++;
    if (rows.empty()) return;
    Batch const clean = select(batch_, rows);
    auto const others = books_.rivals(rows, rank, count);
    Tensor adv = start(clean, restart, rank);
    Batch const now{adv, clean.y, clean.ids};
    for (int i = 0; i < config_.steps; ++i) {
      int const run = static_cast<int>(round);
      project(adv, clean.x, class_gradients(books_.passes(), now, others, books_.model_key(run, i)));
      auto const fooled = books_.fooled(rows, books_.passes().logits(now, books_.model_key(run, i, 1)));
      books_.count(rows, count + 1, count);
      books_.enter(rows, adv, fooled, distances(norm_, adv, clean.x));
      std::vector<float> share;
      share.reserve(rows.size());
      for (uint8_t f : fooled) share.push_back(f ? config_.beta : 1.0f);
      shrink_distance(adv, clean.x, share);
      books_.progress(round * config_.steps + i + 1, rounds_ * config_.steps);
    }
  }

  void project(Tensor& adv, const Tensor& x, const ClassGradients& g) {
    int64_t const n = adv.dim(0);
    NearestBoundary const nearest = nearest_boundary(norm_, g, static_cast<size_t>(n), books_.nan_count());
    Tensor const chosen = Tensor::from(nearest.chosen, {n}, adv.device()),
                 gap = Tensor::from(nearest.gap, {n}, adv.device());
    const Projection& kernel =
        norm_ == Norm::linf ? fab_projection_linf : (norm_ == Norm::l2 ? fab_projection_l2 : fab_projection_l1);
    kernel(adv.stream(), adv.data<float>(), x.data<float>(), g.gradients.data<float>(), chosen.data<int64_t>(),
           gap.data<float>(), config_.eta, config_.alpha_max, n, adv.numel() / n);
  }

  const Fab& config_;
  std::string name_;
  const Batch& batch_;
  const AttackOptions& options_;
  Norm norm_;
  NearestSuccess books_;
  int64_t round_ = 0, rounds_ = 1;
};

}  // namespace

AttackResult Fab::run(Classifier& model, const Batch& batch, const AttackOptions& options) const {
  return Run(*this, name, model, batch, options).towards_all();
}

AttackResult FabT::run(Classifier& model, const Batch& batch, const AttackOptions& options) const {
  return Run(*this, name, model, batch, options).by_rank(targets);
}

void Fab::fields(Fields& f) {
  f.text("norm", norm, "norm of the distance", {"linf", "l2", "l1"});
  f.number("eps", eps, "a change larger than this is no success; negative: any counts", -1, 1e6);
  f.integer("steps", steps, "steps of each run", 1, 1000000);
  f.integer(
      "restarts", restarts,
      "runs; all but the first start at a random point within eps / 2 (eps < 0: half of 0.3 in linf, 1 in l2, 5 in "
      "l1), with norm=l1 in the L2 ball inside of that",
      1, 255);
  f.number("alpha_max", alpha_max, "largest share of the projection of the clean image", 0, 1);
  f.number("eta", eta, "extrapolation beyond the boundary", 1, 10);
  f.number("beta", beta, "share of the distance kept after a success", 0, 1);
}

void FabT::fields(Fields& f) {
  Fab::fields(f);
  f.integer("targets", targets, "classes aimed at, the likeliest first; a model of K has K - 1", 1, 1000000);
}

namespace {

constexpr const char* rule =
    "w = grad (z_s - z_y),  hyperplane z_s - z_y + <w, v - x_1> = 0 at the current point x_1, x_0 the image\n"
    "d_1, d_0: to the projections of x_1 and x_0 onto hyperplane and [0, 1]^D;  a = min(|d_1| / (|d_1| + |d_0|), "
    "alpha_max)\n"
    "x_1 = clamp((1 - a)(x_1 + eta d_1) + a (x_0 + eta d_0), 0, 1)\n"
    "where x_1 fools: keep it if it is the nearest; x_1 = x_0 + beta (x_1 - x_0)\n";

const AttackRegistry::Add fab = register_minimum_norm<Fab>({
    .name = Fab::name,
    .summary = "the nearest boundary by projections that stay close to the image",
    .paper = "Croce & Hein, Minimally distorted adversarial examples with a fast adaptive boundary attack, ICML 2020, "
             "algorithm 1",
    .rule = std::string(rule) + "s = argmin_k |z_k - z_y| / |grad (z_k - z_y)|_q over all k != y",
    .facts = {{"norm", "linf, l2, l1"},
              {"access", "white"},
              {"targeted", "no"},
              {"draws", "start of restarts"},
              {"cost", "steps x (K - 1) x restarts gradients"}},
});

const AttackRegistry::Add fab_t = register_minimum_norm<FabT>({
    .name = FabT::name,
    .summary = "fab towards one class at a time, by rank of the clean logits",
    .paper = "Croce & Hein, ICML 2020, algorithm 1; one class at a time as in Croce & Hein, Reliable evaluation, ICML "
             "2020, section 5",
    .rule = std::string(rule) +
            "s = the class of rank 2, 3, ..., targets + 1 by clean logits, in turn; any class but y "
            "is a success",
    .facts = {{"norm", "linf, l2, l1"},
              {"access", "white"},
              {"targeted", "no"},
              {"draws", "start of restarts"},
              {"cost", "steps x min(targets, K - 1) x restarts gradients"}},
});

}  // namespace
}  // namespace mith
