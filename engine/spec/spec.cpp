// Specs and numbers as text.
#include "engine/spec/spec.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace mith {
namespace {

/// Reads all of `text` as T; nothing on trailing characters or overflow.
template <class T>
std::optional<T> read_all(std::string_view text) {
  T value{};
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> read_finite(std::string_view text) {
  std::optional<double> const value = read_all<double>(text);
  return value && std::isfinite(*value) ? value : std::nullopt;
}

/// "1e-05" as "1e-5", "1e+08" as "1e8".
std::string short_exponent(std::string text) {
  size_t const e = text.find('e');
  if (e == std::string::npos) return text;
  size_t digit = e + 1;
  bool const negative = text[digit] == '-';
  if (negative || text[digit] == '+') ++digit;
  while (digit + 1 < text.size() && text[digit] == '0') ++digit;
  return text.substr(0, e + 1) + (negative ? "-" : "") + text.substr(digit);
}

template <class T>
std::string shortest_decimal(T value) {
  char buffer[64];
  auto const end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  return short_exponent(std::string(buffer, end));
}

}  // namespace

Spec Spec::parse(std::string_view text) {
  Spec spec;
  size_t const colon = text.find(':');
  spec.name = std::string(text.substr(0, colon));
  require(!spec.name.empty(), "'", text, "' is no spec: it has no name (expected name:key=value,...)");
  require(spec.name.find_first_of("=,") == std::string::npos, "'", text, "' is no spec: expected name:key=value,...");
  if (colon == std::string_view::npos) return spec;
  for (size_t begin = colon + 1; begin <= text.size();) {
    size_t const end = std::min(text.find(',', begin), text.size());
    std::string_view const pair = text.substr(begin, end - begin);
    size_t const equals = pair.find('=');
    require(equals != std::string_view::npos, "'", text, "': '", pair, "' is not key=value");
    std::string key(pair.substr(0, equals));
    require(!key.empty(), "'", text, "': '", pair, "' has no key");
    require(std::ranges::none_of(spec.values, [&](auto& v) { return v.first == key; }), "'", text, "': ", key,
            " is given twice");
    spec.values.emplace_back(std::move(key), pair.substr(equals + 1));
    begin = end + 1;
  }
  return spec;
}

std::string Spec::str() const {
  std::string text = name;
  for (size_t i = 0; i < values.size(); ++i) text += (i ? ',' : ':') + values[i].first + '=' + values[i].second;
  return text;
}

std::optional<std::string> Spec::take(std::string_view key) {
  auto const it = std::ranges::find_if(values, [&](auto& v) { return v.first == key; });
  if (it == values.end()) return std::nullopt;
  std::string value = std::move(it->second);
  values.erase(it);
  return value;
}

double parse_number(std::string_view text, std::string_view what) {
  size_t const slash = text.find('/');
  std::optional<double> value = read_finite(text.substr(0, slash));
  if (value && slash != std::string_view::npos) {
    std::optional<double> const divisor = read_finite(text.substr(slash + 1));
    value = divisor && *divisor != 0 ? std::optional(*value / *divisor) : std::nullopt;
  }
  require(value && std::isfinite(*value), what, "=", text, " is not a number");
  return *value;
}

int64_t parse_integer(std::string_view text, std::string_view what) {
  std::optional<int64_t> const value = read_all<int64_t>(text);
  require(value.has_value(), what, "=", text, " is not an integer");
  return *value;
}

bool parse_bool(std::string_view text, std::string_view what) {
  for (std::string_view yes : {"true", "yes", "on", "1"})
    if (text == yes) return true;
  for (std::string_view no : {"false", "no", "off", "0"})
    if (text == no) return false;
  throw UsageError(cat(what, "=", text, " is neither true nor false"));
}

std::string format_number(double value) {
  float const single = static_cast<float>(value);
  bool const float_holds_it = std::isfinite(single) && (single != 0 || value == 0);
  if (!float_holds_it) return shortest_decimal(value);
  std::string decimal = shortest_decimal(single);
  double const levels = std::round(value * 255);
  if (static_cast<float>(levels / 255) != single) return decimal;
  std::string fraction = shortest_decimal(levels) + "/255";
  return fraction.size() < decimal.size() ? fraction : decimal;
}

}  // namespace mith
