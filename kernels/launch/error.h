// Errors and checks, usable from every room.
#pragma once
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

namespace mith {

/// Something failed while running. Applications print the message as one line and exit with 1.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The caller asked for something unusable: an option, a spec or a file. Applications exit with 2.
struct UsageError : Error {
  using Error::Error;
};

/// Concatenates anything that can be streamed.
template <class... Parts>
std::string cat(Parts&&... parts) {
  std::ostringstream out;
  (out << ... << std::forward<Parts>(parts));
  return out.str();
}

/// Throws Error with the concatenated parts unless `condition` holds.
template <class... Parts>
void check(bool condition, Parts&&... parts) {
  if (!condition) throw Error(cat(std::forward<Parts>(parts)...));
}

/// Throws UsageError with the concatenated parts unless `condition` holds.
template <class... Parts>
void require(bool condition, Parts&&... parts) {
  if (!condition) throw UsageError(cat(std::forward<Parts>(parts)...));
}

}  // namespace mith
