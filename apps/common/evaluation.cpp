#include "apps/common/evaluation.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "engine/ops/arithmetic.h"
#include "engine/ops/loss.h"
#include "engine/train/progress.h"

namespace mith {
namespace {

constexpr size_t panel_count = 6;
constexpr int64_t gate_images = 32;
/// An attack is given several batches at once: images that are fooled make room for others in its passes.
constexpr int64_t batches_a_call = 4;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Distances of the adversarial images from the clean ones, gathered batch by batch.
struct Distances {
  double linf = 0, l2_sum = 0;
  void add(const std::vector<float>& clean, const std::vector<float>& adversarial, int64_t n) {
    size_t const d = clean.size() / static_cast<size_t>(n);
    for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
      double squares = 0;
      for (size_t j = i * d; j < (i + 1) * d; ++j) {
        double const delta = double(adversarial[j]) - double(clean[j]);
        linf = std::max(linf, std::abs(delta));
        squares += delta * delta;
      }
      l2_sum += std::sqrt(squares);
    }
  }
};

/// Up to six successes: the first of every class, then the second of every class, and so on, in the data's order.
class PanelPicker {
 public:
  explicit PanelPicker(size_t classes) : by_class_(classes) {}
  bool wants(int32_t label) const { return by_class_[static_cast<size_t>(label)].size() < panel_count; }
  void add(int32_t label, Panel panel) { by_class_[static_cast<size_t>(label)].push_back(std::move(panel)); }
  std::vector<Panel> pick() const {
    std::vector<Panel> picked;
    for (size_t round = 0; round < panel_count; ++round)
      for (auto const& of_class : by_class_)
        if (round < of_class.size() && picked.size() < panel_count) picked.push_back(of_class[round]);
    return picked;
  }

 private:
  std::vector<std::vector<Panel>> by_class_;
};

std::string class_name(const BatchSource& images, int32_t c) {
  auto const& names = images.class_names();
  return static_cast<size_t>(c) < names.size() ? names[static_cast<size_t>(c)] : std::to_string(c);
}

/// The image of one row of a batch, on the cpu.
Tensor image_at(const Tensor& batch, int64_t row) {
  return batch.rows(row, 1).view({batch.dim(1), batch.dim(2), batch.dim(3)}).to(Device::cpu).clone();
}

Panel make_panel(const BatchSource& images, const Batch& batch, const Tensor& adversarial, int64_t row, int32_t label,
                 const Predictions& before, size_t before_row, const Predictions& after) {
  size_t const k = static_cast<size_t>(images.classes());
  int32_t const was = before.classes[before_row], is = after.classes[static_cast<size_t>(row)];
  return Panel{.clean = image_at(batch.x, row),
               .adversarial = image_at(adversarial, row),
               .true_class = class_name(images, label),
               .clean_prediction = class_name(images, was),
               .adversarial_prediction = class_name(images, is),
               .clean_confidence = before.scores[before_row * k + static_cast<size_t>(was)],
               .adversarial_confidence = after.scores[static_cast<size_t>(row) * k + static_cast<size_t>(is)]};
}

/// What one attack did, gathered batch by batch.
class Books {
 public:
  Books(const BatchSource& images, const Predictions& before, int64_t target, bool transfer, bool keep)
      : images_(images),
        before_(before),
        target_(target),
        transfer_(transfer),
        keep_(keep),
        panels_(static_cast<size_t>(images.classes())) {}

  void add(const Batch& batch, const AttackResult& result, const Predictions& now, int64_t first) {
    auto const clean = batch.x.to_host<float>(), attacked = result.adversarial.to_host<float>();
    distances_.add(clean, attacked, batch.size());
    if (keep_) adversarial.insert(adversarial.end(), attacked.begin(), attacked.end());
    for (int64_t i = 0; i < batch.size(); ++i) {
      size_t const at = static_cast<size_t>(first + i), row = static_cast<size_t>(i);
      int32_t const label = images_.labels()[at];
      bool const right = before_.classes[at] == label && label != target_;
      bool const fooled = right && is_success(target_, label, now.classes[row]);
      right_before_ += right;
      fooled_ += fooled;
      success.push_back(fooled);
      unconfirmed_ += !transfer_ && result.success[row] && !fooled;
      if (fooled && panels_.wants(label))
        panels_.add(label, make_panel(images_, batch, result.adversarial, i, label, before_, at, now));
    }
    for (int64_t q : result.queries) queries_ += double(q);
    nan_gradients_ += result.nan_gradients;
    append(after, now);
  }

