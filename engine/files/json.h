// JSON as the project writes it: members in the order they were set, any bytes made valid UTF-8.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

namespace mith {

using Json = nlohmann::ordered_json;

/// Class and file names come from the file system and may hold any bytes; what is no UTF-8 becomes U+FFFD.
inline std::string json_text(const Json& json, int indent = -1) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace mith
