#include "apps/common/evaluation.h"

#include <algorithm>
#include <chrono>

namespace mith {

Evaluation::Evaluation(Classifier& model, const ImageSource& images, EvaluationOptions options)
    : model_(model), images_(images), options_(std::move(options)) {
  // Passes are filled up to a batch; of fewer images they would all be padding.
  options_.batch = std::clamp(options_.batch, int64_t{1}, std::max(int64_t{1}, images_.size()));
  auto const start = std::chrono::steady_clock::now();
  clean_ = predict(model_, images_, options_.batch);
  clean_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
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

AttackOutcome Evaluation::attack(const Attack& attack, Classifier* surrogate) const {
  return std::move(attack_all(attack, {this}, surrogate).front());
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
