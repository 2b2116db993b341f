// Pieces of the report's page. Every function returns finished HTML or SVG; all text in it is escaped.
#pragma once
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "engine/report/text.h"

namespace mith::report {

extern const char* const style_sheet;

std::string escape(std::string_view);
/// <tag class="...">text</tag>, the text escaped.
std::string element(const std::string& tag, const std::string& css_class, std::string_view text);

// Sections; empty when the report has nothing for them.
std::string headline_cards(const Report&);
std::string comparison_table(const Report&);  ///< one column a group: before and after
std::string results_table(const Report&);
std::string warnings_list(const Report&);
std::string threat_models(const Report&);
std::string paired_tests(const Report&);
std::string confusion_matrices(const Report&);
std::string epsilon_charts(const Report&);
std::string roc_charts(const Report&);
std::string image_panels(const Report&);
std::string transfer_tables(const Report&);  ///< surrogates against targets, where there are several of either
std::string stage_tables(const Report&);
std::string query_charts(const Report&);
std::string distance_charts(const Report&);

/// One line of a chart. `low` and `high` bound a band around it, or are empty.
struct Curve {
  std::string label;
  std::vector<std::array<double, 2>> points;
  std::vector<double> low, high;
  bool markers = false;
};
struct Chart {
  std::string title, x_label, y_label;
  double x_max = 1;  ///< both axes begin at 0; y ends at 1
  bool diagonal = false;
  bool x_is_share = false;  ///< ticks as 0 to 1; otherwise round numbers
  std::vector<Curve> curves;
};
/// A figure with its legend.
std::string line_chart(const Chart&);
/// Accuracy as a dot on a line from 0 to 100 %, with its interval.
std::string interval_bar(const Metrics&, bool clean);

}  // namespace mith::report
