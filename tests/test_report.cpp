// Metrics against published and hand-computed values; the report's three forms; progress lines.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "engine/files/files.h"
#include "engine/report/report.h"
#include "engine/train/progress.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#include <stb/stb_image.h>
#pragma GCC diagnostic pop

using namespace mith;
namespace fs = std::filesystem;

namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

bool near(double a, double b, double tolerance = 1e-12) { return std::abs(a - b) <= tolerance; }  // NaN is not near

ReportRow row(const std::string& attack, double eps, const std::vector<int32_t>& predictions) {
  ReportRow r;
  r.model = "runs/a";
  r.attack = attack;
  r.eps = eps;
  r.crafted_on = "runs/a";
  r.labels = {0, 0, 0, 1, 1, 1};
  r.predictions = predictions;
  for (int32_t p : predictions) r.scores.insert(r.scores.end(), {p == 0 ? 0.9f : 0.2f, p == 0 ? 0.1f : 0.8f});
  r.metrics = compute_metrics(r.labels, r.predictions, r.scores, 2);
  return r;
}

Panel panel() {
  Panel p;
  p.clean = Tensor::from(std::vector<float>{0.25f, 0.5f, 0.75f, 1}, {2, 2, 1}, Device::cpu);
  p.adversarial = Tensor::from(std::vector<float>{0.28f, 0.47f, 0.78f, 1}, {2, 2, 1}, Device::cpu);
  p.true_class = p.clean_prediction = "normal & well";
  p.adversarial_prediction = "<b>ill</b>";
  p.clean_confidence = 0.9;
  p.adversarial_confidence = 0.8;
  return p;
}

Report report() {
  Report r;
  r.title = "A <title> & \"more\"";
  r.seed = 7;
  r.device = "cpu";
  r.data_source = "data.npz";
  r.data_split = "test";
  r.n = 6;
  r.classes = {"normal & well", "<b>ill</b>"};
  r.rows = {row("", 0, {0, 0, 1, 1, 1, 1}), row("pgd:eps=4/255,steps=10", 4 / 255.0, {0, 1, 1, 1, 1, 0}),
            row("pgd:eps=8/255,steps=10", 8 / 255.0, {1, 1, 1, 0, 0, 1})};
  r.rows[2].panels = {panel()};
  r.rows[2].warnings = {"signs of <masking>"};
  r.configuration = Json{{"arguments", {"</code><script>alert(1)</script>"}}};
  return r;
}

/// Tags that are opened and not closed, or closed and not open, in order; empty for well-formed HTML.
std::vector<std::string> unbalanced_tags(const std::string& html) {
  std::vector<std::string> open, wrong;
  for (size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
    size_t const end = html.find('>', at);
    if (end == std::string::npos) return {"<"};
    std::string const tag = html.substr(at + 1, end - at - 1);
    bool const closes = tag.starts_with("/");
    std::string const name = tag.substr(closes, tag.find_first_of(" \n/", closes) - closes);
    if (name == "!DOCTYPE" || tag.ends_with("/")) continue;
    if (name == "meta" || name == "img" || name == "br") continue;
    if (!closes)
      open.push_back(name);
    else if (!open.empty() && open.back() == name)
      open.pop_back();
    else
      wrong.push_back(name);
  }
  wrong.insert(wrong.end(), open.begin(), open.end());
  return wrong;
}

}  // namespace

TEST_CASE("the Wilson interval has its published values") {
  auto const [low, high] = wilson95(87, 100);
  CHECK(near(low, 0.7902, 5e-5));  // given to four digits
  CHECK(near(high, 0.9224, 5e-5));
  CHECK(wilson95(0, 10)[0] == 0);
  CHECK(near(wilson95(0, 10)[1], 0.277533, 1e-6));
  CHECK(wilson95(10, 10)[1] == 1);
  CHECK(wilson95(0, 0) == std::array<double, 2>{0, 1});
  CHECK_THROWS_AS(wilson95(3, 2), Error);
}

