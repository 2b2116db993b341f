// What the report says of attacks beyond accuracy: transfer matrices, stages, queries, distances.
#include <doctest/doctest.h>

#include <cmath>

#include "engine/report/html.h"

using namespace mith;

namespace {

ReportRow row(const std::string& model, const std::string& attack, int64_t attacked, int64_t fooled) {
  ReportRow r;
  r.model = model;
  r.crafted_on = model;
  r.attack = attack;
  r.eps = 8 / 255.0;
  r.attacked = attacked;
  r.fooled = fooled;
  r.attack_success_rate = attacked ? double(fooled) / double(attacked) : 0;
  r.labels.assign(20, 0);
  r.predictions.assign(20, 0);
  r.metrics = compute_metrics(r.labels, r.predictions, std::vector<float>(40, 0.5f), 2);
  return r;
}

Report report_of(std::vector<ReportRow> rows) {
  Report r;
  r.n = 20;
  r.classes = {"well", "<ill>"};
  r.rows = std::move(rows);
  return r;
}

ReportRow carried(const std::string& from, const std::string& to, int64_t fooled) {
  ReportRow r = row(to, "pgd:eps=8/255", 20, fooled);
  r.access = "transfer";
  r.crafted_on = from;
  return r;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("rows carried between networks make a matrix of surrogates and targets") {
  Report const r = report_of({row("b", "pgd:eps=8/255", 20, 20), carried("s", "a", 5), carried("t", "a", 10),
                              carried("s", "b", 15), carried("t", "b", 0)});
  auto const matrices = report::transfer_matrices(r);
  REQUIRE(matrices.size() == 1);
  CHECK(matrices[0].attack == "pgd:eps=8/255");
  CHECK(matrices[0].surrogates == std::vector<std::string>{"s", "t"});
  CHECK(matrices[0].targets == std::vector<std::string>{"a", "b"});
  CHECK(matrices[0].cells[0][1]->fooled == 15);
  CHECK(matrices[0].cells[1][0]->fooled == 10);
  CHECK(report::success_with_interval(*matrices[0].cells[1][0]) == "50.0 [29.9, 70.1]");  // Wilson, 10 of 20
  Json const json = to_json(r);
  CHECK(json["transfer"][0]["attack_success_rate"] == Json{{0.25, 0.75}, {0.5, 0.0}});
  CHECK(json["transfer"][0]["attack_success_ci95"][0][1].size() == 2);
  CHECK(contains(to_table(r), "50.0 [29.9, 70.1]"));
  CHECK(contains(to_html(r), "<h2>Transfer</h2>"));
}

TEST_CASE("a pair that was not tried has an empty cell, and a single pair is no matrix") {
  Report const three = report_of({carried("s", "a", 5), carried("s", "b", 5), carried("t", "b", 5)});
  auto const matrices = report::transfer_matrices(three);
  REQUIRE(matrices.size() == 1);
  CHECK(matrices[0].cells[1][0] == nullptr);
  CHECK(to_json(three)["transfer"][0]["attack_success_rate"][1][0].is_null());
  CHECK(contains(to_html(three), "–"));
  CHECK(report::transfer_matrices(report_of({carried("s", "a", 5)})).empty());
  // An attack made for transfer, tried on the very networks it was crafted on.
  CHECK(report::transfer_matrices(report_of({carried("a", "a", 5), carried("b", "b", 5)})).empty());
}

TEST_CASE("a universal perturbation made on a surrogate stands in the matrix, one made on its own network does not") {
  auto const universal = [](const std::string& from, const std::string& to) {
    ReportRow r = carried(from, to, 5);
    r.attack = "uap:eps=0.05";
    r.access = "universal";
    return r;
  };
  Report const r = report_of({universal("a", "a"), universal("b", "a"), universal("a", "b"), universal("b", "b")});
  auto const matrices = report::transfer_matrices(r);
  REQUIRE(matrices.size() == 1);
  CHECK(matrices[0].attack == "uap:eps=0.05");
  for (auto const& line : matrices[0].cells)
    for (const ReportRow* cell : line) CHECK(cell != nullptr);
  CHECK(report::transfer_matrices(report_of({universal("a", "a"), universal("b", "b")})).empty());
}

TEST_CASE("queries at a share of success are read off the curve") {
  ReportRow r = row("a", "square:eps=8/255", 20, 15);
  r.access = "score";
  r.queries_curve = {{0, 0}, {1, 0.1}, {7, 0.25}, {40, 0.5}, {300, 0.75}, {5000, 0.75}};
  r.queries_median = 40;
  CHECK(report::queries_for(r, 0.25) == 7);
  CHECK(report::queries_for(r, 0.5) == 40);
  CHECK(report::queries_for(r, 0.75) == 300);
  CHECK(std::isnan(report::queries_for(r, 0.9)));
  Report const whole = report_of({r});
  Json const json = to_json(whole)["rows"][0];
  CHECK(json["queries_at_success"] == Json{{"25", 7.0}, {"50", 40.0}, {"75", 300.0}, {"90", nullptr}});
  CHECK(json["queries_curve"]["queries"].size() == 6);
  CHECK(json["queries_curve"]["success"][5] == 0.75);
  CHECK(json["queries_median"] == 40);
  CHECK(json["attacked"] == 20);
  CHECK(contains(to_table(whole), "Queries until"));
  CHECK(contains(to_html(whole), "Success against queries"));
}

TEST_CASE("attacks that look for a small change show how small") {
  ReportRow r = row("a", "deepfool:norm=l2", 20, 2);
  r.norm = "l2";
  r.eps = -1;
  r.distances = SuccessDistances{.l2_mean = 0.6, .l2_median = 0.5, .linf_mean = 2 / 255.0, .linf_median = 1 / 255.0};
  r.distance_curve = {{0, 1}, {0.4, 0.95}, {0.8, 0.9}};
  Report const whole = report_of({r});
  Json const json = to_json(whole)["rows"][0];
  CHECK(json["distances"]["l2_median"] == 0.5);
  CHECK(json["distance_curve"]["accuracy"] == Json{1.0, 0.95, 0.9});
  std::string const text = to_table(whole);
  CHECK(contains(text, "Sizes of the changes"));
  CHECK(contains(text, "1/255"));
  CHECK(contains(to_html(whole), "Smallest changes found"));
  // No success: nothing to take a mean of.
  r.distances = SuccessDistances{.l2_mean = NAN, .l2_median = NAN, .linf_mean = NAN, .linf_median = NAN};
  r.distance_curve = {{0, 1}};
  CHECK(to_json(report_of({r}))["rows"][0]["distances"]["l2_mean"].is_null());
  CHECK_FALSE(contains(to_html(report_of({r})), "nan"));
}

TEST_CASE("an ensemble of attacks shows what each part left standing") {
  ReportRow r = row("a", "autoattack:eps=8/255", 20, 15);
  r.stages = {{"apgd-ce:eps=8/255", 10}, {"square:eps=8/255", 5}};
  Report const whole = report_of({r});
  CHECK(to_json(whole)["rows"][0]["stages"] ==
        Json{{{"attack", "apgd-ce:eps=8/255"}, {"standing", 10}, {"accuracy", 0.5}},
             {{"attack", "square:eps=8/255"}, {"standing", 5}, {"accuracy", 0.25}}});
  CHECK(contains(to_table(whole), "Stages of autoattack"));
  CHECK(contains(to_html(whole), "Stages of ensembles"));
}

TEST_CASE("rows without any of this have no tables of it") {
  Report const r = report_of({row("a", "", 0, 0), row("a", "pgd:eps=8/255", 20, 3)});
  CHECK(report::attack_tables(r).empty());
  std::string const html = to_html(r);
  for (const char* heading : {"Transfer</h2>", "Stages of", "Success against queries", "Smallest changes"})
    CHECK_FALSE(contains(html, heading));
  CHECK_FALSE(to_json(r).contains("transfer"));
  CHECK_FALSE(to_json(r)["rows"][0].contains("attacked"));
}
