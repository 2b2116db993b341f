#include "apps/common/books.h"

#include <algorithm>
#include <cmath>

namespace mith {
namespace {

constexpr size_t panel_count = 6;

std::string class_name(const BatchSource& images, int32_t c) {
  auto const& names = images.class_names();
  return static_cast<size_t>(c) < names.size() ? names[static_cast<size_t>(c)] : std::to_string(c);
}

/// The image of one row of a batch, on the cpu.
Tensor image_at(const Tensor& batch, int64_t row) {
  return batch.rows(row, 1).view({batch.dim(1), batch.dim(2), batch.dim(3)}).to(Device::cpu).clone();
}

Panel make_panel(const BatchSource& images, const Batch& batch, const Tensor& adversarial, size_t row, int32_t label,
                 const Predictions& before, size_t before_row, const Predictions& after) {
  size_t const k = static_cast<size_t>(images.classes());
  int32_t const was = before.classes[before_row], is = after.classes[row];
  return Panel{.clean = image_at(batch.x, static_cast<int64_t>(row)),
               .adversarial = image_at(adversarial, static_cast<int64_t>(row)),
               .true_class = class_name(images, label),
               .clean_prediction = class_name(images, was),
               .adversarial_prediction = class_name(images, is),
               .clean_confidence = before.scores[before_row * k + static_cast<size_t>(was)],
               .adversarial_confidence = after.scores[row * k + static_cast<size_t>(is)]};
}

/// Of each image of a batch [n,h,w,c].
std::vector<Distance> distances_between(const std::vector<float>& clean, const std::vector<float>& adversarial,
                                        size_t n, size_t channels) {
  size_t const d = clean.size() / n;
  std::vector<Distance> all(n);
  for (size_t i = 0; i < n; ++i) {
    Distance& distance = all[i];
    double squares = 0;
    bool pixel_moved = false;
    for (size_t j = 0; j < d; ++j) {
      double const delta = std::abs(double(adversarial[i * d + j]) - double(clean[i * d + j]));
      distance.linf = std::max(distance.linf, delta);
      distance.l1 += delta;
      squares += delta * delta;
      pixel_moved = (j % channels ? pixel_moved : false) || delta > 0;
      if ((j + 1) % channels == 0) distance.l0 += pixel_moved;
    }
    distance.l2 = std::sqrt(squares);
  }
  return all;
}

/// The mean of the two in the middle where there are two; NaN of nothing.
double median(std::vector<double> values) {
  if (values.empty()) return std::nan("");
  std::ranges::sort(values);
  size_t const half = values.size() / 2;
  return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (double v : values) sum += v;
  return values.empty() ? std::nan("") : sum / double(values.size());
}

}  // namespace

double Distance::in(const std::string& norm) const {
  if (norm == "l2") return l2;
  if (norm == "l1") return l1;
  return norm == "l0" ? l0 : linf;
}

Books::Books(const BatchSource& images, const Predictions& before, Options options)
    : images_(images), before_(before), options_(std::move(options)), panels_(static_cast<size_t>(images.classes())) {}

void Books::add(const Batch& clean, const AttackResult& result, const Tensor& attacked, const Predictions& now,
                int64_t first) {
  auto const before = clean.x.to_host<float>(), pixels = attacked.to_host<float>();
  size_t const n = static_cast<size_t>(clean.size());
  auto const distances = distances_between(before, pixels, n, static_cast<size_t>(clean.x.dim(3)));
  if (options_.keep_images) adversarial.insert(adversarial.end(), pixels.begin(), pixels.end());
  for (size_t row = 0; row < n; ++row) {
    size_t const at = static_cast<size_t>(first) + row;
    enter(result, distances[row], now, at, row);
    std::vector<Panel>& of_class = panels_[static_cast<size_t>(images_.labels()[at])];
    if (success.back() && of_class.size() < panel_count)
      of_class.push_back(make_panel(images_, clean, attacked, row, images_.labels()[at], before_, at, now));
  }
  for (int64_t q : result.queries) queries_ += double(q), most_queries_ = std::max(most_queries_, double(q));
  for (int64_t g : result.gradients) gradients_ += double(g);
  nan_gradients_ += result.nan_gradients;
  merge_stages(result.stages);
  for (const std::string& warning : result.warnings)
    if (std::ranges::find(warnings_, warning) == warnings_.end()) warnings_.push_back(warning);
  append(after, now);
}

void Books::enter(const AttackResult& result, const Distance& distance, const Predictions& now, size_t at, size_t row) {
  int64_t const target = options_.threat.target;
  int32_t const label = images_.labels()[at];
  bool const right = before_.classes[at] == label && label != target;
  bool const fooled = right && is_success(target, label, now.classes[row]);
  linf_max_ = std::max(linf_max_, distance.linf);
  l2_sum_ += distance.l2;
  right_before_ += right;
  fooled_ += fooled;
  standing_ += now.classes[row] == label;
  success.push_back(fooled);
  bool const claimed = row < result.success.size() && result.success[row];
  unconfirmed_ += !options_.transfer && claimed && !fooled;
  if (!fooled) return;
  distances_.push_back(distance);
  if (row < result.queries.size()) success_queries_.push_back(double(result.queries[row]));
}

/// Sums of the chunks.
void Books::merge_stages(const std::vector<AttackStage>& stages) {
  for (const AttackStage& stage : stages) {
    auto const known = std::ranges::find(stages_, stage.attack, &AttackStage::attack);
    if (known == stages_.end())
      stages_.push_back(stage);
    else
      known->standing += stage.standing;
  }
}

/// Square follows no gradient: what it finds behind attacks that do, their gradients hid (attacks.md 0.9).
void Books::warn_of_masking(ReportRow& row) const {
  for (size_t i = 1; i < stages_.size(); ++i) {
    int64_t const lowered = stages_[i - 1].standing - stages_[i].standing;
    if (stages_[i].attack.starts_with("square:") && double(lowered) > 0.002 * double(images_.size()))
      row.warnings.push_back(cat("square fooled ", lowered, " of ", images_.size(),
                                 " images that the attacks before it left standing: gradients may be masked"));
  }
}

std::string Books::note() const { return cat("fooled ", fooled_, " of ", right_before_); }

/// The first of every class, then the second of every class, and so on, in the data's order.
std::vector<Panel> Books::panels() const {
  std::vector<Panel> picked;
  for (size_t round = 0; round < panel_count; ++round)
    for (auto const& of_class : panels_)
      if (round < of_class.size() && picked.size() < panel_count) picked.push_back(of_class[round]);
  return picked;
}

/// A curve of score access only: with gradients, passes are no measure of what the attacker needs.
void Books::fill_queries(ReportRow& row) const {
  if (options_.transfer || queries_ <= 0) return;
  row.queries_median = median(success_queries_);
  if (options_.threat.access != "score" || right_before_ == 0) return;
  std::vector<double> sorted = success_queries_;
  std::ranges::sort(sorted);
  row.queries_curve.push_back({0, 0});
  for (size_t i = 0; i < sorted.size(); ++i)
    if (i + 1 == sorted.size() || sorted[i + 1] > sorted[i])
      row.queries_curve.push_back({sorted[i], double(i + 1) / double(right_before_)});
  if (most_queries_ > row.queries_curve.back()[0])
    row.queries_curve.push_back({most_queries_, row.queries_curve.back()[1]});
}

void Books::fill_distances(ReportRow& row) const {
  if (options_.threat.eps >= 0) return;
  std::vector<double> l2, linf, own;
  for (const Distance& d : distances_) {
    l2.push_back(d.l2);
    linf.push_back(d.linf);
    own.push_back(d.in(options_.threat.norm));
  }
  row.distances = {.l2_mean = mean(l2), .l2_median = median(l2), .linf_mean = mean(linf), .linf_median = median(linf)};
  std::ranges::sort(own);
  double const n = double(images_.size());
  row.distance_curve.push_back({0, double(right_before_) / n});
  for (size_t i = 0; i < own.size(); ++i)
    if (i + 1 == own.size() || own[i + 1] > own[i])
      row.distance_curve.push_back({own[i], (double(right_before_) - double(i + 1)) / n});
}

void Books::fill(ReportRow& row) const {
  double const n = double(images_.size());
  row.attacked = right_before_;
  row.fooled = fooled_;
  row.attack_success_rate = right_before_ ? double(fooled_) / double(right_before_) : 0;
  row.linf_max = linf_max_;
  row.l2_mean = l2_sum_ / n;
  row.queries_mean = queries_ / n;
  row.gradients_mean = gradients_ / n;
  row.seconds = seconds;
  row.images_per_second = n / std::max(seconds, 1e-9);
  row.nan_gradients = nan_gradients_;
  fill_queries(row);
  fill_distances(row);
  for (const AttackStage& stage : stages_) row.stages.push_back({stage.attack, stage.standing});
  row.warnings.insert(row.warnings.end(), warnings_.begin(), warnings_.end());
  warn_of_masking(row);
  if (nan_gradients_) row.warnings.push_back(cat(nan_gradients_, " pixels had a NaN gradient and were left in place"));
  if (unconfirmed_) row.warnings.push_back(cat(unconfirmed_, " successes were not confirmed by re-evaluation"));
  row.panels = panels();
}

}  // namespace mith