TEST_CASE("the area under the ROC curve counts pairs, ties half") {
  std::vector<uint8_t> const positive{1, 1, 0, 0};
  CHECK(roc_auc(std::vector<float>{4, 3, 2, 1}, positive) == 1);
  CHECK(roc_auc(std::vector<float>{1, 2, 3, 4}, positive) == 0);
  CHECK(roc_auc(std::vector<float>{1, 1, 1, 1}, positive) == 0.5);
  CHECK(roc_auc(std::vector<float>{3, 1, 2, 1}, positive) == 0.625);  // pairs 1, 1, 0, 1/2 of 4
  CHECK(std::isnan(roc_auc(std::vector<float>{1, 2}, std::vector<uint8_t>{1, 1})));
  CHECK(std::isnan(roc_auc(std::vector<float>{1, NAN, 2, 3}, positive)));
  CHECK(std::isnan(roc_auc({}, {})));
}

TEST_CASE("the area under the drawn curve is the counted one") {
  std::vector<float> scores;
  std::vector<uint8_t> positive;
  uint32_t state = 1;
  for (int i = 0; i < 400; ++i) {
    state = state * 1664525u + 1013904223u;
    scores.push_back(static_cast<float>(state >> 28));  // 16 values, so many ties
    positive.push_back((state >> 8) % 16 < (state >> 28));
  }
  auto const curve = roc_curve(scores, positive);
  REQUIRE(curve.size() == 17);
  CHECK(curve.front() == std::array<double, 2>{0, 0});
  CHECK(curve.back() == std::array<double, 2>{1, 1});
  double area = 0, pairs = 0, count = 0;
  for (size_t i = 1; i < curve.size(); ++i)
    area += (curve[i][0] - curve[i - 1][0]) * (curve[i][1] + curve[i - 1][1]) / 2;
  for (size_t p = 0; p < scores.size(); ++p)
    for (size_t n = 0; n < scores.size(); ++n)
      if (positive[p] && !positive[n]) {
        pairs += scores[p] > scores[n] ? 1 : scores[p] == scores[n] ? 0.5 : 0;
        ++count;
      }
  CHECK(near(area, pairs / count));
  CHECK(near(roc_auc(scores, positive), pairs / count));
  CHECK(roc_curve(std::vector<float>{1, 2}, std::vector<uint8_t>{0, 0}).empty());
}

TEST_CASE("McNemar's exact test has the binomial's values") {
  CHECK(mcnemar(0, 0) == 1);
  CHECK(mcnemar(5, 5) == 1);
  CHECK(near(mcnemar(0, 10), 0.001953125));
  CHECK(near(mcnemar(40, 60), 0.0568879336, 1e-10));
  CHECK(near(mcnemar(60, 40), 0.0568879336, 1e-10));
  CHECK(near(mcnemar(33, 67), 0.0008737198, 1e-10));
  CHECK(near(mcnemar(450, 550), 0.0017305361, 1e-10));
  CHECK(mcnemar(0, 100000) == 0);
}

TEST_CASE("metrics are those of a small example done by hand") {
  // Confusion [[2, 1, 0], [0, 1, 0], [1, 0, 0]] and a fourth class that does not occur.
  std::vector<int32_t> const labels{0, 0, 0, 1, 2}, predictions{0, 0, 1, 1, 0};
  Metrics const m = compute_metrics(labels, predictions, {}, 4);
  CHECK(m.n == 5);
  CHECK(m.confusion[0] == std::vector<int64_t>{2, 1, 0, 0});
  CHECK(m.confusion[2] == std::vector<int64_t>{1, 0, 0, 0});
  CHECK(near(m.accuracy, 0.6));
  CHECK(near(m.balanced_accuracy, (2.0 / 3 + 1 + 0) / 3));
  CHECK(near(m.precision[0], 2.0 / 3));
  CHECK(near(m.precision[1], 0.5));
  CHECK(std::isnan(m.precision[2]));
  CHECK(std::isnan(m.recall[3]));
  CHECK(near(m.precision_macro, (2.0 / 3 + 0.5 + 0) / 3));
  CHECK(near(m.f1_macro, (2.0 / 3 + 2.0 / 3 + 0) / 3));
  CHECK(m.recall_macro == m.balanced_accuracy);
  CHECK(m.accuracy_ci95 == wilson95(3, 5));
  CHECK(std::isnan(m.auc_macro));
}

