#include "apps/common/registry_help.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <sstream>

#include "attacks/attack.h"
#include "engine/nn/network.h"

namespace mith {
namespace {

using Cells = std::vector<std::string>;

constexpr size_t columns = 100;

/// In the order of lists.
const std::array<std::string, 7> attack_groups = {
    iterative_attacks, "transfer", "minimum norm and sparse", score_attacks, ensemble_attacks, "universal", "patch"};

/// Columns a terminal shows a text over: continuation bytes of UTF-8 take none.
size_t width_of(const std::string& text) {
  return static_cast<size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xc0) != 0x80; }));
}

/// Where to break a line so that `most` columns hold what stands before: at a space behind its own indentation, npos if
/// there is none.
size_t break_of(const std::string& line, size_t most) {
  size_t const own = line.find_first_not_of(' ');
  size_t found = std::string::npos, width = 0;
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] == ' ' && i > own) {
      if (width > most && found != std::string::npos) break;
      found = i;
    }
    width += (line[i] & 0xc0) != 0x80;
  }
  return found;
}

/// Lines of at most 100 columns, broken at spaces: each behind `indent` spaces, what is broken off behind `hang`.
std::string wrapped(const std::string& text, size_t indent, size_t hang) {
  std::string out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    size_t spaces = indent;
    while (spaces + width_of(line) > columns) {
      size_t const at = break_of(line, columns - spaces);
      if (at == std::string::npos) break;
      std::string const before = line.substr(0, at);
      out += std::string(spaces, ' ') + before.substr(0, before.find_last_not_of(' ') + 1) + "\n";
      line = line.substr(line.find_first_not_of(' ', at));
      spaces = hang;
    }
    out += std::string(spaces, ' ') + line + "\n";
  }
  return out;
}
std::string wrapped(const std::string& text, size_t indent) { return wrapped(text, indent, indent); }

/// Rows with every column but the last padded to its widest cell; a last one that is too long goes on below itself.
std::string aligned(const std::vector<Cells>& rows) {
  std::vector<size_t> width(rows.front().size(), 0);
  for (const Cells& row : rows)
    for (size_t i = 0; i < row.size(); ++i) width[i] = std::max(width[i], width_of(row[i]));
  std::string text;
  for (const Cells& row : rows) {
    std::string line;
    for (size_t i = 0; i + 1 < row.size(); ++i) line += row[i] + std::string(width[i] - width_of(row[i]) + 2, ' ');
    text += wrapped(line + row.back(), 2, 2 + width_of(line));
  }
  return text;
}

/// "eps=8/255, steps=10"; spaces let it be broken.
std::string defaults_of(const std::vector<Field>& fields) {
  std::string text;
  for (const Field& field : fields) text += (text.empty() ? "" : ", ") + field.key + "=" + field.value;
  return text;
}

std::string facts_of(const Entry& entry) {
  std::string text;
  for (auto const& [key, value] : entry.facts)
    if (key != "group") text.append(text.empty() ? "" : "; ").append(key).append(" ").append(value);
  return text;
}

/// For comparing names of groups: small letters, no hyphens.
std::string plain(std::string text) {
  for (char& c : text) c = c == '-' ? ' ' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

/// Whether the attack looks for a small change instead of keeping to a ball.
bool minimises_distance(const std::string& name) {
  try {
    return make_attack(name)->threat().eps < 0;
  } catch (const UsageError&) {
    return false;  // it cannot be made without a key that it needs
  }
}

/// The answer to a spec of "help" or "help:NAME", or nothing if the spec is neither.
template <class R>
std::optional<Listed> asked_for(const std::string& spec, const std::string& kind) {
  if (spec.rfind("help:", 0) != 0) return std::nullopt;
  auto const& row = R::find(spec.substr(5), kind);
  return Listed{.entry = row.entry, .fields = row.fields, .group = ""};
}

std::string heading(const std::string& kind) { return kind + "s (--" + kind + " help:NAME describes one)"; }

}  // namespace

std::string list_entries(const std::string& heading, const std::vector<Listed>& all,
                         const std::vector<std::string>& fact_columns) {
  Cells head{"name"};
  head.insert(head.end(), fact_columns.begin(), fact_columns.end());
  std::vector<Cells> rows{head};
  for (const Listed& listed : all) {
    Cells row{listed.entry.name};
    for (const std::string& column : fact_columns)
      row.push_back(listed.entry.fact(column).empty() ? "-" : listed.entry.fact(column));
    rows.push_back(row);
  }
  // All groups share the columns; a cell that had to be broken makes more than one line of its row.
  std::vector<std::string> lines;
  std::istringstream text(aligned(rows));
  for (std::string line; std::getline(text, line);) {
    bool const goes_on = !lines.empty() && line.starts_with("   ");
    if (goes_on)
      lines.back() += "\n" + line;
    else
      lines.push_back(line);
  }
  std::string out = heading + "\n", group;
  if (all.empty() || all.front().group.empty()) out += lines.front() + "\n";
  for (size_t i = 0; i < all.size(); ++i) {
    const Listed& listed = all[i];
    if (listed.group != group) {
      out += "\n" + listed.group + "\n" + lines.front() + "\n";
      group = listed.group;
    }
    out += lines[i + 1] + "\n" + wrapped(listed.entry.summary, 6);
    if (!listed.group.empty() && !listed.fields.empty()) out += wrapped(defaults_of(listed.fields), 6);
    out += wrapped(listed.entry.paper, 6);
  }
  return out;
}

