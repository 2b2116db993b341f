#include "attacks/minimum_norm.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "attacks/attack_books.h"
#include "attacks/draws.h"
#include "attacks/driver.h"
#include "attacks/steps.h"
#include "engine/ops/arithmetic.h"
#include "kernels/launch/table.h"

namespace mith {
namespace {

using GradientNorm = Kernel<float*, const float*, int64_t*, int64_t, int64_t>;
const GradientNorm gradient_norm_linf{"gradient_norm_linf"}, gradient_norm_l2{"gradient_norm_l2"},
    gradient_norm_l1{"gradient_norm_l1"};
const Kernel<float*, const float*, const float*, int64_t, int64_t> l1_distances{"l1_distance"};
const Kernel<float*, const float*, const float*, int64_t, int64_t> shrink{"shrink_distance"};

int64_t per_image(const Tensor& x) { return x.dim(0) ? x.numel() / x.dim(0) : 0; }

}  // namespace

Norm norm_named(const std::string& name) {
  if (name == "linf") return Norm::linf;
  return name == "l2" ? Norm::l2 : Norm::l1;
}

Norm dual(Norm norm) {
  if (norm == Norm::l2) return norm;
  return norm == Norm::linf ? Norm::l1 : Norm::linf;
}

std::vector<float> gradient_norms(Norm norm, const Tensor& gradients, Tensor& nan_count) {
  const GradientNorm& kernel =
      norm == Norm::linf ? gradient_norm_linf : (norm == Norm::l2 ? gradient_norm_l2 : gradient_norm_l1);
  Tensor const out = Tensor::empty({gradients.dim(0)}, DType::f32, gradients.device());
  kernel(gradients.stream(), out.data<float>(), gradients.data<float>(), nan_count.data<int64_t>(), gradients.dim(0),
         per_image(gradients));
  return out.to_host<float>();
}

std::vector<float> distances(Norm norm, const Tensor& a, const Tensor& b) {
  if (norm == Norm::linf) return linf_distance(a, b);
  if (norm == Norm::l2) return l2_distance(a, b);
  check(a.shape() == b.shape(), "l1_distance: images ", a.shape(), " with ", b.shape());
  Tensor const out = Tensor::empty({a.dim(0)}, DType::f32, a.device());
  l1_distances(a.stream(), out.data<float>(), a.data<float>(), b.data<float>(), a.dim(0), per_image(a));
  return out.to_host<float>();
}

void shrink_distance(Tensor& adv, const Tensor& x, const std::vector<float>& share) {
  Tensor const shares = Tensor::from(share, {adv.dim(0)}, adv.device());
  shrink(adv.stream(), adv.data<float>(), x.data<float>(), shares.data<float>(), adv.dim(0), per_image(adv));
}

ClassGradients class_gradients(const Passes& passes, const Batch& b, const std::vector<int32_t>& others,
                               const DrawKey& key) {
  auto const labels = b.y.to_host<int32_t>();
  size_t const n = labels.size(), m = n ? others.size() / n : 0, k = static_cast<size_t>(passes.model().classes());
  std::vector<float> weights(n * m * k, 0);
  Rows copies;
  for (size_t i = 0; i < n * m; ++i) {
    copies.push_back(static_cast<int64_t>(i / m));
    weights[i * k + static_cast<size_t>(others[i])] = 1;
    weights[i * k + static_cast<size_t>(labels[i / m])] = -1;
  }
  Batch const images = m == 1 ? b : select(b, copies);
  int64_t const rows = static_cast<int64_t>(n * m);
  Outputs const out = passes.evaluate(images, OnLogits{Tensor::from(weights, {rows, passes.model().classes()})},
                                      {.logits = true, .input_gradient = true}, key);
  ClassGradients found{.gaps = {}, .gradients = out.input_gradient};
  auto const z = out.logits.to_host<float>();
  for (size_t i = 0; i < n * m; ++i)
    found.gaps.push_back(z[i * k + static_cast<size_t>(others[i])] - z[i * k + static_cast<size_t>(labels[i / m])]);
  return found;
}

NearestBoundary nearest_boundary(Norm norm, const ClassGradients& g, size_t images, Tensor& nan_count) {
  auto const lengths = gradient_norms(dual(norm), g.gradients, nan_count);
  size_t const m = g.gaps.size() / images;
  NearestBoundary nearest;
  for (size_t i = 0; i < images; ++i) {
    size_t chosen = i * m;
    double least = std::numeric_limits<double>::infinity();
    for (size_t j = i * m; j < (i + 1) * m; ++j) {
      double const gap = std::abs(static_cast<double>(g.gaps[j])), length = static_cast<double>(lengths[j]);
      if (!(length > 0 && gap / length < least)) continue;  // nothing leads to a class without a gradient
      least = gap / length;
      chosen = j;
    }
    nearest.chosen.push_back(static_cast<int64_t>(chosen));
    nearest.gap.push_back(g.gaps[chosen]);
    nearest.length.push_back(std::isfinite(least) ? lengths[chosen] : 0.0f);
  }
  return nearest;
}

NearestSuccess::NearestSuccess(Goal goal, Classifier& model, const Batch& batch, const AttackOptions& options)
    : goal_(std::move(goal)), batch_(batch), options_(options), passes_(model, options.batch) {
  check(batch.y.defined() && batch.ids.defined(), "attack ", goal_.attack, ": a batch without labels or ids");
  int64_t const classes = model.classes();
  require(classes >= 2, "attack ", goal_.attack, ": a model of one class cannot be fooled");
  check_goals(goal_.attack, batch, goal_.target, classes);
  labels_ = batch.y.to_host<int32_t>();
  Outputs const clean =
      passes_.evaluate(batch, attack_loss(batch, goal_.target), {.logits = true, .loss = true}, model_key(0, -1));
  clean_logits_ = clean.logits.to_host<float>();
  auto const predictions = argmax(clean.logits).to_host<int32_t>();
  for (size_t i = 0; i < labels_.size(); ++i) {
    bool const right = predictions[i] == labels_[i];
    result_.clean_correct.push_back(right);
    if (right && labels_[i] != goal_.target) open_.push_back(static_cast<int64_t>(i));
  }
  size_t const n = labels_.size();
  nan_count_ = Tensor::zeros({1}, DType::i64, batch.x.device());
  best_.assign(n, std::numeric_limits<float>::infinity());
  result_.adversarial = batch.x.clone();
  result_.loss = clean.loss.to_host<float>();
  result_.success.assign(n, 0);
  result_.queries.assign(n, 1);
  result_.gradients.assign(n, 0);
}

DrawKey NearestSuccess::model_key(int restart, int iteration, int pass) const {
  return mith::model_key(goal_.attack, options_, restart, iteration, pass);
}

Rows NearestSuccess::standing() const {
  Rows rows;
  for (int64_t row : open_)
    if (!succeeded(row)) rows.push_back(row);
  return rows;
}

std::vector<int32_t> NearestSuccess::rivals(const Rows& rows, int64_t skipped, int64_t count) const {
  size_t const k = static_cast<size_t>(passes_.model().classes());
  std::vector<int32_t> rivals;
  for (int64_t row : rows) {
    const float* const z = &clean_logits_[static_cast<size_t>(row) * k];
    std::vector<int32_t> classes(k);
    std::iota(classes.begin(), classes.end(), 0);
    std::erase(classes, label(row));
    std::stable_sort(classes.begin(), classes.end(), [z](int32_t a, int32_t b) { return z[a] > z[b]; });
    rivals.insert(rivals.end(), classes.begin() + skipped, classes.begin() + skipped + count);
  }
  return rivals;
}

std::vector<uint8_t> NearestSuccess::fooled(const Rows& rows, const Tensor& logits) const {
  auto const predictions = argmax(logits).to_host<int32_t>();
  std::vector<uint8_t> fooled;
  for (size_t i = 0; i < rows.size(); ++i)
    fooled.push_back(goal_.target < 0 ? predictions[i] != label(rows[i]) : predictions[i] == goal_.target);
  return fooled;
}

void NearestSuccess::enter(const Rows& rows, const Tensor& images, const std::vector<uint8_t>& fooled,
                           const std::vector<float>& distance) {
  Rows better, better_rows;
  for (size_t i = 0; i < rows.size(); ++i) {
    size_t const row = static_cast<size_t>(rows[i]);
    bool const counts = fooled[i] && (goal_.eps < 0 || static_cast<double>(distance[i]) <= goal_.eps);
    if (!counts || !(distance[i] < best_[row])) continue;
    best_[row] = distance[i];
    result_.success[row] = 1;
    better.push_back(static_cast<int64_t>(i));
    better_rows.push_back(rows[i]);
  }
  if (!better.empty()) scatter_rows(result_.adversarial, gather_rows(images, better), better_rows);
}

void NearestSuccess::count(const Rows& rows, int64_t forwards, int64_t backwards) {
  for (int64_t row : rows) {
    result_.queries[static_cast<size_t>(row)] += forwards;
    result_.gradients[static_cast<size_t>(row)] += backwards;
  }
}

void NearestSuccess::progress(int64_t done, int64_t total) const {
  if (!options_.progress) return;
  options_.progress({.done = done, .total = total, .standing = static_cast<int64_t>(standing().size())});
}

AttackResult NearestSuccess::finish() {
  Rows fooled;
  for (int64_t row : open_)
    if (succeeded(row)) fooled.push_back(row);
  if (!fooled.empty()) {
    Batch b = select(batch_, fooled);
    b.x = gather_rows(result_.adversarial, fooled);
    auto const loss =
        passes_.evaluate(b, attack_loss(b, goal_.target), {.loss = true}, model_key(0, -1, 1)).loss.to_host<float>();
    for (size_t i = 0; i < fooled.size(); ++i) result_.loss[static_cast<size_t>(fooled[i])] = loss[i];
    count(fooled, 1, 0);
  }
  result_.nan_gradients = nan_count_.to_host<int64_t>().front();
  check(!options_.strict || result_.nan_gradients == 0, "attack ", goal_.attack, ": the gradient is NaN at ",
        result_.nan_gradients, " pixels");
  return std::move(result_);
}

}  // namespace mith