TEST_CASE("an abstention is wrong and in no column") {
  std::vector<int32_t> const labels{0, 0, 1}, predictions{0, abstention, 1};
  Metrics const m = compute_metrics(labels, predictions, {}, 2);
  CHECK(near(m.accuracy, 2.0 / 3));
  CHECK(near(m.recall[0], 0.5));
  CHECK(m.confusion[0] == std::vector<int64_t>{1, 0});
  CHECK(m.precision[0] == 1);
}

TEST_CASE("multi-class AUC is the mean of one class against the rest") {
  std::vector<int32_t> const labels{0, 1, 2}, predictions{0, 1, 1};
  std::vector<float> const scores{.8f, .1f, .1f, .2f, .5f, .3f, .1f, .6f, .3f};
  // Class 0: perfect. Class 1: .5 against .1 and .6: 1/2. Class 2: .3 against .1 (1) and .3 (tie): 3/4.
  CHECK(near(compute_metrics(labels, predictions, scores, 3).auc_macro, (1 + 0.5 + 0.75) / 3));
}

TEST_CASE("no images and impossible labels are handled") {
  Metrics const m = compute_metrics({}, {}, {}, 2);
  CHECK(std::isnan(m.accuracy));
  CHECK(std::isnan(m.balanced_accuracy));
  CHECK_THROWS_AS(compute_metrics(std::vector<int32_t>{2}, std::vector<int32_t>{0}, {}, 2), Error);
  CHECK_THROWS_AS(compute_metrics(std::vector<int32_t>{0}, std::vector<int32_t>{-2}, {}, 2), Error);
  CHECK_THROWS_AS(compute_metrics(std::vector<int32_t>{0}, std::vector<int32_t>{}, {}, 2), Error);
}

TEST_CASE("report.json has the schema's fields") {
  Json const json = to_json(report());
  CHECK(json["schema"] == 1);
  CHECK(json["mithridate"] == "0.1.0");
  CHECK(json["seed"] == 7);
  CHECK(json["device"] == "cpu");
  CHECK(json["data"] ==
        Json{{"source", "data.npz"}, {"split", "test"}, {"n", 6}, {"classes", {"normal & well", "<b>ill</b>"}}});
  REQUIRE(json["rows"].size() == 3);
  for (const Json& r : json["rows"]) {
    for (const char* key : {"model",
                            "defense",
                            "attack",
                            "adaptive",
                            "n",
                            "threat",
                            "balanced_accuracy",
                            "recall",
                            "abstained",
                            "certificate",
                            "accuracy",
                            "accuracy_ci95",
                            "precision_macro",
                            "recall_macro",
                            "f1_macro",
                            "auc_macro",
                            "confusion",
                            "attack_success_rate",
                            "linf_max",
                            "l2_mean",
                            "queries_mean",
                            "seconds",
                            "images_per_second"}) {
      CAPTURE(key);
      CHECK(r.contains(key));
    }
    for (const char* key : {"norm", "eps", "access", "crafted_on"}) CHECK(r["threat"].contains(key));
  }
  CHECK(json["rows"][0]["attack"].is_null());
  CHECK(json["rows"][0]["defense"].is_null());
  CHECK(json["rows"][0]["confusion"] == Json{{2, 1}, {0, 3}});
  CHECK(json["rows"][2]["attack"] == "pgd:eps=8/255,steps=10");
  CHECK(json["rows"][2]["threat"]["norm"] == "linf");
  CHECK(near(json["rows"][2]["threat"]["eps"].get<double>(), 8 / 255.0));
}

