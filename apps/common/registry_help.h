// What `--attack help`, `--attack help:NAME`, `--net help` print: the registry's own words.
#pragma once
#include <optional>
#include <string>

#include "engine/spec/registry.h"

namespace mith {

/// Name and some facts of each entry in aligned columns, its summary and paper below.
std::string list_entries(const std::string& heading, const std::vector<const Entry*>&,
                         const std::vector<std::string>& fact_columns);
/// One entry in full: summary, facts, rule, paper, fields with their defaults.
std::string describe_entry(const Entry&, const std::vector<Field>&);

/// The answer to a spec of "help" or "help:NAME", or nothing if the spec is neither.
template <class R>
std::optional<std::string> registry_help(const std::string& spec, const std::string& kind,
                                         const std::vector<std::string>& fact_columns) {
  if (spec == "help") {
    std::vector<const Entry*> entries;
    for (auto& [name, row] : R::rows()) entries.push_back(&row.entry);
    return list_entries(kind + "s (--" + kind + " help:NAME describes one)", entries, fact_columns);
  }
  if (spec.rfind("help:", 0) != 0) return std::nullopt;
  auto const& row = R::find(spec.substr(5), kind);
  return describe_entry(row.entry, row.fields);
}

/// The help asked for among --attack or --net values, if any.
std::optional<std::string> attack_help(const std::vector<std::string>& specs);
std::optional<std::string> net_help(const std::string& spec);

}  // namespace mith
