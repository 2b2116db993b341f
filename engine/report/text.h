// Words and numbers of the report, for the page, the terminal and the machine's copy.
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/report/report.h"

namespace mith::report {

using Rows = std::vector<const ReportRow*>;

/// Rows with equal keys together, groups and rows in order of first appearance.
std::vector<Rows> group_by(const Rows&, const std::function<std::string(const ReportRow&)>& key);
Rows pointers(const std::vector<ReportRow>&);

/// What is evaluated: group, model and defence.
std::string subject_key(const ReportRow&);
/// What it is evaluated against: the attack and what its author knows. Rows of equal keys can be compared.
std::string attack_key(const ReportRow&);

/// "0.931"; an en dash for what is not finite.
std::string fixed(double value, int digits);
/// A share as "93.1", without its sign.
std::string percent(double share);
/// "93.1 [90.2, 95.4]".
std::string percent_with_interval(const Metrics&);
/// A distance in pixel units: "8/255", "0.51/255"; elsewhere three digits.
std::string distance(double value, const std::string& norm);
/// "41 s", "3.2 s", "0.04 s".
std::string seconds(double);
/// A p-value: "0.031", "< 0.0001".
std::string probability(double);

using Line = std::vector<std::string>;
/// Lines of equally many cells as text: columns as wide as their widest cell, two spaces apart; the first `left` hold
/// text, the others numbers.
std::string aligned(const std::vector<Line>&, size_t left);

/// One attack carried from every surrogate to every target.
struct TransferMatrix {
  std::string attack;  ///< canonical spec
  std::vector<std::string> surrogates, targets;
  std::vector<std::vector<const ReportRow*>> cells;  ///< [surrogate][target]; null where it was not tried
};
/// One for each attack that was carried between several networks: more than one surrogate or more than one target.
std::vector<TransferMatrix> transfer_matrices(const Report&);
/// "31.2 [25.0, 38.1]": the share of attacked images that were fooled, with its 95 % interval (Wilson).
std::string success_with_interval(const ReportRow&);

/// The queries within which this share of the attacked images was fooled; NaN if it never was.
double queries_for(const ReportRow&, double share);
/// What the rows cost and how far they went beyond the accuracy table, as tables for terminals: transfer matrices, the
/// stages of ensembles, queries of score-based attacks, distances of attacks that look for a small change.
std::string attack_tables(const Report&);
/// The same for machines: fields of a row, and "transfer" of the report.
void add_attack_fields(Json& row_json, const ReportRow&);
Json transfer_json(const Report&);

/// "pgd", "clean".
std::string attack_name(const ReportRow&);
/// "eps=8/255, steps=10"; empty without arguments.
std::string attack_arguments(const ReportRow&);
/// "pgd, 8/255".
std::string attack_short(const ReportRow&);
/// "runs/a with jpeg:quality=75".
std::string subject_name(const ReportRow&);
/// "Before: runs/a".
std::string subject_title(const ReportRow&);
/// "L∞ ≤ 8/255"; empty for the clean row.
std::string budget(const ReportRow&);
/// "white box", "white box, unaware of the defence", "transfer from runs/b".
std::string access(const ReportRow&);
/// What the attacker knows and may do, as sentences.
std::string threat_in_words(const ReportRow&);

}  // namespace mith::report
