// The report's tables.
#include <algorithm>
#include <cmath>
#include <optional>

#include "engine/report/html.h"

namespace mith::report {
namespace {

constexpr int64_t most_classes_listed = 4;  // recalls, in a table's cell
constexpr int64_t most_classes_drawn = 20;  // confusion matrices

std::string cell(const std::string& html, const char* css_class = "") {
  return *css_class ? cat("<td class=\"", css_class, "\">", html, "</td>") : "<td>" + html + "</td>";
}

std::string sub(const std::string& text) { return text.empty() ? "" : element("div", "sub", text); }

std::string accuracy_cell(const ReportRow& row) {
  const Metrics& m = row.metrics;
  return cell(cat("<b>", percent(m.accuracy), "</b> <span class=\"sub\">[", percent(m.accuracy_ci95[0]), ", ",
                  percent(m.accuracy_ci95[1]), "]</span>", interval_bar(m, row.attack.empty())));
}

std::string attack_cell(const ReportRow& row) {
  if (row.attack.empty()) return cell("<b>clean images</b>");
  std::string const arguments = attack_arguments(row);
  return cell("<b>" + escape(attack_name(row)) + "</b>" +
              (arguments.empty() ? "" : element("div", "sub args", arguments)));
}

std::string recall_cell(const ReportRow& row, const std::vector<std::string>& classes) {
  const std::vector<double>& recall = row.metrics.recall;
  std::string html;
  if (std::ssize(recall) <= most_classes_listed) {
    for (size_t i = 0; i < recall.size(); ++i)
      html += cat("<div class=\"each\">", percent(recall[i]), " <span class=\"sub\">",
                  escape(i < classes.size() ? classes[i] : ""), "</span></div>");
    return cell(html);
  }
  size_t lowest = 0;  // the first class that occurs less well recognised than all before
  for (size_t i = 1; i < recall.size(); ++i)
    if (!(recall[i] >= recall[lowest]) && std::isfinite(recall[i])) lowest = i;
  return cell(cat("<div class=\"each\">", percent(recall[lowest]), " <span class=\"sub\">",
                  escape(lowest < classes.size() ? classes[lowest] : ""), " (lowest)</span></div>"));
}

std::string result_line(const ReportRow& row, const std::vector<std::string>& classes) {
  bool const clean = row.attack.empty();
  std::string html = "<tr>" + attack_cell(row);
  html += cell(clean ? "" : escape(budget(row)) + sub(access(row)));
  html += accuracy_cell(row) + cell(percent(row.metrics.balanced_accuracy), "num");
  html += recall_cell(row, classes) + cell(fixed(row.metrics.auc_macro, 3), "num");
  html += cell(clean ? "" : percent(row.attack_success_rate), "num");
  html += cell(clean ? "" : distance(row.linf_max, "linf"), "num");
  std::string const rate = row.images_per_second > 0 ? fixed(row.images_per_second, 0) + " images/s" : "";
  return html + cell(seconds(row.seconds) + sub(rate), "num") + "</tr>\n";
}

/// The group's first row under the same attack.
const ReportRow* find(const Rows& rows, const std::string& attack) {
  auto const it = std::ranges::find_if(rows, [&](const ReportRow* r) { return attack_key(*r) == attack; });
  return it == rows.end() ? nullptr : *it;
}

struct Discordant {
  int64_t only_a = 0, only_b = 0;
};

/// Images that one of the two got right and the other did not; nothing unless both saw the same ones.
std::optional<Discordant> compare(const ReportRow& a, const ReportRow& b) {
  bool const comparable = !a.labels.empty() && a.labels == b.labels && a.predictions.size() == a.labels.size() &&
                          b.predictions.size() == a.labels.size();
  if (!comparable) return std::nullopt;
  Discordant d;
  for (size_t i = 0; i < a.labels.size(); ++i) {
    bool const a_right = a.predictions[i] == a.labels[i], b_right = b.predictions[i] == a.labels[i];
    d.only_a += a_right && !b_right;
    d.only_b += b_right && !a_right;
  }
  return d;
}

/// Coloured only where the test tells the change from chance.
std::string change_cells(const ReportRow* before, const ReportRow* after) {
  if (!before || !after) return cell("") + cell("");
  double const change = after->metrics.accuracy - before->metrics.accuracy;
  auto const test = compare(*before, *after);
  double const p = test ? mcnemar(test->only_a, test->only_b) : 1;
  const char* const colour = p >= 0.05 ? "" : change >= 0 ? "good" : "attack";
  std::string const text = (change >= 0 ? "+" : "−") + percent(std::abs(change));
  return cell(element("b", colour, text), "num") + cell(test ? probability(p) : "–", "num");
}

std::string confusion_matrix(const ReportRow& row, const std::vector<std::string>& classes) {
  auto const name = [&](size_t i) { return escape(i < classes.size() ? classes[i] : std::to_string(i)); };
  std::string html = cat("<figure><figcaption><b>", escape(subject_title(row)), "</b><br>", escape(attack_short(row)),
                         "</figcaption><table class=\"confusion\"><thead><tr><th></th>");
  const auto& confusion = row.metrics.confusion;
  for (size_t j = 0; j < confusion.size(); ++j) html += cat("<th title=\"", name(j), "\">", name(j), "</th>");
  html += "<th class=\"recall\">recall</th></tr></thead>";
  for (size_t i = 0; i < confusion.size(); ++i) {
    int64_t total = 0;
    for (int64_t count : confusion[i]) total += count;
    html += cat("<tr><th title=\"", name(i), "\">", name(i), "</th>");
    for (size_t j = 0; j < confusion.size(); ++j) {
      double const share = total ? double(confusion[i][j]) / double(total) : 0;
      html += cat("<td style=\"background:rgba(", i == j ? "35,82,124" : "181,69,44", ",", fixed(0.04 + 0.8 * share, 2),
                  ");color:", share > 0.55 ? "#fff" : "inherit", "\">", confusion[i][j], "</td>");
    }
    html += cat("<td class=\"recall\">", percent(row.metrics.recall[i]), "</td></tr>");
  }
  return html + "</table></figure>\n";
}

}  // namespace

std::string headline_cards(const Report& report) {
  auto const subjects = group_by(pointers(report.rows), subject_key);
  if (subjects.empty() || subjects.size() > 4) return "";
  std::string html = "<div class=\"cards\">\n";
  for (const Rows& rows : subjects) {
    const ReportRow* const clean = find(rows, "");
    const ReportRow* worst = nullptr;
    for (const ReportRow* row : rows)
      if (!row->attack.empty() && (!worst || row->metrics.accuracy < worst->metrics.accuracy)) worst = row;
    auto const figure = [](const ReportRow* row, const char* colour, const std::string& what) {
      return cat("<div><div class=\"big ", colour, "\">", row ? percent(row->metrics.accuracy) : "–",
                 "<small> %</small></div><div class=\"what\">", escape(what), "</div></div>");
    };
    html += cat("<div class=\"card\"><h3>", escape(subject_title(*rows.front())), "</h3><div class=\"pair\">",
                figure(clean, "clean", "accuracy on clean images"),
                worst ? figure(worst, "attack", "under the strongest attack (" + attack_short(*worst) + ")") : "",
                "</div></div>\n");
  }
  return html + "</div>\n";
}

std::string comparison_table(const Report& report) {
  auto const groups = group_by(pointers(report.rows), [](const ReportRow& r) { return r.group; });
  if (groups.size() < 2) return "";
  bool const pair = groups.size() == 2;
  std::string html =
      "<h2>Side by side</h2>\n<p class=\"note\">Accuracy in percent with its 95 % interval, of the same "
      "images under the same attack";
  html += pair ? ". p: exact McNemar test of the change.</p>\n" : ".</p>\n";
  html += "<div class=\"scroll\"><table class=\"wide\"><thead><tr><th>Attack</th>";
  for (const Rows& group : groups) html += element("th", "", group.front()->group);
  html += pair ? "<th class=\"num\">Change</th><th class=\"num\">p</th></tr></thead>\n" : "</tr></thead>\n";
  for (const Rows& same : group_by(pointers(report.rows), attack_key)) {
    const ReportRow& first = *same.front();
    html += "<tr>" + cell((first.attack.empty() ? "<b>clean images</b>" : "<b>" + escape(attack_name(first)) + "</b>") +
                          sub(first.attack.empty() ? "" : budget(first) + ", " + access(first)));
    std::vector<const ReportRow*> found;
    for (const Rows& group : groups) {
      found.push_back(find(group, attack_key(first)));
      html += found.back() ? accuracy_cell(*found.back()) : cell("–");
    }
    html += (pair ? change_cells(found[0], found[1]) : "") + "</tr>\n";
  }
  return html + "</table></div>\n";
}

std::string results_table(const Report& report) {
  std::string html =
      "<h2>Results</h2>\n<p class=\"note\">In percent. Brackets and bars: 95 % interval (Wilson). Fooled: share of the "
      "images that were right before the attack. Change: the largest of any pixel.</p>\n"
      "<div class=\"scroll\"><table class=\"wide\"><thead><tr><th>Attack</th><th>Threat</th><th>Accuracy</th>"
      "<th class=\"num\">Balanced</th><th>Recall</th><th class=\"num\">AUC</th><th class=\"num\">Fooled</th>"
      "<th class=\"num\">Change</th><th class=\"num\">Time</th></tr></thead><tbody>\n";
  for (const Rows& rows : group_by(pointers(report.rows), subject_key)) {
    html += cat("<tr class=\"subject\"><td colspan=\"9\">", escape(subject_title(*rows.front())), "</td></tr>\n");
    for (const ReportRow* row : rows) html += result_line(*row, report.classes);
  }
  return html + "</tbody></table></div>\n";
}

std::string warnings_list(const Report& report) {
  std::string items;
  for (const ReportRow& row : report.rows)
    for (const std::string& warning : row.warnings)
      items +=
          cat("<li>", escape(subject_title(row)), ", ", escape(attack_short(row)), ": ", escape(warning), "</li>\n");
  return items.empty() ? "" : "<div class=\"warnings\"><h3>Read with care</h3><ul>\n" + items + "</ul></div>\n";
}

std::string threat_models(const Report& report) {
  auto const title = [](const ReportRow& row) {
    return attack_short(row) + (row.defense.empty() ? "" : " against " + row.defense);
  };
  std::string items;
  for (const Rows& rows : group_by(pointers(report.rows), [&](auto& r) { return title(r) + threat_in_words(r); })) {
    const ReportRow& row = *rows.front();
    if (!row.attack.empty())
      items += cat("<li><b>", escape(title(row)), "</b>. ", escape(threat_in_words(row)), "</li>\n");
  }
  return items.empty() ? "" : "<h2>Threat models</h2>\n<ul class=\"plain\">\n" + items + "</ul>\n";
}

std::string paired_tests(const Report& report) {
  std::string lines;
  for (const Rows& rows : group_by(pointers(report.rows), attack_key))
    for (size_t i = 1; i < rows.size(); ++i) {
      const ReportRow &a = *rows[0], &b = *rows[i];
      if (subject_key(a) == subject_key(b)) continue;
      auto const test = compare(a, b);
      if (!test) continue;
      lines += "<tr>" + cell("<b>" + escape(attack_short(a)) + "</b>") + cell(escape(subject_title(a))) +
               cell(escape(subject_title(b))) + cell(std::to_string(test->only_a), "num") +
               cell(std::to_string(test->only_b), "num") +
               cell(probability(mcnemar(test->only_a, test->only_b)), "num") + "</tr>\n";
    }
  if (lines.empty()) return "";
  return "<h2>Paired tests</h2>\n<p class=\"note\">Images that only one of the two classified correctly, and the "
         "probability of so uneven a split if both were equally good (exact McNemar test, two-sided, not corrected for "
         "the number of tests).</p>\n<div class=\"scroll\"><table class=\"wide\"><thead><tr><th>Attack</th><th>A</th>"
         "<th>B</th><th class=\"num\">Only A right</th><th class=\"num\">Only B right</th><th class=\"num\">p</th></tr>"
         "</thead>\n" +
         lines + "</table></div>\n";
}

std::string confusion_matrices(const Report& report) {
  if (report.rows.empty() || std::ssize(report.classes) > most_classes_drawn) return "";
  std::string html =
      "<h2>Confusion matrices</h2>\n<p class=\"note\">A line is a true class, a column what was "
      "predicted; shades are shares of the line.</p>\n<div class=\"small-multiples\">\n";
  for (const ReportRow& row : report.rows) html += confusion_matrix(row, report.classes);
  return html + "</div>\n";
}

}  // namespace mith::report
