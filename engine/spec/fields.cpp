// Fields: a configuration struct's description of itself.
#include <algorithm>

#include "engine/spec/spec.h"

namespace mith {
namespace {

template <class T>
Field number_field(std::string key, T& target, std::string help, double low, double high) {
  auto set = [key, &target, low, high](std::string_view text) {
    double const value = parse_number(text, key);
    require(value >= low && value <= high, key, "=", text, " is outside [", format_number(low), ", ",
            format_number(high), "]");
    target = static_cast<T>(value);
    return format_number(target);
  };
  return {std::move(key), std::move(help), format_number(target), "number", std::move(set)};
}

template <class T>
Field integer_field(std::string key, T& target, std::string help, int64_t low, int64_t high) {
  auto set = [key, &target, low, high](std::string_view text) {
    int64_t const value = parse_integer(text, key);
    require(value >= low && value <= high, key, "=", text, " is outside [", low, ", ", high, "]");
    target = static_cast<T>(value);
    return std::to_string(target);
  };
  return {std::move(key), std::move(help), std::to_string(target), "integer", std::move(set)};
}

constexpr const char* empty_list = "none";

std::string integers_text(const std::vector<int64_t>& values) {
  std::string text;
  for (int64_t const value : values) text += (text.empty() ? "" : "-") + std::to_string(value);
  return text.empty() ? empty_list : text;
}

std::vector<int64_t> parse_integers(std::string_view text, const std::string& key, int64_t low, int64_t high) {
  std::vector<int64_t> values;
  if (text == empty_list) return values;
  for (size_t begin = 0; begin <= text.size();) {
    size_t const end = std::min(text.find('-', begin), text.size());
    values.push_back(parse_integer(text.substr(begin, end - begin), key));
    require(values.back() >= low && values.back() <= high, key, "=", text, ": ", values.back(), " is outside [", low,
            ", ", high, "]");
    begin = end + 1;
  }
  return values;
}

const char* flag_text(bool value) { return value ? "true" : "false"; }

}  // namespace

void Fields::number(std::string key, float& target, std::string help, double low, double high) {
  fields_.push_back(number_field(std::move(key), target, std::move(help), low, high));
}

void Fields::number(std::string key, double& target, std::string help, double low, double high) {
  fields_.push_back(number_field(std::move(key), target, std::move(help), low, high));
}

void Fields::integer(std::string key, int& target, std::string help, int64_t low, int64_t high) {
  fields_.push_back(integer_field(std::move(key), target, std::move(help), low, high));
}

void Fields::integer(std::string key, int64_t& target, std::string help, int64_t low, int64_t high) {
  fields_.push_back(integer_field(std::move(key), target, std::move(help), low, high));
}

void Fields::integers(std::string key, std::vector<int64_t>& target, std::string help, int64_t low, int64_t high) {
  auto set = [key, &target, low, high](std::string_view text) {
    target = parse_integers(text, key, low, high);
    return integers_text(target);
  };
  fields_.push_back({std::move(key), std::move(help), integers_text(target), "integers", std::move(set)});
}

void Fields::flag(std::string key, bool& target, std::string help) {
  auto set = [key, &target](std::string_view text) -> std::string {
    target = parse_bool(text, key);
    return flag_text(target);
  };
  fields_.push_back({std::move(key), std::move(help), flag_text(target), "flag", std::move(set)});
}

void Fields::text(std::string key, std::string& target, std::string help, std::vector<std::string> choices) {
  auto set = [key, &target, choices = std::move(choices)](std::string_view text) {
    bool const allowed = choices.empty() || std::ranges::find(choices, text) != choices.end();
    require(allowed, key, "=", text, " is unknown", suggestion(text, choices));
    return target = text;
  };
  fields_.push_back({std::move(key), std::move(help), target, "text", std::move(set)});
}

void Fields::read(const Spec& spec, std::string_view what) {
  std::vector<std::string> keys;
  for (const Field& field : fields_) keys.push_back(field.key);
  for (auto const& [key, value] : spec.values) {
    auto const field = std::ranges::find(fields_, key, &Field::key);
    require(field != fields_.end(), what, ": unknown key '", key, "'", suggestion(key, keys));
    try {
      field->value = field->set(value);
    } catch (const UsageError& e) {
      throw UsageError(cat(what, ": ", e.what()));
    }
  }
}

std::string Fields::str(std::string_view name) const {
  Spec spec{std::string(name), {}};
  for (const Field& field : fields_)
    if (field.kind != "integers" || field.value != empty_list) spec.values.emplace_back(field.key, field.value);
  return spec.str();
}

}  // namespace mith
