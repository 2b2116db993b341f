#include "attacks/square.h"

#include <algorithm>
#include <cmath>

#include "attacks/columns.h"
#include "engine/ops/arithmetic.h"
#include "kernels/launch/table.h"
#include "kernels/row/square.h"

namespace mith {
namespace {

const Kernel<float*, float*, const int32_t*, int64_t, int64_t, int64_t, int64_t> square_settle{"square_settle"};
const Kernel<float*, const float*, const float*, const int64_t*, const int32_t*, DrawKey, int64_t, float, int64_t,
             int64_t, int64_t, int64_t>
    square_linf_window{"square_linf_window"};
const Kernel<float*, const float*, const float*, const float*, const int64_t*, const int32_t*, DrawKey, int64_t, float,
             int64_t, int64_t, int64_t, int64_t>
    square_l2_window{"square_l2_window"};
const Kernel<float*, const float*, const float*, const int64_t*, DrawKey, float, int64_t, int64_t, int64_t, int64_t,
             int64_t>
    square_l2_start{"square_l2_start"};

/// Streams of draws.
enum : int { start_draws, window_draws, sign_draws };

/// The iterates of the active images and the candidates that differ from them in a window.
class Search {
 public:
  Search(const Square& attack, const ScoreRun& run)
      : attack_(attack), run_(run), h_(run.clean().x.dim(1)), w_(run.clean().x.dim(2)), c_(run.clean().x.dim(3)) {
    candidate_ = attack.norm == "l2" ? tiles() : stripes();
    best_ = candidate_.clone();
    moves_.resize(static_cast<size_t>(run.size()));
  }

  const Tensor& candidate() const { return candidate_; }
  /// Whether the last candidate of image i is its new iterate.
  void settle(int64_t i, bool accepted) { moves_[static_cast<size_t>(i)].accepted = accepted; }
  /// Settles what is open and draws every image's next candidate.
  void propose(int64_t query);
  /// Settles what is open.
  const Tensor& best() {
    for (SquareMove& move : moves_) move = {.accepted = move.accepted, .last = move.next, .next = {}};
    launch(0);
    return best_;
  }
  void keep(const std::vector<int64_t>& kept) {
    candidate_ = gather_rows(candidate_, kept);
    best_ = gather_rows(best_, kept);
    moves_ = pick(moves_, kept);
  }

 private:
  Tensor stripes() const;
  Tensor tiles() const;
  void launch(int64_t query);  ///< query 0: settles only

