// The small language that names attacks, nets, defences and data on command lines, in recipes and in reports:
//   pgd:eps=8/255,steps=20        a name and key=value pairs
// Configurations are structs with defaults; one field list gives the parser, the canonical text, the JSON and the help.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/launch/error.h"

namespace mith {

struct Spec {
  std::string name;
  std::vector<std::pair<std::string, std::string>> values;

  /// Throws UsageError on malformed text, naming it.
  static Spec parse(std::string_view text);
  std::string str() const;
  /// Removes and returns a key's value.
  std::optional<std::string> take(std::string_view key);
};

/// "0.03", "8/255", "1e-3"; throws UsageError naming `what`. NaN and infinities are refused.
double parse_number(std::string_view text, std::string_view what);  ///< messages read "<what>=<text> is not ..."
int64_t parse_integer(std::string_view text, std::string_view what);
bool parse_bool(std::string_view text, std::string_view what);  ///< true/false, yes/no, on/off, 1/0
/// Shortest text that reads back as the same float, as a decimal or as a multiple of 1/255: "0.25", "8/255", "1e-5".
/// Values that no float holds are written as doubles.
std::string format_number(double);

/// The nearest of `known` to `name` by edit distance, or empty when nothing is near.
std::string nearest(std::string_view name, const std::vector<std::string>& known);
/// "; did you mean 'pgd'?" or "".
std::string suggestion(std::string_view name, const std::vector<std::string>& known);

/// One configurable field of a struct.
struct Field {
  std::string key, help;
  std::string value;                                 ///< as text
  std::string kind;                                  ///< number, integer, integers, flag or text
  std::function<std::string(std::string_view)> set;  ///< sets the target, returns its text; UsageError on a bad value
};

/// Collects fields: a configuration struct describes itself with
///   void fields(Fields& f) { f.number("eps", eps, "radius of the ball, in pixel units", 0, 1); f.integer(...); }
class Fields {
 public:
  void number(std::string key, float& target, std::string help, double low, double high);
  void number(std::string key, double& target, std::string help, double low, double high);
  void integer(std::string key, int& target, std::string help, int64_t low, int64_t high);
  void integer(std::string key, int64_t& target, std::string help, int64_t low, int64_t high);
  /// A list as "256-64", each within the bounds; "none" is the empty list, which str() leaves out.
  void integers(std::string key, std::vector<int64_t>& target, std::string help, int64_t low, int64_t high);
  void flag(std::string key, bool& target, std::string help);
  /// One of `choices` if any are given.
  void text(std::string key, std::string& target, std::string help, std::vector<std::string> choices = {});
  const std::vector<Field>& all() const { return fields_; }
  /// Sets every value of the spec; an unknown key throws UsageError with a suggestion. `what` as in "attack pgd".
  void read(const Spec&, std::string_view what);
  /// "name:key=value,..." with every field but empty lists.
  std::string str(std::string_view name) const;

 private:
  std::vector<Field> fields_;
};

/// Builds a configuration from a spec.
template <class C>
C configure(const Spec& spec, std::string_view what) {
  C c;
  Fields f;
  c.fields(f);
  f.read(spec, what);
  return c;
}
/// Canonical text of a configuration.
template <class C>
std::string spec_text(C c, std::string_view name) {
  Fields f;
  c.fields(f);
  return f.str(name);
}

}  // namespace mith