TEST_CASE("what is not a number is null in report.json") {
  Report r = report();
  r.rows[2].eps = INFINITY;
  r.rows[2].metrics.auc_macro = NAN;
  r.rows[2].metrics.recall[0] = NAN;
  Json const json = Json::parse(to_json(r).dump())["rows"][2];
  CHECK(json["threat"]["eps"].is_null());
  CHECK(json["auc_macro"].is_null());
  CHECK(json["recall"][0].is_null());
  CHECK_FALSE(contains(to_html(r), "nan"));
}

TEST_CASE("the page is self-contained, well-formed, and escapes what it shows") {
  std::string const html = to_html(report());
  CHECK(unbalanced_tags(html).empty());
  for (const char* foreign : {"<script", "http:", "https:", "url(", "@import", "<link", "<iframe"}) {
    CAPTURE(foreign);
    CHECK_FALSE(contains(html, foreign));
  }
  CHECK(contains(html, "<h1>A &lt;title&gt; &amp; &quot;more&quot;</h1>"));
  CHECK(contains(html, "&lt;b&gt;ill&lt;/b&gt;"));
  CHECK_FALSE(contains(html, "<b>ill</b>"));
  CHECK(contains(html, "signs of &lt;masking&gt;"));
  CHECK(contains(html, "&lt;script&gt;alert(1)&lt;/script&gt;"));
}

TEST_CASE("the page has a section for everything there is") {
  std::string const html = to_html(report());
  for (const char* part : {"<h2>Results", "<h2>Accuracy against attack size", "<h2>Images", "<h2>Threat models",
                           "<h2>ROC curves", "<h2>Confusion matrices", "<h2>How to reproduce", "Read with care",
                           "perturbation × 16", "data:image/png;base64,iVBORw0KGgo", "normal &amp; well, 90.0 %",
                           "No pixel value may move by more than 8/255.", "L∞ ≤ 4/255", "class=\"attack\""}) {
    CAPTURE(part);
    CHECK(contains(html, part));
  }
  CHECK(contains(html, "<b>83.3</b> <span class=\"sub\">[43.6, 97.0]"));  // 5 of 6
  CHECK_FALSE(contains(html, "<h2>Side by side"));                        // no groups
  CHECK_FALSE(contains(html, "<h2>Paired tests"));                        // one subject

  Report empty;
  CHECK(unbalanced_tags(to_html(empty)).empty());
  CHECK_FALSE(contains(to_html(empty), "<h2>ROC"));
}

TEST_CASE("two groups stand side by side, with the paired test of their difference") {
  Report r = report();
  for (ReportRow& each : r.rows) each.group = "Before";
  for (size_t i = 0; i < 3; ++i) {
    ReportRow after = r.rows[i];
    after.group = "After";
    after.model = "runs/b";
    r.rows.push_back(after);
  }
  r.rows[5].predictions = {0, 0, 0, 1, 1, 1};  // five images right that were wrong, one right in both
  r.rows[5].metrics = compute_metrics(r.rows[5].labels, r.rows[5].predictions, r.rows[5].scores, 2);
  std::string const html = to_html(r);
  CHECK(unbalanced_tags(html).empty());
  CHECK(html.find("<h2>Side by side") < html.find("<h2>Results"));
  CHECK(contains(html, "<th>Before</th><th>After</th>"));
  CHECK(contains(html, "+83.3</b></td><td class=\"num\">0.062</td>"));  // 2 / 2^5
  CHECK(contains(html, "<h2>Paired tests"));
  r.rows[5].labels[0] = 1;  // other images: no paired test
  CHECK(contains(to_html(r), "+83.3</b></td><td class=\"num\">–</td>"));
}

TEST_CASE("an attack that does not know the defence is never shown as more") {
  Report r = report();
  r.rows[2].defense = "jpeg:quality=75";
  r.rows[2].adaptive = false;
  CHECK(contains(to_html(r), "this accuracy is no measure of robustness"));
  CHECK(contains(to_table(r), "unaware of the defence"));
  CHECK(to_json(r)["rows"][2]["adaptive"] == false);
}

