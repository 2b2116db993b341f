// report.json, the terminal's table, and writing both copies.
#include <algorithm>
#include <cmath>

#include "engine/files/files.h"
#include "engine/report/text.h"

namespace mith {
namespace {

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json numbers(const std::vector<double>& values) {
  Json list = Json::array();
  for (double v : values) list.push_back(number(v));
  return list;
}

Json text_or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

/// The clean row has the same fields, so that a reader needs no special case: no norm, eps 0, no access.
Json threat_json(const ReportRow& row) {
  bool const clean = row.attack.empty();
  return {{"norm", clean ? Json(nullptr) : Json(row.norm)},
          {"eps", clean ? Json(0.0) : number(row.eps)},
          {"access", clean ? Json(nullptr) : Json(row.access)},
          {"crafted_on", clean ? Json(nullptr) : text_or_null(row.crafted_on)}};
}

Json row_json(const ReportRow& row) {
  const Metrics& m = row.metrics;
  Json json{{"model", row.model},
            {"defense", text_or_null(row.defense)},
            {"attack", text_or_null(row.attack)},
            {"adaptive", row.adaptive},
            {"n", m.n},
            {"threat", threat_json(row)},
            {"balanced_accuracy", number(m.balanced_accuracy)},
            {"recall", numbers(m.recall)},
            {"abstained", row.abstained},
            {"certificate", nullptr},
            {"accuracy", number(m.accuracy)},
            {"accuracy_ci95", numbers({m.accuracy_ci95[0], m.accuracy_ci95[1]})},
            {"precision_macro", number(m.precision_macro)},
            {"recall_macro", number(m.recall_macro)},
            {"f1_macro", number(m.f1_macro)},
            {"auc_macro", number(m.auc_macro)},
            {"confusion", m.confusion},
            {"attack_success_rate", number(row.attack_success_rate)},
            {"linf_max", number(row.linf_max)},
            {"l2_mean", number(row.l2_mean)},
            {"queries_mean", number(row.queries_mean)},
            {"seconds", number(row.seconds)},
            {"images_per_second", number(row.images_per_second)},
            {"nan_gradients", row.nan_gradients},
            {"warnings", row.warnings}};
  if (!row.group.empty()) json["group"] = row.group;
  if (!row.attack.empty()) report::add_attack_fields(json, row);
  return json;
}

/// The attack's name, or all of its spec where the name and the threat do not tell two rows apart.
std::string attack_column(const ReportRow& row, const std::vector<ReportRow>& rows) {
  auto const looks_alike = [&](const ReportRow& other) {
    return report::subject_key(row) == report::subject_key(other) &&
           report::attack_name(row) == report::attack_name(other) && report::budget(row) == report::budget(other) &&
           report::access(row) == report::access(other);
  };
  return std::ranges::count_if(rows, looks_alike) > 1 && !row.attack.empty() ? row.attack : report::attack_name(row);
}

}  // namespace

Json to_json(const Report& report) {
  Json rows = Json::array();
  for (const ReportRow& row : report.rows) rows.push_back(row_json(row));
  Json json{
      {"schema", 1},
      {"mithridate", version()},
      {"title", report.title},
      {"seed", report.seed},
      {"device", report.device},
      {"data",
       {{"source", report.data_source}, {"split", report.data_split}, {"n", report.n}, {"classes", report.classes}}},
      {"rows", rows},
      {"configuration", report.configuration}};
  if (Json transfer = report::transfer_json(report); !transfer.empty()) json["transfer"] = std::move(transfer);
  return json;
}

std::string to_table(const Report& report) {
  std::vector<report::Line> lines{
      {"model", "attack", "threat", "accuracy %", "95 % interval", "balanced %", "AUC", "fooled %", "time"}};
  for (const ReportRow& row : report.rows) {
    const Metrics& m = row.metrics;
    bool const clean = row.attack.empty();
    std::string const threat = clean ? "" : report::budget(row) + ", " + report::access(row);
    lines.push_back({report::subject_title(row), attack_column(row, report.rows), threat, report::percent(m.accuracy),
                     report::percent(m.accuracy_ci95[0]) + " to " + report::percent(m.accuracy_ci95[1]),
                     report::percent(m.balanced_accuracy), report::fixed(m.auc_macro, 3),
                     clean ? "" : report::percent(row.attack_success_rate), report::seconds(row.seconds)});
  }
  std::string text;
  if (!report.data_source.empty())
    text = cat("On the ", report.data_split, " part of ", report.data_source, " (", report.n, " images):\n");
  text += report::aligned(lines, 3) + report::attack_tables(report);
  for (const ReportRow& row : report.rows)
    for (const std::string& warning : row.warnings)
      text += "warning: " + report::subject_title(row) + ", " + report::attack_short(row) + ": " + warning + '\n';
  return text;
}

void write_report(const Report& report, const std::filesystem::path& folder) {
  make_writable_folder(folder);
  write_text(folder / "report.json", json_text(to_json(report), 2) + '\n');
  write_text(folder / "report.html", to_html(report));
}

}  // namespace mith
