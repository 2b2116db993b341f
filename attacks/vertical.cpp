#include "attacks/vertical.h"

#include <algorithm>
#include <cmath>

#include "attacks/columns.h"
#include "attacks/driver.h"
#include "attacks/square.h"
#include "engine/ops/arithmetic.h"

namespace mith {
namespace {

/// Streams of draws.
enum : int { start_draws, window_draws, sign_draws };

/// The offsets of one image, [w * c].
using Columns = std::vector<float>;

/// Random search over signs of whole columns, as Square's over windows; `random` is its start alone.
class Search {
 public:
  Search(const Vertical& attack, ScoreRun& run)
      : attack_(attack), run_(run), w_(run.clean().x.dim(2)), c_(run.clean().x.dim(3)) {
    for (int64_t i = 0; i < run.size(); ++i)
      candidate_.push_back(random_columns({run.id(i)}, w_ * c_, attack.eps, run.draws(start_draws)));
    best_ = candidate_;
  }
  AttackResult operator()(int64_t queries);

 private:
  void propose(int64_t query);
  Tensor images(const std::vector<Columns>&) const;

  const Vertical& attack_;
  ScoreRun& run_;
  int64_t w_, c_;
  std::vector<Columns> best_, candidate_;
};

/// New signs, one a channel, for a few neighbouring columns of every image; drawn again while they are the old ones.
void Search::propose(int64_t query) {
  constexpr int64_t attempts = 16;
  int64_t const width = attack_.width(query - 1, w_);
  DrawKey const places = run_.draws(window_draws), signs = run_.draws(sign_draws);
  for (int64_t i = 0; i < run_.size(); ++i) {
    const Columns& best = best_[static_cast<size_t>(i)];
    Columns& candidate = candidate_[static_cast<size_t>(i)];
    candidate = best;
    int64_t const first = draw_below(places, run_.id(i), static_cast<uint64_t>(query), w_ - width + 1);
    for (int64_t attempt = 0; attempt < attempts && candidate == best; ++attempt)
      for (int64_t ch = 0; ch < c_; ++ch) {
        uint64_t const draw = static_cast<uint64_t>((query * attempts + attempt) * c_ + ch);
        bool const up = random_bits(signs, run_.id(i), draw) >> 31;
        for (int64_t col = first; col < first + width; ++col)
          candidate[static_cast<size_t>(col * c_ + ch)] = up ? attack_.eps : -attack_.eps;
      }
  }
}

Tensor Search::images(const std::vector<Columns>& all) const {
  Columns flat;
  flat.reserve(all.size() * static_cast<size_t>(w_ * c_));
  for (const Columns& columns : all) flat.insert(flat.end(), columns.begin(), columns.end());
  return add_columns(run_.clean().x, Tensor::from(flat, {run_.size(), w_, c_}, run_.clean().x.device()));
}

AttackResult Search::operator()(int64_t queries) {
  for (int64_t query = 0; query < queries && !run_.empty(); ++query) {
    if (query > 0) propose(query);
    Tensor const adv = images(candidate_);
    auto const scores = run_.query(adv, query);
    std::vector<uint8_t> fooled;
    for (int64_t i = 0; i < run_.size(); ++i) {
      const Score& score = scores[static_cast<size_t>(i)];
      fooled.push_back(score.fooled);
      if (query > 0 && !run_.better(i, score)) continue;
      run_.accept(i, score);
      best_[static_cast<size_t>(i)] = candidate_[static_cast<size_t>(i)];
    }
    if (std::count(fooled.begin(), fooled.end(), 1) > 0) {
      auto const kept = run_.leave(adv, fooled);
      best_ = pick(best_, kept);
      candidate_ = pick(candidate_, kept);
    }
    run_.progress(query + 1, queries);
  }
  return run_.finish(images(best_));
}

/// PGD over the columns: a column's gradient is the sum down the image. Without a random start.
AttackResult follow_gradient(const Vertical& attack, ScoreRun& run) {
  const Tensor& x = run.clean().x;
  Tensor columns = Tensor::zeros({run.size(), x.dim(2), x.dim(3)}, DType::f32, x.device());
  Tensor adv = x.clone(), best = x.clone();
  for (int step = 0; step <= attack.steps && !run.empty(); ++step) {
    Batch const b{adv, run.clean().y, run.clean().ids};
    bool const last = step == attack.steps;
    Outputs out = run.passes().evaluate(b, attack_loss(b, attack.target), {.logits = true, .input_gradient = !last},
                                        run.model_key(step));
    if (!last) run.count_gradients();
    auto const scores = run.judge(out.logits);
    std::vector<uint8_t> done;
    std::vector<int64_t> better;
    for (int64_t i = 0; i < run.size(); ++i) {
      const Score& score = scores[static_cast<size_t>(i)];
      done.push_back(run.evaluation() && score.fooled);
      if (run.evaluation() && !run.better(i, score)) continue;
      run.accept(i, score);
      better.push_back(i);
    }
    if (!better.empty()) scatter_rows(best, gather_rows(adv, better), better);
    if (std::count(done.begin(), done.end(), 1) > 0) {
      auto const kept = run.leave(adv, done);
      for (Tensor* t : {&columns, &best, &out.input_gradient})
        if (t->defined()) *t = gather_rows(*t, kept);
    }
    if (last || run.empty()) break;
    column_sign_step(columns, out.input_gradient, attack.resolved_alpha(), attack.eps, run.nan_count);
    adv = add_columns(run.clean().x, columns);
    run.progress(step + 1, attack.steps);
  }
  return run.finish(best);
}

}  // namespace

int64_t Vertical::width(int64_t iteration, int64_t w) const {
  double const share = halving_schedule(p_init, iteration * 10000 / queries);
  return std::clamp<int64_t>(static_cast<int64_t>(std::nearbyint(share * static_cast<double>(w))), 1, w);
}

AttackResult Vertical::run(Classifier& model, const Batch& batch, const AttackOptions& options) const {
  ScoreRun run(name, model, batch, options, Objective::margin, target);
  if (run.empty()) return run.finish(batch.x);
  if (mode == "grad") return follow_gradient(*this, run);
  return Search(*this, run)(mode == "search" ? queries : 1);
}

void Vertical::fields(Fields& f) {
  f.number("eps", eps, "largest offset of a column, in pixel units", 0, 1);
  f.text("mode", mode, "random signs, random search on scores, or gradient steps", {"random", "search", "grad"});
  f.integer("queries", queries, "search: candidates to try for each image, the start being the first", 1, 1 << 30);
  f.number("p_init", p_init, "search: share of the columns that the first windows cover", 1e-6, 1);
  f.integer("steps", steps, "grad: steps", 1, 1000000);
  f.number("alpha", alpha, "grad: step length, in pixel units; 0: eps / 4", 0, 1);
  f.integer("target", target, "class to be mistaken for; -1: any other", -1, 1 << 30);
}

namespace {

const AttackRegistry::Add vertical = register_score<Vertical>({
    .name = Vertical::name,
    .summary = "vertical perturbation: one offset of at most eps for each image column and channel",
    .paper = "named without a definition in a study of Alzheimer MRI classifiers; the definition is this project's, "
             "after the stripes of Andriushchenko et al., ECCV 2020",
    .rule = "adv[i][j][c] = clamp(x[i][j][c] + v[j][c], 0, 1),  |v| <= eps\n"
            "random: v = +-eps;  1 query\n"
            "search: start random; then new signs by channel for a few neighbouring columns, as many as Square's\n"
            "        schedule from p_init says; accept if z_y - max_{i != y} z_i falls (targeted: the cross-entropy\n"
            "        against t); stop when fooled\n"
            "grad:   v = 0; v = clamp(v + alpha sign(sum_i grad CE[i][j][c]), -eps, eps)",
    .facts = {{"norm", "linf"},
              {"access", "score"},
              {"targeted", "yes"},
              {"draws", "stripes, windows"},
              {"cost", "at most `queries` forward passes; mode=grad: `steps` gradients"}},
});

}  // namespace
}  // namespace mith
