// Registries: things that register themselves by name and are made from a spec.
#pragma once
#include <map>
#include <memory>

#include "engine/spec/spec.h"

namespace mith {

/// What is known of a registered thing, for --help and the documentation tables.
struct Entry {
  std::string name;
  std::string summary;  ///< one line
  std::string paper;    ///< authors, year, equation
  std::string rule;     ///< the update rule or structure, a screen of plain text
  std::vector<std::pair<std::string, std::string>>
      facts;  ///< e.g. {"norm", "linf"}, {"access", "white"}, {"cost", "10 gradients"}
  /// A fact's value; empty if it is not stated.
  std::string fact(std::string_view key) const {
    for (auto const& [name, value] : facts)
      if (name == key) return value;
    return {};
  }
};

/// Registry<Attack>, Registry<Network>, ... `Arguments` are passed to the maker after the spec.
template <class T, class... Arguments>
class Registry {
 public:
  using Maker = std::function<std::unique_ptr<T>(const Spec&, Arguments...)>;
  struct Row {
    Entry entry;
    std::vector<Field> fields;  ///< with their default values
    Maker make;
  };
  static std::map<std::string, Row>& rows() {
    static std::map<std::string, Row> map;
    return map;
  }
  static std::vector<std::string> names() {
    std::vector<std::string> all;
    for (auto& [name, row] : rows()) all.push_back(name);
    return all;
  }
  /// `kind` as in "attack"; throws UsageError with a suggestion.
  static Row& find(const std::string& name, std::string_view kind) {
    auto const it = rows().find(name);
    require(it != rows().end(), "unknown ", kind, " '", name, "'", suggestion(name, names()));
    return it->second;
  }
  static std::unique_ptr<T> make(const Spec& spec, std::string_view kind, Arguments... arguments) {
    return find(spec.name, kind).make(spec, arguments...);
  }
  struct Add {
    Add(Entry entry, std::vector<Field> fields, Maker maker) {
      std::string const name = entry.name;
      check(rows().emplace(name, Row{std::move(entry), std::move(fields), std::move(maker)}).second, name,
            " is registered twice");
    }
  };
};

/// The fields of a default-constructed configuration.
template <class C>
std::vector<Field> default_fields() {
  static C c;
  Fields f;
  c.fields(f);
  return f.all();
}

}  // namespace mith
