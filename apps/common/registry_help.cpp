#include "apps/common/registry_help.h"

#include <algorithm>
#include <sstream>

#include "attacks/attack.h"
#include "engine/nn/network.h"

namespace mith {
namespace {

using Cells = std::vector<std::string>;

/// Rows with every column but the last padded to its widest cell.
std::string aligned(const std::vector<Cells>& rows) {
  std::vector<size_t> width(rows.front().size(), 0);
  for (const Cells& row : rows)
    for (size_t i = 0; i < row.size(); ++i) width[i] = std::max(width[i], row[i].size());
  std::string text;
  for (const Cells& row : rows) {
    text += "  ";
    for (size_t i = 0; i + 1 < row.size(); ++i) text += row[i] + std::string(width[i] - row[i].size() + 2, ' ');
    text += row.back() + "\n";
  }
  return text;
}

std::string indented(const std::string& text) {
  std::string out = "  ";
  for (char c : text) out += c == '\n' ? "\n  " : std::string(1, c);
  return out + "\n";
}

}  // namespace

std::string list_entries(const std::string& heading, const std::vector<const Entry*>& entries,
                         const std::vector<std::string>& fact_columns) {
  Cells head{"name"};
  head.insert(head.end(), fact_columns.begin(), fact_columns.end());
  std::vector<Cells> rows{head};
  for (const Entry* entry : entries) {
    Cells row{entry->name};
    for (const std::string& column : fact_columns)
      row.push_back(entry->fact(column).empty() ? "-" : entry->fact(column));
    rows.push_back(row);
  }
  std::istringstream lines(aligned(rows));
  std::string text = heading + "\n", line;
  std::getline(lines, line);
  text += line + "\n";
  for (const Entry* entry : entries) {
    std::getline(lines, line);
    text += line + "\n      " + entry->summary + "\n      " + entry->paper + "\n";
  }
  return text;
}

std::string describe_entry(const Entry& entry, const std::vector<Field>& fields) {
  std::string text = entry.name + ": " + entry.summary + "\n";
  if (!entry.facts.empty()) {
    std::vector<Cells> rows;
    for (auto const& [key, value] : entry.facts) rows.push_back({key, value});
    text += "\n" + aligned(rows);
  }
  if (!entry.rule.empty()) text += "\nRule\n" + indented(entry.rule);
  if (!entry.paper.empty()) text += "\nPaper\n" + indented(entry.paper);
  if (fields.empty()) return text + "\nNo keys of its own.\n";
  std::vector<Cells> rows{{"key", "default", "kind", "meaning"}};
  for (const Field& field : fields) rows.push_back({field.key, field.value, field.kind, field.help});
  return text + "\nKeys\n" + aligned(rows);
}

std::optional<std::string> attack_help(const std::vector<std::string>& specs) {
  for (const std::string& spec : specs)
    if (auto text = registry_help<AttackRegistry>(spec, "attack", {"norm", "access", "cost"})) return text;
  return std::nullopt;
}

std::optional<std::string> net_help(const std::string& spec) {
  auto text = registry_help<Registry<Network, NetworkOptions>>(spec, "net", {"input", "purpose"});
  if (text)
    *text +=
        "\nEvery net also takes classes=K, channels=1|3, size=N and normalize=none|imagenet|half|dataset\n"
        "(its first layer: x, the ImageNet mean and deviation, 2x-1, or the training part's own mean and deviation).\n";
  return text;
}

}  // namespace mith
