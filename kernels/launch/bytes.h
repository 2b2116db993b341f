// Memory traffic of a launch, for its trace and its bandwidth.
#pragma once
#include <cstdint>

namespace mith {

/// Bytes of `arrays` arrays of n elements of T.
template <class T>
constexpr int64_t bytes_of(int64_t arrays, int64_t n) {
  return arrays * n * static_cast<int64_t>(sizeof(T));
}

}  // namespace mith
