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
