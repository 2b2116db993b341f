#include "attacks/score.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "attacks/attack_books.h"
#include "attacks/draws.h"
#include "engine/ops/arithmetic.h"

namespace mith {
namespace {

/// As argmax has it: the lowest of equals, NaN above all.
int64_t predicted_class(const float* z, int64_t classes) {
  int64_t best = 0;
  for (int64_t c = 1; c < classes; ++c)
    if (z[c] > z[best] || (std::isnan(z[c]) && !std::isnan(z[best]))) best = c;
  return best;
}

int32_t best_but(const float* z, int64_t classes, int32_t label) {
  int32_t best = label == 0 ? 1 : 0;
  for (int32_t c = best + 1; c < classes; ++c)
    if (c != label && z[c] > z[best]) best = c;
  return best;
}

}  // namespace

Score score_of(const float* logits, int64_t classes, int32_t goal, bool targeted, Objective objective) {
  double highest = -std::numeric_limits<double>::infinity(), sum = 0;
  for (int64_t c = 0; c < classes; ++c)
    if (c != goal) highest = std::max(highest, double{logits[c]});
  bool const smooth = targeted || objective == Objective::probability;
  for (int64_t c = 0; smooth && c < classes; ++c)
    if (c != goal) sum += std::exp(double{logits[c]} - highest);
  double const odds = double{logits[goal]} - highest - (smooth ? std::log(sum) : 0);
  bool const has_goal = predicted_class(logits, classes) == goal;
  return {targeted ? -odds : odds, has_goal == targeted};
}

float loss_of(const Score& score, bool targeted, Objective objective) {
  if (!targeted && objective == Objective::margin) return static_cast<float>(-score.value);
  // -log p = log(1 + exp(-log-odds)), without overflow.
  double const odds = targeted ? -score.value : score.value;
  double const cross_entropy = std::max(-odds, 0.0) + std::log1p(std::exp(-std::abs(odds)));
  return static_cast<float>(targeted ? -cross_entropy : cross_entropy);
}

ScoreRun::ScoreRun(std::string attack, Classifier& model, const Batch& batch, const AttackOptions& options,
                   Objective objective, int64_t target)
    : nan_count(Tensor::zeros({1}, DType::i64, batch.x.device())),
      attack_(std::move(attack)),
      options_(options),
      objective_(objective),
      targeted_(target >= 0),
      passes_(model, options.batch) {
  check(batch.y.defined() && batch.ids.defined(), "attack ", attack_, ": a batch without labels or ids");
  require(model.classes() >= 2, "attack ", attack_, ": a model of one class");
  check_goals(attack_, batch, target, model.classes());
  open(batch, target);
}

/// The clean pass, the books, and the images to attack.
void ScoreRun::open(const Batch& batch, int64_t target) {
  size_t const n = static_cast<size_t>(batch.size());
  int64_t const classes = passes_.model().classes();
  auto const labels = batch.y.to_host<int32_t>();
  auto const ids = batch.ids.to_host<int64_t>();
  auto const logits = passes_.logits(batch, model_key(-1)).to_host<float>();
  result_.adversarial = batch.x.clone();
  result_.success.assign(n, 0);
  result_.queries.assign(n, 1);
  result_.gradients.assign(n, 0);
  std::vector<int64_t> rows;
  for (size_t i = 0; i < n; ++i) {
    const float* const z = logits.data() + i * static_cast<size_t>(classes);
    int32_t const goal = targeted_ ? static_cast<int32_t>(target) : labels[i];
    Score const clean = score_of(z, classes, goal, targeted_, objective_);
    bool const right = predicted_class(z, classes) == labels[i];
    result_.clean_correct.push_back(right);
    result_.loss.push_back(loss_of(clean, targeted_, objective_));
    // An image of the target class cannot be turned into it.
    if (options_.evaluation && (!right || (targeted_ && goal == labels[i]))) continue;
    rows.push_back(static_cast<int64_t>(i));
    images_.push_back({.row = rows.back(),
                       .id = static_cast<uint64_t>(ids[i]),
                       .goal = goal,
                       .runner_up = best_but(z, classes, labels[i]),
                       .best = clean});
  }
  clean_ = rows.size() == n ? batch : select(batch, rows);
}

DrawKey ScoreRun::model_key(int64_t iteration) const {
  return mith::model_key(attack_, options_, 0, static_cast<int>(iteration));
}

DrawKey ScoreRun::draws(int stream) const { return draw_key(attack_, options_, Purpose::attack_start, stream, 0); }

std::vector<Score> ScoreRun::query(const Tensor& candidates, int64_t iteration, const std::vector<int64_t>& owners) {
  Tensor const ids = owners.empty() ? clean_.ids : gather_rows(clean_.ids, owners);
  return judge(passes_.logits({candidates, Tensor(), ids}, model_key(iteration)), owners);
}

std::vector<Score> ScoreRun::judge(const Tensor& logits, const std::vector<int64_t>& owners) {
  auto const z = logits.to_host<float>();
  int64_t const classes = logits.dim(1);
  std::vector<Score> scores;
  scores.reserve(static_cast<size_t>(logits.dim(0)));
  for (int64_t r = 0; r < logits.dim(0); ++r) {
    const Image& of = image(owners.empty() ? r : owners[static_cast<size_t>(r)]);
    scores.push_back(score_of(z.data() + r * classes, classes, of.goal, targeted_, objective_));
    ++result_.queries[static_cast<size_t>(of.row)];
  }
  return scores;
}

void ScoreRun::count_gradients() {
  for (const Image& i : images_) ++result_.gradients[static_cast<size_t>(i.row)];
}

std::vector<int64_t> ScoreRun::leave(const Tensor& images, const std::vector<uint8_t>& done) {
  std::vector<int64_t> leaving, rows, kept;
  for (size_t i = 0; i < images_.size(); ++i) {
    if (!done[i]) {
      kept.push_back(static_cast<int64_t>(i));
      continue;
    }
    const Image& of = images_[i];
    leaving.push_back(static_cast<int64_t>(i));
    rows.push_back(of.row);
    result_.loss[static_cast<size_t>(of.row)] = loss_of(of.best, targeted_, objective_);
    result_.success[static_cast<size_t>(of.row)] = of.best.fooled;
  }
  if (leaving.empty()) return kept;
  scatter_rows(result_.adversarial, gather_rows(images, leaving), rows);
  images_ = pick(images_, kept);
  clean_ = select(clean_, kept);
  return kept;
}

AttackResult ScoreRun::finish(const Tensor& images) {
  if (!empty()) leave(images, std::vector<uint8_t>(images_.size(), 1));
  result_.nan_gradients = nan_count.to_host<int64_t>().front();
  check(!options_.strict || result_.nan_gradients == 0, "attack ", attack_, ": the gradient is NaN at ",
        result_.nan_gradients, " pixels");
  if (!options_.evaluation) return {.adversarial = result_.adversarial, .nan_gradients = result_.nan_gradients};
  return std::move(result_);
}

void ScoreRun::progress(int64_t done, int64_t total) const {
  if (!options_.progress) return;
  int64_t standing = 0;
  for (size_t i = 0; i < result_.success.size(); ++i) standing += result_.clean_correct[i] && !result_.success[i];
  options_.progress({.done = done, .total = total, .standing = options_.evaluation ? standing : -1});
}

}  // namespace mith
