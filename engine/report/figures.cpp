// The report's charts and images.
#include <algorithm>
#include <cmath>
#include <map>

#include "engine/report/html.h"
#include "engine/spec/spec.h"

namespace mith::report {
namespace {

/// Curves a chart can hold and still be read.
constexpr size_t most_curves = 8;

/// Everything of the attack but its size; attacks of equal family differ in eps, and in what follows from it.
std::string family_key(const ReportRow& row) {
  return attack_name(row) + '\n' + row.norm + '\n' + row.access + (row.adaptive ? "" : "\noblivious");
}

std::vector<float> column(const ReportRow& row, size_t classes, size_t c) {
  std::vector<float> scores;
  for (size_t i = c; i < row.scores.size(); i += classes) scores.push_back(row.scores[i]);
  return scores;
}

std::vector<uint8_t> is_class(const ReportRow& row, size_t c) {
  std::vector<uint8_t> positive;
  for (int32_t label : row.labels) positive.push_back(label == static_cast<int32_t>(c));
  return positive;
}

/// A curve's height at x, between its points.
double height_at(const std::vector<std::array<double, 2>>& curve, double x) {
  auto const above = std::ranges::upper_bound(curve, x, {}, [](auto& p) { return p[0]; });
  if (above == curve.end()) return curve.back()[1];
  auto const [x0, y0] = *std::prev(above);
  auto const [x1, y1] = *above;
  return y0 + (y1 - y0) * (x - x0) / (x1 - x0);
}

/// The second class's curve when there are two; otherwise the mean of one class against the rest over those that occur.
std::vector<std::array<double, 2>> mean_roc(const ReportRow& row, size_t classes) {
  if (classes == 2) return roc_curve(column(row, 2, 1), is_class(row, 1));
  constexpr int steps = 200;
  std::vector<std::array<double, 2>> mean(steps + 1);
  int curves = 0;
  for (int i = 0; i <= steps; ++i) mean[static_cast<size_t>(i)] = {double(i) / steps, 0};
  for (size_t c = 0; c < classes; ++c) {
    auto const curve = roc_curve(column(row, classes, c), is_class(row, c));
    if (curve.empty()) continue;
    ++curves;
    for (auto& point : mean) point[1] += height_at(curve, point[0]);
  }
  if (curves == 0) return {};
  for (auto& point : mean) point[1] /= curves;
  mean.insert(mean.begin(), {0, 0});
  return mean;
}

bool has_scores(const ReportRow& row, size_t classes) {
  return classes >= 2 && !row.labels.empty() && row.scores.size() == row.labels.size() * classes;
}

/// Accuracy over eps for one subject and one family, with the clean row at 0; no points unless two sizes were tried.
Curve epsilon_curve(const Rows& family, const ReportRow* clean, double unit) {
  std::map<double, const ReportRow*> by_eps;
  for (const ReportRow* row : family)
    if (std::isfinite(row->eps) && row->eps > 0) by_eps.emplace(row->eps / unit, row);
  if (by_eps.size() < 2) return {};
  if (clean) by_eps.emplace(0, clean);
  const ReportRow& first = *family.front();
  Curve curve{.label = subject_title(first) + ", " + attack_name(first) + (first.adaptive ? "" : ", oblivious")};
  curve.markers = true;
  for (auto const& [eps, row] : by_eps) {
    curve.points.push_back({eps, row->metrics.accuracy});
    curve.low.push_back(row->metrics.accuracy_ci95[0]);
    curve.high.push_back(row->metrics.accuracy_ci95[1]);
  }
  return curve;
}

std::string base64(const std::vector<uint8_t>& bytes) {
  constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    size_t const left = std::min<size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j) group = group << 8 | (j < left ? bytes[i + j] : 0u);
    for (size_t j = 0; j < 4; ++j) text += j <= left ? digits[group >> (18 - 6 * j) & 63] : '=';
  }
  return text;
}

std::string picture(const Tensor& image, const std::string& description) {
  return cat("<img alt=\"", escape(description), "\" src=\"data:image/png;base64,", base64(encode_png(image)), "\">");
}

struct Magnified {
  Tensor image;
  int factor;
};

/// 0.5 + k (adversarial - clean), k the power of two that brings the largest change nearest to full contrast.
Magnified magnify(const Panel& panel) {
  check(panel.clean.shape() == panel.adversarial.shape(), "a panel of ", panel.clean.shape(), " and ",
        panel.adversarial.shape());
  std::vector<float> values = panel.adversarial.to_host<float>();
  std::vector<float> const clean = panel.clean.to_host<float>();
  float most = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] -= clean[i];
    most = std::max(most, std::abs(values[i]));
  }
  int const exponent = most > 0 ? static_cast<int>(std::lround(std::log2(0.5 / most))) : 0;
  int const factor = 1 << std::clamp(exponent, 0, 12);
  for (float& v : values) v = 0.5f + static_cast<float>(factor) * v;
  return {Tensor::from(values, panel.clean.shape(), Device::cpu), factor};
}