std::string describe_entry(const Listed& listed) {
  const Entry& entry = listed.entry;
  std::string text = wrapped(entry.name + ": " + entry.summary, 0, 2);
  if (!entry.facts.empty()) text += wrapped(facts_of(entry), 2);
  if (!entry.rule.empty()) text += "\nRule\n" + wrapped(entry.rule, 2, 6);
  if (!entry.paper.empty()) text += "\nPaper\n" + wrapped(entry.paper, 2);
  if (listed.fields.empty()) return text + "\nNo keys of its own.\n";
  std::vector<Cells> rows{{"key", "default", "kind", "meaning"}};
  for (const Field& field : listed.fields) rows.push_back({field.key, field.value, field.kind, field.help});
  return text + "\nKeys\n" + aligned(rows);
}

Json to_json(const Listed& listed) {
  Json facts = Json::object(), keys = Json::array();
  for (auto const& [key, value] : listed.entry.facts)
    if (key != "group") facts[key] = value;
  for (const Field& field : listed.fields)
    keys.push_back({{"key", field.key}, {"default", field.value}, {"kind", field.kind}, {"help", field.help}});
  return {{"name", listed.entry.name},
          {"group", listed.group},
          {"summary", listed.entry.summary},
          {"paper", listed.entry.paper},
          {"rule", listed.entry.rule},
          {"facts", facts},
          {"keys", keys}};
}

std::string attack_group(const Entry& entry) {
  std::string stated = entry.fact("group");
  for (const std::string& group : attack_groups)
    if (!stated.empty() && plain(group).find(plain(stated)) != std::string::npos) return group;
  if (!stated.empty()) return stated;
  std::string const access = entry.fact("access"), norm = entry.fact("norm");
  if (norm == "region") return "patch";
  if (access == "universal") return "universal";
  if (access.starts_with("score")) return score_attacks;
  if (access == "transfer" || access == "surrogate") return "transfer";
  if (norm == "l0" || minimises_distance(entry.name)) return "minimum norm and sparse";
  return iterative_attacks;
}

std::vector<Listed> listed_attacks() {
  std::vector<Listed> all;
  for (auto const& [name, row] : AttackRegistry::rows())
    all.push_back({.entry = row.entry, .fields = row.fields, .group = attack_group(row.entry)});
  auto const place = [](const Listed& l) { return std::ranges::find(attack_groups, l.group) - attack_groups.begin(); };
  std::ranges::stable_sort(all, {}, [&](const Listed& l) { return std::pair(place(l), l.group); });
  return all;
}

std::optional<std::string> attack_help(const std::vector<std::string>& specs, bool json) {
  for (const std::string& spec : specs) {
    if (auto one = asked_for<AttackRegistry>(spec, "attack")) {
      one->group = attack_group(one->entry);
      return json ? json_text(to_json(*one), 2) + "\n" : describe_entry(*one);
    }
    if (spec != "help") continue;
    std::vector<Listed> const all = listed_attacks();
    if (!json) return list_entries(heading("attack"), all, {"norm", "access", "targeted", "cost"});
    Json list = Json::array();
    for (const Listed& listed : all) list.push_back(to_json(listed));
    return json_text(list, 2) + "\n";
  }
  return std::nullopt;
}

std::optional<std::string> net_help(const std::string& spec) {
  using Nets = Registry<Network, NetworkOptions>;
  std::string text;
  if (auto const one = asked_for<Nets>(spec, "net")) {
    text = describe_entry(*one);
  } else if (spec == "help") {
    std::vector<Listed> all;
    for (auto const& [name, row] : Nets::rows()) all.push_back({.entry = row.entry, .fields = {}, .group = ""});
    text = list_entries(heading("net"), all, {"input", "purpose"});
  } else {
    return std::nullopt;
  }
  return text +
         "\nEvery net also takes classes=K, channels=1|3, size=N and normalize=none|imagenet|half|dataset\n"
         "(its first layer: x, the ImageNet mean and deviation, 2x-1, or the training part's own mean and "
         "deviation).\n";
}

}  // namespace mith
