#include "apps/common/masking.h"

#include <map>

#include "engine/spec/spec.h"
#include "engine/train/progress.h"

namespace mith {
namespace {

/// Key of the pairs that masking signs are looked for in.
std::string comparison_key(const ReportRow& row) { return cat(row.group, "|", row.model, "|", row.norm, "|", row.eps); }

bool is_noise(const ReportRow& row) { return Spec::parse(row.attack).name == "noise"; }
int64_t steps_of(const ReportRow& row) {
  Spec spec = Spec::parse(row.attack);
  auto const steps = spec.take("steps");
  return steps ? parse_integer(*steps, "steps") : 1;
}

/// Whether the steps together are as long as the ball's radius; where not, doing less harm than one long step is no
/// wonder.
bool reaches_its_ball(const ReportRow& row) {
  Spec spec = Spec::parse(row.attack);
  auto const alpha = spec.take("alpha");
  return !alpha || parse_number(*alpha, "alpha") * double(steps_of(row)) >= row.eps;
}

/// Why `other` being the more damaging of the two is suspicious for `row`, or empty.
std::string masking_sign(const ReportRow& row, const ReportRow& other) {
  if (is_noise(row)) return "";
  if (is_noise(other)) return "noise of the same size does more harm";
  if (row.access == "white" && other.access == "white" && steps_of(row) > 1 && steps_of(other) == 1)
    return reaches_its_ball(row) ? "a one-step attack does more harm" : "";
  if (row.access == "white" && other.access != "white") return other.access + " access does more harm";
  return "";
}

}  // namespace

void add_masking_warnings(std::vector<ReportRow>& rows) {
  std::map<std::string, std::vector<ReportRow*>> comparable;
  for (ReportRow& row : rows)
    if (!row.attack.empty()) comparable[comparison_key(row)].push_back(&row);
  for (auto& [key, group] : comparable)
    for (ReportRow* row : group)
      for (const ReportRow* other : group) {
        if (!(other->metrics.accuracy < row->metrics.accuracy)) continue;
        std::string const sign = masking_sign(*row, *other);
        if (sign.empty()) continue;
        row->warnings.push_back("possible gradient masking: " + sign + " (" + other->attack + ")");
        warn(row->model + ", " + row->attack + ": " + row->warnings.back());
      }
}

}  // namespace mith