std::string prediction(const std::string& name, double confidence, const std::string& truth) {
  return cat("<span class=\"", name == truth ? "good" : "attack", "\">", escape(name), ", ", percent(confidence),
             " %</span>");
}

std::string panel_figure(const Panel& panel) {
  auto const [perturbation, factor] = magnify(panel);
  auto const third = [](const std::string& image, const std::string& title, const std::string& below) {
    return cat("<div>", image, "<div class=\"cap\">", title, below, "</div></div>\n");
  };
  return cat("<figure class=\"triple\">\n",
             third(picture(panel.clean, "clean image"), "clean",
                   prediction(panel.clean_prediction, panel.clean_confidence, panel.true_class)),
             third(picture(perturbation, "perturbation"), cat("perturbation × ", factor),
                   element("span", "", "true class: " + panel.true_class)),
             third(picture(panel.adversarial, "adversarial image"), "adversarial",
                   prediction(panel.adversarial_prediction, panel.adversarial_confidence, panel.true_class)),
             "</figure>\n");
}

}  // namespace

std::string epsilon_charts(const Report& report) {
  std::map<std::string, Chart> charts;  // by norm
  for (const Rows& subject : group_by(pointers(report.rows), subject_key)) {
    auto const clean = std::ranges::find_if(subject, [](const ReportRow* r) { return r->attack.empty(); });
    for (const Rows& family : group_by(subject, family_key)) {
      const std::string& norm = family.front()->norm;
      if (family.front()->attack.empty()) continue;
      Curve curve = epsilon_curve(family, clean == subject.end() ? nullptr : *clean, norm == "linf" ? 1 / 255.0 : 1);
      Chart& chart = charts[norm];
      if (curve.points.empty() || chart.curves.size() == most_curves) continue;
      double const largest = curve.points.back()[0];
      chart.x_max = chart.curves.empty() ? largest : std::max(chart.x_max, largest);
      chart.x_label = norm == "linf" ? "largest change of a pixel, in 1/255" : norm + " size of the change";
      chart.y_label = "accuracy, %";
      chart.title = norm == "linf" ? "L∞ attacks" : norm + " attacks";
      chart.curves.push_back(std::move(curve));
    }
  }
  std::string figures;
  for (auto const& [norm, chart] : charts)
    if (!chart.curves.empty()) figures += line_chart(chart);
  if (figures.empty()) return "";
  return "<h2>Accuracy against attack size</h2>\n<p class=\"note\">Shaded: 95 % interval. Size 0 is the clean "
         "set.</p>\n"
         "<div class=\"small-multiples\">\n" +
         figures + "</div>\n";
}

std::string roc_charts(const Report& report) {
  size_t const classes = report.classes.size();
  std::string figures;
  for (const Rows& subject : group_by(pointers(report.rows), subject_key)) {
    Chart chart{.title = subject_title(*subject.front()),
                .x_label = "false positive rate",
                .y_label = "true positive rate",
                .diagonal = true,
                .x_is_share = true};
    for (const ReportRow* row : subject) {
      if (!has_scores(*row, classes) || chart.curves.size() == most_curves) continue;
      Curve curve{.label = attack_short(*row) + ": AUC " + fixed(row->metrics.auc_macro, 3),
                  .points = mean_roc(*row, classes)};
      if (!curve.points.empty()) chart.curves.push_back(std::move(curve));
    }
    if (!chart.curves.empty()) figures += line_chart(chart);
  }
  if (figures.empty()) return "";
  std::string const what = classes == 2 ? "class " + report.classes[1] + " against " + report.classes[0]
                                        : "mean over the classes, each against the rest";
  return cat("<h2>ROC curves</h2>\n<p class=\"note\">Receiver operating characteristic: ", escape(what),
             ".</p>\n<div class=\"small-multiples\">\n", figures, "</div>\n");
}

std::string image_panels(const Report& report) {
  std::string html;
  for (const ReportRow& row : report.rows) {
    if (row.panels.empty()) continue;
    html += cat("<h3>", escape(subject_title(row)), ": ", escape(attack_short(row)), "</h3>\n<div class=\"panels\">\n");
    for (const Panel& panel : row.panels) html += panel_figure(panel);
    html += "</div>\n";
  }
  if (html.empty()) return "";
  return "<h2>Images</h2>\n<p class=\"note\">Under each image what the network calls it, and with what confidence. The "
         "perturbation is drawn around mid-grey and magnified as stated.</p>\n" +
         html;
}

}  // namespace mith::report
