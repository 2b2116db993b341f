// Charts as inline SVG.
#include <algorithm>
#include <cmath>

#include "engine/report/html.h"

namespace mith::report {
namespace {

constexpr const char* colours[] = {"#23527c", "#b5452c", "#2b7a5b", "#7a549b", "#a9780f", "#56616d"};
/// After the colours are used up they come again with other strokes.
constexpr const char* dashes[] = {"", "6 3", "2 3"};

// The drawing area inside the figure, in pixels.
constexpr double left = 46, top = 12, width = 372, height = 236, bottom = 44, right = 14;

double x_at(double value, double x_max) { return left + width * value / x_max; }
double y_at(double value) { return top + height * (1 - value); }
std::string px(double value) { return fixed(value, 1); }

std::string stroke_of(size_t i) {
  const char* const dash = dashes[i / std::size(colours) % std::size(dashes)];
  return cat("stroke=\"", colours[i % std::size(colours)], "\"", *dash ? cat(" stroke-dasharray=\"", dash, "\"") : "");
}

std::string line(double x1, double y1, double x2, double y2, const std::string& attributes) {
  return cat("<line x1=\"", px(x1), "\" y1=\"", px(y1), "\" x2=\"", px(x2), "\" y2=\"", px(y2), "\" ", attributes,
             "/>");
}

std::string label(double x, double y, const char* anchor, const std::string& text, const std::string& extra = "") {
  return cat("<text x=\"", px(x), "\" y=\"", px(y), "\" text-anchor=\"", anchor, "\" ", extra, ">", escape(text),
             "</text>");
}

/// A round step that gives at most six ticks.
double tick_step(double most) {
  double const power = std::pow(10, std::floor(std::log10(most / 6)));
  for (double factor : {1, 2, 5})
    if (most / (factor * power) <= 6) return factor * power;
  return 10 * power;
}

std::string axes(const Chart& chart) {
  std::string svg;
  for (int i = 0; i <= 5; ++i) {
    double const share = i / 5.0;
    svg += line(left, y_at(share), left + width, y_at(share), i ? "stroke=\"#e6e9ed\"" : "stroke=\"#8a949f\"");
    svg += label(left - 8, y_at(share) + 4, "end", chart.x_is_share ? fixed(share, 1) : fixed(100 * share, 0));
  }
  double const step = chart.x_is_share ? 0.2 : tick_step(chart.x_max);
  int const ticks = static_cast<int>(chart.x_max / step * 1.0001);
  for (int i = 0; i <= ticks; ++i) {
    double const tick = i * step;
    svg += line(x_at(tick, chart.x_max), y_at(0), x_at(tick, chart.x_max), y_at(0) + 4, "stroke=\"#8a949f\"");
    std::string const text = chart.x_is_share ? fixed(tick, 1) : cat(std::round(tick * 1e6) / 1e6);
    svg += label(x_at(tick, chart.x_max), y_at(0) + 17, "middle", text);
  }
  svg += label(left + width / 2, top + height + 36, "middle", chart.x_label);
  svg +=
      label(0, 0, "middle", chart.y_label, cat("transform=\"translate(12 ", px(top + height / 2), ") rotate(-90)\""));
  if (chart.diagonal)
    svg += line(x_at(0, 1), y_at(0), x_at(1, 1), y_at(1), "stroke=\"#c3c9d0\" stroke-dasharray=\"3 3\"");
  return svg;
}

/// Points in pixels; those that round to their predecessor's place are left out.
std::string path(const std::vector<std::array<double, 2>>& points, double x_max) {
  std::string text, previous;
  for (auto const& [x, y] : points) {
    std::string point = px(x_at(x, x_max)) + " " + px(y_at(y));
    if (point == previous) continue;
    text += (text.empty() ? "M" : "L") + point;
    previous = std::move(point);
  }
  return text;
}

std::string band(const Curve& curve, double x_max, size_t i) {
  if (curve.low.empty()) return "";
  std::vector<std::array<double, 2>> outline;
  for (size_t p = 0; p < curve.points.size(); ++p) outline.push_back({curve.points[p][0], curve.high[p]});
  for (size_t p = curve.points.size(); p-- > 0;) outline.push_back({curve.points[p][0], curve.low[p]});
  return cat("<path d=\"", path(outline, x_max), "Z\" fill=\"", colours[i % std::size(colours)],
             "\" opacity=\".11\"/>");
}

std::string drawn(const Curve& curve, double x_max, size_t i) {
  std::string svg = band(curve, x_max, i) + cat("<path d=\"", path(curve.points, x_max),
                                                "\" fill=\"none\" stroke-width=\"1.8\" stroke-linejoin=\"round\" ",
                                                stroke_of(i), "/>");
  if (!curve.markers) return svg;
  for (auto const& [x, y] : curve.points)
    svg += cat("<circle cx=\"", px(x_at(x, x_max)), "\" cy=\"", px(y_at(y)), "\" r=\"3\" fill=\"",
               colours[i % std::size(colours)], "\" stroke=\"#fff\"/>");
  return svg;
}

}  // namespace

std::string line_chart(const Chart& chart) {
  std::string svg = cat("<svg width=\"", left + width + right, "\" height=\"", top + height + bottom,
                        "\" role=\"img\" aria-label=\"", escape(chart.title), "\">", axes(chart));
  std::string legend;
  for (size_t i = 0; i < chart.curves.size(); ++i) {
    svg += drawn(chart.curves[i], chart.x_max, i);
    legend += "<div><svg width=\"22\" height=\"4\">" + line(0, 2, 22, 2, "stroke-width=\"2\" " + stroke_of(i)) +
              "</svg>" + escape(chart.curves[i].label) + "</div>";
  }
  return cat("<figure><figcaption><b>", escape(chart.title), "</b></figcaption>", svg, "</svg><div class=\"legend\">",
             legend, "</div></figure>\n");
}

std::string interval_bar(const Metrics& m, bool clean) {
  if (!std::isfinite(m.accuracy)) return "";
  constexpr double length = 136;
  auto const x = [](double share) { return share * length; };
  const char* const colour = clean ? colours[0] : colours[1];
  return cat("<svg class=\"bar\" width=\"", length, "\" height=\"10\" role=\"img\" aria-label=\"",
             percent_with_interval(m), "\">", line(x(0), 5, x(1), 5, "stroke=\"#e3e7eb\" stroke-width=\"2\""),
             line(x(m.accuracy_ci95[0]), 5, x(m.accuracy_ci95[1]), 5,
                  cat("stroke=\"", colour, "\" stroke-width=\"7\" opacity=\".3\"")),
             "<circle cx=\"", px(x(m.accuracy)), "\" cy=\"5\" r=\"2.7\" fill=\"", colour, "\"/></svg>");
}

}  // namespace mith::report
