// report.html: one page that needs nothing besides itself.
#include "engine/report/html.h"

namespace mith {
namespace report {

std::string escape(std::string_view text) {
  std::string html;
  for (char c : text) switch (c) {
      case '&':
        html += "&amp;";
        break;
      case '<':
        html += "&lt;";
        break;
      case '>':
        html += "&gt;";
        break;
      case '"':
        html += "&quot;";
        break;
      case '\'':
        html += "&#39;";
        break;
      default:
        html += c;
    }
  return html;
}

std::string element(const std::string& tag, const std::string& css_class, std::string_view text) {
  std::string const attribute = css_class.empty() ? "" : " class=\"" + css_class + "\"";
  return cat("<", tag, attribute, ">", escape(text), "</", tag, ">");
}

namespace {

std::string fact(const std::string& name, const std::string& value) {
  return value.empty() ? "" : "<div>" + element("dt", "", name) + element("dd", "", value) + "</div>\n";
}

std::string class_list(const std::vector<std::string>& classes) {
  constexpr size_t most = 10;
  if (classes.size() > most) return std::to_string(classes.size());
  std::string text;
  for (const std::string& c : classes) text += (text.empty() ? "" : ", ") + c;
  return text;
}

std::string header(const Report& r) {
  std::string const source = r.data_split.empty() ? r.data_source : r.data_source + ", " + r.data_split + " part";
  return cat(element("h1", "", r.title),
             "\n<p class=\"lead\">How well image classifiers hold up, on clean images and under attack.</p>\n"
             "<dl class=\"facts\">\n",
             fact("Data", source), fact("Images", std::to_string(r.n)), fact("Device", r.device),
             fact("Seed", std::to_string(r.seed)), fact("Classes", class_list(r.classes)), "</dl>\n");
}

std::string reproduction(const Report& r) {
  std::string const settings = json_text(r.configuration, 2);
  return cat(
      "<h2>How to reproduce</h2>\n<p>Mithridate ", version(), ", seed ", r.seed, ". Random numbers are keyed by ",
      "seed, image, restart and step: the same seed draws the same numbers on every device and for every batch ",
      "size. report.json beside this page holds every figure.</p>\n<details><summary>Configuration</summary><pre>",
      "<code>", escape(settings), "</code></pre></details>\n");
}

}  // namespace
}  // namespace report

std::string to_html(const Report& r) {
  std::string html =
      cat("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
          report::element("title", "", r.title), "\n<style>", report::style_sheet,
          "</style>\n</head>\n<body>\n<main>\n", report::header(r));
  for (auto* section : {report::headline_cards, report::warnings_list, report::comparison_table, report::results_table,
                        report::transfer_tables, report::stage_tables, report::epsilon_charts, report::distance_charts,
                        report::query_charts, report::image_panels, report::threat_models, report::paired_tests,
                        report::roc_charts, report::confusion_matrices, report::reproduction})
    html += section(r);
  return html +
         "<footer>Accuracy under an attack is an upper bound: a stronger attack may find more. Written by "
         "Mithridate.</footer>\n</main>\n</body>\n</html>\n";
}

}  // namespace mith