  const Square& attack_;
  const ScoreRun& run_;
  int64_t h_, w_, c_;
  Tensor candidate_, best_, bump_;
  std::vector<SquareMove> moves_;
};

/// x +- eps, one sign a column and channel.
Tensor Search::stripes() const {
  std::vector<uint64_t> ids;
  for (int64_t i = 0; i < run_.size(); ++i) ids.push_back(run_.id(i));
  auto const columns = random_columns(ids, w_ * c_, attack_.eps, run_.draws(start_draws));
  return add_columns(run_.clean().x, Tensor::from(columns, {run_.size(), w_, c_}, run_.clean().x.device()));
}

/// Bumps in a grid of five by five, together of norm eps: each is of norm 1 in every channel.
Tensor Search::tiles() const {
  const Batch& clean = run_.clean();
  int64_t const side = std::max<int64_t>(std::min(h_, w_) / 5, 1);
  int64_t const rows = h_ / side, cols = w_ / side;
  auto const bumps = static_cast<double>(rows * cols * c_);
  Tensor const bump = Tensor::from(square_bump(side), {side * side}, clean.x.device());
  Tensor adv = Tensor::empty_like(clean.x);
  square_l2_start(adv.stream(), adv.data<float>(), clean.x.data<float>(), bump.data<float>(), clean.ids.data<int64_t>(),
                  run_.draws(start_draws), static_cast<float>(attack_.eps / std::sqrt(bumps)), side, run_.size(), h_,
                  w_, c_);
  return adv;
}

void Search::propose(int64_t query) {
  int64_t const side = attack_.side(query - 1, h_, w_);
  DrawKey const key = run_.draws(window_draws);
  for (int64_t i = 0; i < run_.size(); ++i) {
    auto const place = [&](int64_t draw, int64_t extent) {
      return static_cast<int32_t>(
          draw_below(key, run_.id(i), static_cast<uint64_t>(4 * query + draw), extent - side + 1));
    };
    SquareWindows next{
        .row = place(0, h_), .col = place(1, w_), .other_row = 0, .other_col = 0, .side = static_cast<int32_t>(side)};
    bool const two = attack_.norm == "l2";
    next.other_row = two ? place(2, h_) : next.row;
    next.other_col = two ? place(3, w_) : next.col;
    SquareMove& move = moves_[static_cast<size_t>(i)];
    move = {.accepted = move.accepted, .last = move.next, .next = next};
  }
  if (attack_.norm == "l2" && (!bump_.defined() || bump_.numel() != side * side))
    bump_ = Tensor::from(square_bump(side), {side * side}, candidate_.device());
  launch(query);
}

void Search::launch(int64_t query) {
  if (moves_.empty()) return;
  const Batch& clean = run_.clean();
  const Stream& stream = candidate_.stream();
  int64_t const n = run_.size();
  Tensor const table = Tensor::from_bytes(moves_.data(), {n, square_move_words}, DType::i32, candidate_.device());
  const int32_t* const moves = table.data<int32_t>();
  square_settle(stream, candidate_.data<float>(), best_.data<float>(), moves, n, h_, w_, c_);
  DrawKey const key = run_.draws(sign_draws);
  if (query == 0) return;
  if (attack_.norm == "l2")
    square_l2_window(stream, candidate_.data<float>(), best_.data<float>(), clean.x.data<float>(), bump_.data<float>(),
                     clean.ids.data<int64_t>(), moves, key, query, attack_.eps, n, h_, w_, c_);
  else
    square_linf_window(stream, candidate_.data<float>(), best_.data<float>(), clean.x.data<float>(),
                       clean.ids.data<int64_t>(), moves, key, query, attack_.eps, n, h_, w_, c_);
}

}  // namespace

float halving_schedule(float whole, int64_t iteration) {
  for (int64_t after : {10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000})
    if (iteration > after) whole /= 2;
  return whole;
}

int64_t Square::side(int64_t iteration, int64_t h, int64_t w) const {
  float const p = halving_schedule(p_init, rescale ? iteration * 10000 / queries : iteration);
  // nearbyint rounds halves to even.
  int64_t side = static_cast<int64_t>(std::nearbyint(std::sqrt(double{p} * static_cast<double>(h * w))));
  if (norm == "l2") {
    side = std::max<int64_t>(side, 3);
    side += side % 2 == 0;
  }
  return std::min(std::max<int64_t>(side, 1), std::min(h, w));
}

std::vector<double> centred_bump(int64_t h, int64_t w) {
  std::vector<double> bump(static_cast<size_t>(h * w), 0);
  int64_t const row = h / 2, col = w / 2;
  for (int64_t k = 0; k <= std::max(row, col); ++k)
    for (int64_t i = std::max<int64_t>(row - k, 0); i <= std::min(row + k, h - 1); ++i)
      for (int64_t j = std::max<int64_t>(col - k, 0); j <= std::min(col + k, w - 1); ++j)
        bump[static_cast<size_t>(i * w + j)] += 1.0 / static_cast<double>((k + 1) * (k + 1));
  double sum = 0;
  for (double v : bump) sum += v * v;
  for (double& v : bump) v /= std::sqrt(sum);
  return bump;
}

std::vector<float> square_bump(int64_t side) {
  auto const upper = centred_bump(side / 2, side), lower = centred_bump(side - side / 2, side);
  double const norm = std::sqrt((side > 1 ? 1.0 : 0.0) + 1.0);
  std::vector<float> bump;
  bump.reserve(upper.size() + lower.size());
  for (double v : upper) bump.push_back(static_cast<float>(v / norm));
  for (double v : lower) bump.push_back(static_cast<float>(-v / norm));
  return bump;
}

AttackResult Square::run(Classifier& model, const Batch& batch, const AttackOptions& options) const {
  ScoreRun run(name, model, batch, options, Objective::margin, target);
  if (run.empty()) return run.finish(batch.x);
  Search search(*this, run);
  for (int64_t query = 0; query < queries && !run.empty(); ++query) {
    if (query > 0) search.propose(query);
    auto const scores = run.query(search.candidate(), query);
    std::vector<uint8_t> fooled;
    for (int64_t i = 0; i < run.size(); ++i) {
      const Score& score = scores[static_cast<size_t>(i)];
      bool const accepted = query == 0 || run.better(i, score);
      search.settle(i, accepted);
      if (accepted) run.accept(i, score);
      fooled.push_back(score.fooled);
    }
    if (std::count(fooled.begin(), fooled.end(), 1) > 0) search.keep(run.leave(search.candidate(), fooled));
    run.progress(query + 1, queries);
  }
  return run.finish(search.best());
}

void Square::fields(Fields& f) {
  f.text("norm", norm, "norm of the ball", {"linf", "l2"});
  f.number("eps", eps, "radius of the ball, in pixel units", 0, 1e4);
  f.integer("queries", queries, "candidates to try for each image, the start being the first", 1, 1 << 30);
  f.number("p_init", p_init, "share of the pixels that the first windows cover", 1e-6, 1);
  f.flag("rescale", rescale, "shrink the windows as if there were 10000 queries, however many there are");
  f.integer("target", target, "class to be mistaken for; -1: any other", -1, 1 << 30);
}

namespace {

const AttackRegistry::Add square = register_score<Square>({
    .name = Square::name,
    .summary = "Square attack: random search that recolours square windows, shrinking with time",
    .paper = "Andriushchenko, Croce, Flammarion & Hein, Square Attack: a query-efficient black-box adversarial attack "
             "via random search, ECCV 2020, algorithms 1 to 3",
    .rule = "linf: start clamp(x + eps s), s = +-1 by column and channel\n"
            "      candidate: clamp(x + eps s) in one window, s = +-1 by channel, drawn until something changes\n"
            "l2:   start clamp(x + eps b / |b|), b = signed bumps in a grid of 5 x 5\n"
            "      candidate: window 2 of d = adv - x emptied; window 1 of every channel c becomes\n"
            "      (+-bump + d_1 / |d_1|), scaled to norm sqrt(|d_{1 or 2}|^2 + (eps^2 - |d|^2) / C); clamp(x + d)\n"
            "accept if z_y - max_{i != y} z_i falls (targeted: the cross-entropy against t), or if fooled: then stop\n"
            "windows cover p_init of the image, halved after 10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000 of 10000",
    .facts = {{"norm", "linf, l2"},
              {"access", "score"},
              {"targeted", "yes"},
              {"draws", "start, windows"},
              {"cost", "at most `queries` forward passes"}},
});

}  // namespace
}  // namespace mith