TEST_CASE("the terminal's table is aligned") {
  Report r = report();
  r.rows[1].model = "runs/längerer-name";
  std::string const table = to_table(r);
  CHECK(table.starts_with("On the test part of "));
  std::istringstream lines(table.substr(table.find('\n') + 1));
  std::vector<size_t> ends;
  for (std::string line; std::getline(lines, line) && !line.starts_with("warning");) {
    std::erase_if(line, [](char c) { return (c & 0xc0) == 0x80; });  // continuation bytes take no column
    ends.push_back(line.size());
  }
  REQUIRE(ends.size() == 4);
  for (size_t end : ends) CHECK(end == ends.front());
  CHECK(contains(table, "83.3"));
  CHECK(contains(table, "warning: runs/a, pgd, 8/255: signs of <masking>"));
}

TEST_CASE("both copies are written into the folder") {
  std::string name = (fs::temp_directory_path() / "mith-report-XXXXXX").string();
  REQUIRE(mkdtemp(name.data()) != nullptr);
  Report r = report();
  r.data_source = "f\xfcr.npz";  // not UTF-8
  write_report(r, fs::path(name) / "out");
  CHECK(Json::parse(read_text(fs::path(name) / "out/report.json"))["schema"] == 1);
  CHECK(read_text(fs::path(name) / "out/report.html").starts_with("<!DOCTYPE html>"));
  fs::remove_all(name);
}

TEST_CASE("a PNG holds the image's pixels, enlarged whole") {
  Tensor const image =
      Tensor::from(std::vector<float>{0, 0.5f, 1, 2, -1, NAN, 0.1f, 0.2f, 0.3f, 1, 1, 1}, {2, 2, 3}, Device::cpu);
  for (int zoom : {1, 3}) {
    std::vector<uint8_t> const png = encode_png(image, zoom == 1 ? 0 : 5);
    int w = 0, h = 0, c = 0;
    uint8_t* const pixels = stbi_load_from_memory(png.data(), static_cast<int>(png.size()), &w, &h, &c, 0);
    REQUIRE(pixels != nullptr);
    CHECK(w == 2 * zoom);
    CHECK(h == 2 * zoom);
    CHECK(c == 3);
    uint8_t const expected[] = {0, 128, 255, 255, 0, 0, 26, 51, 77, 255, 255, 255};
    for (int y = 0; y < h; ++y)
      for (int x = 0; x < w; ++x)
        for (int i = 0; i < 3; ++i) CHECK(pixels[(y * w + x) * 3 + i] == expected[(y / zoom * 2 + x / zoom) * 3 + i]);
    stbi_image_free(pixels);
  }
  CHECK_THROWS_AS(encode_png(Tensor::empty({2, 2, 2}, DType::f32, Device::cpu)), Error);
  CHECK_THROWS_AS(encode_png(Tensor::empty({0, 2, 1}, DType::f32, Device::cpu)), Error);
}

TEST_CASE("progress is one plain line at the end where there is no terminal, and silent when quiet") {
  FILE* const file = std::tmpfile();
  REQUIRE(file != nullptr);
  std::fflush(stderr);
  int const terminal = dup(STDERR_FILENO);
  dup2(fileno(file), STDERR_FILENO);
  bool const before = quiet();
  for (bool silent : {false, true}) {
    set_quiet(silent);
    Progress progress("epoch 1/2", 100);
    for (int i = 0; i < 10; ++i) progress.advance(10, "loss 1.5");
    progress.finish("loss 0.5");
    progress.finish("again");
    say("a line");
  }
  set_quiet(before);
  std::fflush(stderr);
  dup2(terminal, STDERR_FILENO);
  close(terminal);
  std::rewind(file);
  char text[1000] = {};
  size_t const length = std::fread(text, 1, sizeof text - 1, file);
  std::fclose(file);
  std::string const output(text, length);
  CHECK(output.starts_with("epoch 1/2  100 images, "));
  CHECK(output.ends_with("/s, 0 s  loss 0.5\na line\n"));
  CHECK(std::ranges::count(output, '\n') == 2);
}