  std::string note() const { return cat("fooled ", fooled_, " of ", right_before_); }

  void fill(ReportRow& row) const {
    double const n = double(images_.size());
    row.attack_success_rate = right_before_ ? double(fooled_) / double(right_before_) : 0;
    row.linf_max = distances_.linf;
    row.l2_mean = distances_.l2_sum / n;
    row.queries_mean = queries_ / n;
    row.seconds = seconds;
    row.images_per_second = n / std::max(seconds, 1e-9);
    row.nan_gradients = nan_gradients_;
    if (nan_gradients_)
      row.warnings.push_back(cat(nan_gradients_, " pixels had a NaN gradient and were left in place"));
    if (unconfirmed_) row.warnings.push_back(cat(unconfirmed_, " successes were not confirmed by re-evaluation"));
    row.panels = panels_.pick();
  }

  Predictions after;
  std::vector<uint8_t> success;
  std::vector<float> adversarial;
  double seconds = 0;

 private:
  const BatchSource& images_;
  const Predictions& before_;
  int64_t target_;
  bool transfer_, keep_;
  Distances distances_;
  PanelPicker panels_;
  double queries_ = 0;
  int64_t right_before_ = 0, fooled_ = 0, unconfirmed_ = 0, nan_gradients_ = 0;
};

}  // namespace

std::vector<int64_t> positions_from(int64_t first, int64_t count) {
  std::vector<int64_t> positions(static_cast<size_t>(count));
  std::iota(positions.begin(), positions.end(), first);
  return positions;
}

void append(Predictions& a, const Predictions& b) {
  a.logits.insert(a.logits.end(), b.logits.begin(), b.logits.end());
  a.scores.insert(a.scores.end(), b.scores.begin(), b.scores.end());
  a.classes.insert(a.classes.end(), b.classes.begin(), b.classes.end());
}

Predictions predict(Classifier& model, const Batch& batch, int64_t at_once) {
  size_t const k = static_cast<size_t>(model.classes());
  Predictions all;
  for (int64_t first = 0; first < batch.size(); first += at_once) {
    int64_t const count = std::min(at_once, batch.size() - first);
    auto rows = positions_from(0, at_once);
    for (int64_t& row : rows) row = first + row % count;
    Tensor const logits = model.logits(count == at_once ? slice(batch, first, count) : select(batch, rows));
    check(count_nan(logits) == 0, model.name(), ": NaN among the logits");
    Predictions part{logits.to_host<float>(), softmax(logits).to_host<float>(), argmax(logits).to_host<int32_t>()};
    part.logits.resize(static_cast<size_t>(count) * k);
    part.scores.resize(static_cast<size_t>(count) * k);
    part.classes.resize(static_cast<size_t>(count));
    append(all, part);
  }
  return all;
}

Predictions predict(Classifier& model, const BatchSource& images, int64_t batch) {
  Predictions all;
  for (int64_t first = 0; first < images.size(); first += batch) {
    auto const positions = positions_from(first, std::min(batch, images.size() - first));
    append(all, predict(model, images.batch(positions, false, {}), batch));
  }
  return all;
}

Evaluation::Evaluation(Classifier& model, const ImageSource& images, EvaluationOptions options)
    : model_(model), images_(images), options_(std::move(options)) {
  auto const start = std::chrono::steady_clock::now();
  clean_ = predict(model_, images_, options_.batch);
  clean_seconds_ = seconds_since(start);
}

