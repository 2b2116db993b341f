#include "engine/report/text.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "engine/spec/spec.h"

namespace mith::report {
namespace {

std::string print(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

/// Columns a terminal shows a text over: continuation bytes of UTF-8 take none.
size_t width_of(const std::string& text) {
  return static_cast<size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xc0) != 0x80; }));
}

bool has_defense(const ReportRow& row) { return !row.defense.empty(); }
bool bounded(const ReportRow& row) { return std::isfinite(row.eps) && row.eps >= 0; }

std::string norm_symbol(const std::string& norm) {
  if (norm == "linf") return "L∞";
  if (norm == "l2") return "L₂";
  if (norm == "l1") return "L₁";
  if (norm == "l0") return "L₀";
  return norm;
}

std::string knowledge(const ReportRow& row) {
  std::string const maker = row.crafted_on.empty() ? "another network" : row.crafted_on;
  if (row.access == "score") return "The attacker sees the network's scores and nothing else.";
  if (row.access == "transfer" && row.crafted_on == row.model)
    return "The surrogate is the network itself: the attacker has its weights and gradients.";
  if (row.access == "transfer")
    return "The attacker cannot query this network; the images were made on " + maker + " and carried over.";
  if (row.access == "universal") return "One perturbation, made beforehand on " + maker + ", is laid over every image.";
  return "The attacker has the network's weights and gradients.";
}

std::string power(const ReportRow& row) {
  if (!bounded(row)) return "The change is not bounded; the attack looks for a small one.";
  if (row.norm == "linf") return "No pixel value may move by more than " + distance(row.eps, row.norm) + ".";
  if (row.norm == "l0") return "At most " + fixed(row.eps, 0) + " pixels may change.";
  return "The change may have a " + norm_symbol(row.norm) + " size of at most " + distance(row.eps, row.norm) + ".";
}

}  // namespace

Rows pointers(const std::vector<ReportRow>& rows) {
  Rows all;
  for (const ReportRow& row : rows) all.push_back(&row);
  return all;
}

std::vector<Rows> group_by(const Rows& rows, const std::function<std::string(const ReportRow&)>& key) {
  std::vector<Rows> groups;
  for (const ReportRow* row : rows) {
    auto const group = std::ranges::find_if(groups, [&](const Rows& g) { return key(*g.front()) == key(*row); });
    if (group == groups.end())
      groups.push_back({row});
    else
      group->push_back(row);
  }
  return groups;
}

std::string subject_key(const ReportRow& row) { return row.group + '\n' + row.model + '\n' + row.defense; }

std::string attack_key(const ReportRow& row) {
  return row.attack.empty() ? "" : row.attack + '\n' + row.access + (row.adaptive ? "" : "\noblivious");
}

std::string fixed(double value, int digits) {
  if (!std::isfinite(value)) return "–";
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string percent(double share) { return fixed(100 * share, 1); }

std::string percent_with_interval(const Metrics& m) {
  return percent(m.accuracy) + " [" + percent(m.accuracy_ci95[0]) + ", " + percent(m.accuracy_ci95[1]) + "]";
}

std::string distance(double value, const std::string& norm) {
  if (!std::isfinite(value)) return "–";
  if (norm != "linf" || value == 0) return print("%.3g", value);
  double const levels = value * 255;
  // A maximum over float differences is a rounding error away from the whole number it stands for.
  bool const whole = std::abs(levels - std::round(levels)) < 1e-3;
  return (whole ? fixed(levels, 0) : fixed(levels, 2)) + "/255";
}

std::string seconds(double value) {
  if (!std::isfinite(value)) return "–";
  return fixed(value, value >= 10 ? 0 : value >= 1 ? 1 : 2) + " s";
}

std::string probability(double p) { return p < 1e-4 ? "< 0.0001" : print("%.2g", p); }

std::string aligned(const std::vector<Line>& lines, size_t left) {
  std::vector<size_t> widths(lines.front().size());
  for (const Line& line : lines)
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], width_of(line[i]));
  std::string text;
  for (const Line& line : lines) {
    std::string row;
    for (size_t i = 0; i < line.size(); ++i) {
      std::string const space(widths[i] - width_of(line[i]), ' ');
      row += (i ? "  " : "") + (i < left ? line[i] + space : space + line[i]);
    }
    text += row.substr(0, row.find_last_not_of(' ') + 1) + '\n';
  }
  return text;
}

std::string attack_name(const ReportRow& row) {
  return row.attack.empty() ? "clean" : row.attack.substr(0, row.attack.find(':'));
}

std::string attack_arguments(const ReportRow& row) {
  size_t const colon = row.attack.find(':');
  std::string text;
  if (colon == std::string::npos) return text;
  for (char c : row.attack.substr(colon + 1)) text += c == ',' ? ", " : std::string(1, c);
  return text;
}

std::string attack_short(const ReportRow& row) {
  if (row.attack.empty()) return "clean";
  std::string text = attack_name(row);
  if (bounded(row)) text += ", " + distance(row.eps, row.norm);
  if (!row.adaptive) text += ", oblivious";
  if (row.access != "white") text += ", " + row.access;
  return text;
}

std::string subject_name(const ReportRow& row) {
  return has_defense(row) ? row.model + " with " + row.defense : row.model;
}

std::string subject_title(const ReportRow& row) {
  return row.group.empty() ? subject_name(row) : row.group + ": " + subject_name(row);
}

std::string budget(const ReportRow& row) {
  if (row.attack.empty()) return "";
  return bounded(row) ? norm_symbol(row.norm) + " ≤ " + distance(row.eps, row.norm)
                      : norm_symbol(row.norm) + ", unbounded";
}

std::string access(const ReportRow& row) {
  if (row.attack.empty()) return "";
  std::string const maker = row.crafted_on.empty() ? "" : " from " + row.crafted_on;
  std::string text = row.access == "white"       ? "white box"
                     : row.access == "score"     ? "scores only"
                     : row.access == "transfer"  ? "transfer" + (row.crafted_on == row.model ? " from itself" : maker)
                     : row.access == "universal" ? "universal" + maker
                                                 : row.access;
  return row.adaptive ? text : text + ", unaware of the defence";
}

std::string threat_in_words(const ReportRow& row) {
  if (row.attack.empty()) return "No attacker: the images as they are.";
  std::string text = knowledge(row);
  if (!row.adaptive)
    text += " The defence is unknown to the attacker, so this accuracy is no measure of robustness.";
  else if (has_defense(row) && row.access == "white")
    text += " The defence is known too, and attacked as part of the network.";
  return text + " " + power(row);
}

}  // namespace mith::report
