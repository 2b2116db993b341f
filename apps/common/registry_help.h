// What `--attack help`, `--attack help:NAME`, `--net help` print: the registry's own words, at most 100 columns wide.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "engine/files/json.h"
#include "engine/spec/registry.h"

namespace mith {

/// One registered thing with its fields and their defaults.
struct Listed {
  Entry entry;
  std::vector<Field> fields;
  std::string group;  ///< the heading it stands under; empty: none
};

/// Group by group: name and some facts of each entry in aligned columns; its summary, defaults and paper below.
std::string list_entries(const std::string& heading, const std::vector<Listed>&,
                         const std::vector<std::string>& fact_columns);
/// One entry in full: summary, facts, rule, paper, fields with their defaults.
std::string describe_entry(const Listed&);
/// The same as {name, group, summary, paper, rule, facts, keys: [{key, default, kind, help}]}.
Json to_json(const Listed&);

// Groups of attacks.
inline const std::string iterative_attacks = "one step and iterative", score_attacks = "score-based",
                         ensemble_attacks = "AutoAttack";
/// Where an attack stands in lists: its fact "group", else what its access, its norm and its budget say.
std::string attack_group(const Entry&);
/// Every attack, group by group.
std::vector<Listed> listed_attacks();

/// The help asked for among --attack or --net values ("help" or "help:NAME"), if any.
std::optional<std::string> attack_help(const std::vector<std::string>& specs, bool json = false);
std::optional<std::string> net_help(const std::string& spec);

}  // namespace mith
