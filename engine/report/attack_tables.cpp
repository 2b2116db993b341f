// What attacks cost and how far they went: transfer matrices, stages of ensembles, queries, distances.
#include <algorithm>
#include <cmath>

#include "engine/report/html.h"

namespace mith::report {
namespace {

constexpr double query_shares[] = {0.25, 0.5, 0.75, 0.9};

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

/// {"x name": [...], "y name": [...]}.
Json points_json(const Points& points, const char* x_name, const char* y_name) {
  Json x = Json::array(), y = Json::array();
  for (auto const& [px, py] : points) {
    x.push_back(px);
    y.push_back(py);
  }
  return {{x_name, x}, {y_name, y}};
}

/// A whole number of passes, or an en dash.
std::string count(double value) { return fixed(value, std::abs(value - std::round(value)) < 1e-6 ? 0 : 1); }

std::string share_standing(const ReportStage& stage, const ReportRow& row) {
  return percent(row.metrics.n ? double(stage.standing) / double(row.metrics.n) : std::nan(""));
}

std::array<double, 2> success_interval(const ReportRow& row) { return wilson95(row.fooled, row.attacked); }

void append_table(std::string& text, const std::string& title, const std::vector<Line>& lines, size_t left) {
  if (lines.size() > 1) text += '\n' + title + ":\n" + aligned(lines, left);
}

Rows rows_with(const Report& report, bool (*has)(const ReportRow&)) {
  Rows found;
  for (const ReportRow& row : report.rows)
    if (has(row)) found.push_back(&row);
  return found;
}

bool has_queries(const ReportRow& row) { return !row.queries_curve.empty(); }
bool has_distances(const ReportRow& row) { return row.distances.has_value(); }
bool has_stages(const ReportRow& row) { return !row.stages.empty(); }

/// A curve that keeps its height until the next point.
Points steps_of(const Points& points, double x_max) {
  Points steps;
  for (auto const& [x, y] : points) {
    if (!steps.empty()) steps.push_back({x, steps.back()[1]});
    steps.push_back({x, y});
  }
  if (!steps.empty() && steps.back()[0] < x_max) steps.push_back({x_max, steps.back()[1]});
  return steps;
}

using CurveOf = const Points& (*)(const ReportRow&);

/// The curves of rows of equal keys in one chart, as steps. `unit`: what one of the axis stands for.
std::string step_chart(const Rows& rows, CurveOf points, double unit, Chart chart) {
  constexpr size_t most_curves = 8;
  chart.x_max = 0;
  for (const ReportRow* row : rows) chart.x_max = std::max(chart.x_max, points(*row).back()[0] / unit);
  if (chart.x_max <= 0) chart.x_max = 1;
  for (const ReportRow* row : rows) {
    if (chart.curves.size() == most_curves) break;
    Points scaled = points(*row);
    for (auto& point : scaled) point[0] /= unit;
    chart.curves.push_back({.label = subject_title(*row) + ", " + attack_name(*row) + " " + attack_arguments(*row),
                            .points = steps_of(scaled, chart.x_max)});
  }
  return line_chart(chart);
}

const Points& queries_of(const ReportRow& row) { return row.queries_curve; }
const Points& distances_of(const ReportRow& row) { return row.distance_curve; }

std::string numbers(const std::vector<std::string>& cells) {
  std::string html;
  for (const std::string& cell : cells) html += "<td class=\"num\">" + escape(cell) + "</td>";
  return html;
}

std::string head(const std::vector<std::string>& names, size_t left) {
  std::string html = "<thead><tr>";
  for (size_t i = 0; i < names.size(); ++i) html += element("th", i < left ? "" : "num", names[i]);
  return html + "</tr></thead>\n";
}

std::string attack_cells(const ReportRow& row) {
  return "<td>" + escape(subject_title(row)) + "</td><td><b>" + escape(attack_name(row)) + "</b>" +
         element("div", "sub args", attack_arguments(row)) + "</td>";
}

std::string table(const std::string& body) {
  return "<div class=\"scroll\"><table class=\"wide\">" + body + "</table></div>\n";
}

const std::vector<std::string> query_head{"model",      "attack", "25 %", "50 %", "75 %", "90 %", "median of successes",
                                          "mean of all"};
const std::vector<std::string> distance_head{"model",   "attack",    "fooled %", "L2 median",
                                             "L2 mean", "L∞ median", "L∞ mean"};

std::vector<std::string> query_cells(const ReportRow& row) {
  std::vector<std::string> cells;
  for (double share : query_shares) cells.push_back(count(queries_for(row, share)));
  cells.push_back(count(row.queries_median));
  cells.push_back(fixed(row.queries_mean, 1));
  return cells;
}

std::vector<std::string> distance_cells(const ReportRow& row) {
  const SuccessDistances& d = *row.distances;
  return {percent(row.attack_success_rate), distance(d.l2_median, "l2"), distance(d.l2_mean, "l2"),
          distance(d.linf_median, "linf"), distance(d.linf_mean, "linf")};
}

Line line_of(const ReportRow& row, const std::vector<std::string>& cells) {
  Line line{subject_title(row), attack_short(row)};
  line.insert(line.end(), cells.begin(), cells.end());
  return line;
}

}  // namespace

std::vector<TransferMatrix> transfer_matrices(const Report& report) {
  // Of universal attacks no access tells whether the network that they were crafted on is the one they are tried on.
  Rows const carried =
      rows_with(report, [](const ReportRow& row) { return row.access == "transfer" || row.access == "universal"; });
  std::vector<TransferMatrix> matrices;
  for (const Rows& rows : group_by(carried, [](const ReportRow& row) { return row.attack; })) {
    TransferMatrix m{.attack = rows.front()->attack, .surrogates = {}, .targets = {}, .cells = {}};
    auto const place = [](std::vector<std::string>& names, const std::string& name) {
      auto const known = std::ranges::find(names, name);
      if (known != names.end()) return static_cast<size_t>(known - names.begin());
      names.push_back(name);
      return names.size() - 1;
    };
    for (const ReportRow* row : rows) {
      size_t const s = place(m.surrogates, row->crafted_on), t = place(m.targets, subject_title(*row));
      m.cells.resize(m.surrogates.size());
      for (auto& line : m.cells) line.resize(m.targets.size(), nullptr);
      m.cells[s][t] = row;
    }
    // Without a surrogate, attacks are crafted on the very network they are tried on.
    bool const carried_over = std::ranges::any_of(rows, [](const ReportRow* r) { return r->crafted_on != r->model; });
    if (carried_over && (m.surrogates.size() > 1 || m.targets.size() > 1)) matrices.push_back(std::move(m));
  }
  return matrices;
}

std::string success_with_interval(const ReportRow& row) {
  auto const [low, high] = success_interval(row);
  return percent(row.attack_success_rate) + " [" + percent(low) + ", " + percent(high) + "]";
}

double queries_for(const ReportRow& row, double share) {
  // Shares are quotients of counts: the wanted one may be missed by a rounding error.
  for (auto const& [queries, fooled] : row.queries_curve)
    if (fooled >= share - 1e-12) return queries;
  return std::nan("");
}

void add_attack_fields(Json& json, const ReportRow& row) {
  json["attacked"] = row.attacked;
  auto const [low, high] = success_interval(row);
  json["attack_success_ci95"] = {low, high};
  json["queries_median"] = number(row.queries_median);
  json["gradients_mean"] = number(row.gradients_mean);
  if (has_queries(row)) {
    json["queries_curve"] = points_json(row.queries_curve, "queries", "success");
    Json at = Json::object();
    for (double share : query_shares) at[fixed(100 * share, 0)] = number(queries_for(row, share));
    json["queries_at_success"] = at;
  }
  if (has_distances(row)) {
    const SuccessDistances& d = *row.distances;
    json["distances"] = {{"l2_median", number(d.l2_median)},
                         {"l2_mean", number(d.l2_mean)},
                         {"linf_median", number(d.linf_median)},
                         {"linf_mean", number(d.linf_mean)}};
    json["distance_curve"] = points_json(row.distance_curve, "distance", "accuracy");
  }
  if (!has_stages(row)) return;
  Json stages = Json::array();
  for (const ReportStage& stage : row.stages)
    stages.push_back({{"attack", stage.attack},
                      {"standing", stage.standing},
                      {"accuracy", number(row.metrics.n ? double(stage.standing) / double(row.metrics.n) : NAN)}});
  json["stages"] = stages;
}

Json transfer_json(const Report& report) {
  Json all = Json::array();
  for (const TransferMatrix& m : transfer_matrices(report)) {
    Json success = Json::array(), interval = Json::array();
    for (auto const& line : m.cells) {
      Json rates = Json::array(), intervals = Json::array();
      for (const ReportRow* row : line) {
        rates.push_back(row ? number(row->attack_success_rate) : Json(nullptr));
        intervals.push_back(row ? Json(success_interval(*row)) : Json(nullptr));
      }
      success.push_back(rates);
      interval.push_back(intervals);
    }
    all.push_back({{"attack", m.attack},
                   {"surrogates", m.surrogates},
                   {"targets", m.targets},
                   {"attack_success_rate", success},
                   {"attack_success_ci95", interval}});
  }
  return all;
}

std::string attack_tables(const Report& report) {
  std::string text;
  for (const TransferMatrix& m : transfer_matrices(report)) {
    std::vector<Line> lines{{"crafted on"}};
    lines.front().insert(lines.front().end(), m.targets.begin(), m.targets.end());
    for (size_t s = 0; s < m.surrogates.size(); ++s) {
      Line line{m.surrogates[s]};
      for (const ReportRow* row : m.cells[s]) line.push_back(row ? success_with_interval(*row) : "–");
      lines.push_back(line);
    }
    append_table(text, "Fooled %, with its 95 % interval, by " + m.attack + " made on one network against another",
                 lines, 1);
  }
  for (const ReportRow* row : rows_with(report, has_stages)) {
    std::vector<Line> lines{{"after", "right", "accuracy %"}};
    for (const ReportStage& stage : row->stages)
      lines.push_back({stage.attack, std::to_string(stage.standing), share_standing(stage, *row)});
    append_table(text, "Stages of " + attack_short(*row) + " on " + subject_title(*row), lines, 1);
  }
  std::vector<Line> queries{query_head}, distances{distance_head};
  for (const ReportRow* row : rows_with(report, has_queries)) queries.push_back(line_of(*row, query_cells(*row)));
  for (const ReportRow* row : rows_with(report, has_distances))
    distances.push_back(line_of(*row, distance_cells(*row)));
  append_table(text, "Queries until that share of the images that were right is fooled", queries, 2);
  append_table(text, "Sizes of the changes that fooled the network", distances, 2);
  return text;
}

std::string transfer_tables(const Report& report) {
  std::string html;
  for (const TransferMatrix& m : transfer_matrices(report)) {
    std::vector<std::string> names{"Made on"};
    names.insert(names.end(), m.targets.begin(), m.targets.end());
    std::string body = head(names, 1);
    for (size_t s = 0; s < m.surrogates.size(); ++s) {
      body += "<tr>" + element("td", "", m.surrogates[s]);
      for (const ReportRow* row : m.cells[s]) body += numbers({row ? success_with_interval(*row) : "–"});
      body += "</tr>\n";
    }
    html += element("h3", "", m.attack) + "\n" + table(body);
  }
  return html.empty()
             ? ""
             : "<h2>Transfer</h2>\n<p class=\"note\">Lines: the network that the images were made on. Columns: "
               "the network that they were carried to. Fooled, in percent of the images that were right, with "
               "its 95 % interval.</p>\n" +
                   html;
}

std::string stage_tables(const Report& report) {
  std::string html;
  for (const ReportRow* row : rows_with(report, has_stages)) {
    std::string body = head({"After", "Right", "Accuracy"}, 1);
    for (const ReportStage& stage : row->stages)
      body += "<tr>" + element("td", "args", stage.attack) +
              numbers({std::to_string(stage.standing), share_standing(stage, *row)}) + "</tr>\n";
    html += element("h3", "", subject_title(*row) + ": " + attack_short(*row)) + "\n" + table(body);
  }
  return html.empty()
             ? ""
             : "<h2>Stages of ensembles</h2>\n<p class=\"note\">Each part attacks the images that those before "
               "it left standing.</p>\n" +
                   html;
}

std::string query_charts(const Report& report) {
  Rows const rows = rows_with(report, has_queries);
  if (rows.empty()) return "";
  std::string body = head(query_head, 2);
  for (const ReportRow* row : rows) body += "<tr>" + attack_cells(*row) + numbers(query_cells(*row)) + "</tr>\n";
  std::string const chart = step_chart(
      rows, queries_of, 1,
      {.title = "Score-based attacks", .x_label = "queries", .y_label = "fooled, % of the images that were right"});
  return "<h2>Success against queries</h2>\n<p class=\"note\">Queries until that share of the images that were right "
         "is "
         "fooled. One forward pass of one image is one query.</p>\n" +
         table(body) + "<div class=\"small-multiples\">\n" + chart + "</div>\n";
}

std::string distance_charts(const Report& report) {
  Rows const rows = rows_with(report, has_distances);
  if (rows.empty()) return "";
  std::string body = head(distance_head, 2), charts;
  for (const ReportRow* row : rows) body += "<tr>" + attack_cells(*row) + numbers(distance_cells(*row)) + "</tr>\n";
  for (const Rows& same : group_by(rows, [](const ReportRow& row) { return row.norm; })) {
    const std::string& norm = same.front()->norm;
    bool const levels = norm == "linf";
    std::string const label = levels         ? "largest change of a pixel, in 1/255"
                              : norm == "l0" ? "pixels changed"
                                             : norm + " size of the change";
    charts += step_chart(
        same, distances_of, levels ? 1 / 255.0 : 1,
        {.title = (levels ? "L∞" : norm) + std::string(" minimum"), .x_label = label, .y_label = "accuracy, %"});
  }
  return "<h2>Smallest changes found</h2>\n<p class=\"note\">Sizes of the successes. The curve: accuracy where the "
         "attacker may change no more than that.</p>\n" +
         table(body) + "<div class=\"small-multiples\">\n" + charts + "</div>\n";
}

}  // namespace mith::report
