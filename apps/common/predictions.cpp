#include "apps/common/predictions.h"

#include <algorithm>
#include <numeric>
#include <sstream>

#include "engine/files/files.h"
#include "engine/ops/arithmetic.h"
#include "engine/ops/loss.h"
#include "engine/report/text.h"

namespace mith {
namespace {

/// A field of a .csv file (RFC 4180).
std::string quoted(const std::string& text) {
  std::string field = "\"";
  for (char c : text) field += c == '"' ? "\"\"" : std::string(1, c);
  return field + '"';
}

/// "Before: runs/a, pgd:eps=8/255, transfer from runs/b".
std::string column_title(const ReportRow& row) {
  if (row.attack.empty()) return report::subject_title(row) + ", clean";
  return cat(report::subject_title(row), ", ", row.attack, ", ", report::access(row));
}

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

void write_predictions(const Report& report, const ImageSet& images, const std::filesystem::path& folder) {
  std::ostringstream out;
  out << "id,name,label";
  for (const ReportRow& row : report.rows) out << ',' << quoted(column_title(row));
  out << '\n';
  for (size_t i = 0; i < images.labels.size(); ++i) {
    out << images.ids[i] << ',' << quoted(images.names[i]) << ',' << images.labels[i];
    for (const ReportRow& row : report.rows) out << ',' << row.predictions[i];
    out << '\n';
  }
  write_text(folder / "predictions.csv", out.str());
}

}  // namespace mith