ReportRow Evaluation::row_for(const Predictions& predictions) const {
  ReportRow row;
  row.model = model_.name();
  row.crafted_on = model_.name();
  row.labels = images_.labels();
  row.predictions = predictions.classes;
  row.scores = predictions.scores;
  row.metrics = compute_metrics(row.labels, row.predictions, row.scores, images_.classes());
  row.group = options_.group;
  return row;
}

ReportRow Evaluation::clean() const {
  ReportRow row = row_for(clean_);
  row.seconds = clean_seconds_;
  row.images_per_second = double(images_.size()) / std::max(clean_seconds_, 1e-9);
  return row;
}

std::vector<std::string> Evaluation::gate(Classifier& model) const {
  auto const positions = positions_from(0, std::min(gate_images, images_.size()));
  auto warnings = sanity_gate(model, images_.batch(positions, false, {}), {.seed = options_.seed});
  for (const std::string& warning : warnings) warn(model.name() + ": " + warning);
  return warnings;
}

/// A transfer attack must not be credited for an image that the model had wrong, nor repair one: those stay clean.
void Evaluation::keep_mistakes(Tensor& adversarial, const Batch& batch, int64_t first) const {
  std::vector<int64_t> wrong;
  for (int64_t i = 0; i < batch.size(); ++i) {
    size_t const at = static_cast<size_t>(first + i);
    if (clean_.classes[at] != images_.labels()[at]) wrong.push_back(i);
  }
  if (!wrong.empty()) scatter_rows(adversarial, gather_rows(batch.x, wrong), wrong);
}

AttackOutcome Evaluation::attack(const Attack& attack, Classifier* surrogate) {
  Classifier& crafted_on = surrogate ? *surrogate : model_;
  auto const warnings = gate(crafted_on);
  AttackOptions options;
  options.seed = options_.seed;
  // A surrogate's own mistakes and successes say nothing of the model: every image is attacked, to the last step.
  options.evaluation = surrogate == nullptr;
  options.strict = options_.strict;
  options.batch = options_.batch;

  Threat const threat = attack.threat();
  Books books(images_, clean_, threat.target, surrogate != nullptr, options_.keep_images);
  Progress progress(attack.spec() + " on " + crafted_on.name(), images_.size());
  int64_t const chunk = batches_a_call * options_.batch;
  for (int64_t first = 0; first < images_.size(); first += chunk) {
    Batch const batch = images_.batch(positions_from(first, std::min(chunk, images_.size() - first)), false, {});
    int64_t shown = 0;
    options.progress = [&](const AttackProgress& p) {
      int64_t const reached = p.total > 0 ? batch.size() * p.done / p.total : batch.size();
      progress.advance(reached - shown, books.note());
      shown = reached;
    };
    auto const start = std::chrono::steady_clock::now();
    AttackResult result = attack.run(crafted_on, batch, options);
    books.seconds += seconds_since(start);
    if (surrogate) keep_mistakes(result.adversarial, batch, first);
    books.add(batch, result, predict(model_, {result.adversarial, batch.y, batch.ids}, options_.batch), first);
    progress.advance(batch.size() - shown, books.note());
  }
  progress.finish(books.note());

  AttackOutcome outcome{.row = row_for(books.after),
                        .target = threat.target,
                        .clean_predictions = clean_.classes,
                        .success = books.success,
                        .adversarial = std::move(books.adversarial)};
  outcome.row.attack = attack.spec();
  outcome.row.norm = threat.norm;
  outcome.row.eps = threat.eps;
  outcome.row.access = surrogate ? "transfer" : threat.access;
  outcome.row.crafted_on = crafted_on.name();
  outcome.row.warnings = warnings;
  books.fill(outcome.row);
  return outcome;
}

Report make_report(const std::string& title, const ImageSet& images, const std::string& data,
                   const std::string& default_part, uint64_t seed) {
  auto const [source, part] = split_data_name(data);
  Report report;
  report.title = title;
  report.seed = seed;
  report.device = name_of(default_device());
  report.data_source = source;
  report.data_split = part.empty() ? default_part : part;
  report.n = images.size();
  report.classes = images.class_names;
  return report;
}

}  // namespace mith
