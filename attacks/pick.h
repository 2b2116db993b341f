// What stays of a vector with an element an image when some images leave an attack, as gather_rows says of tensors.
#pragma once
#include <cstdint>
#include <vector>

namespace mith {

/// The elements of `all` at `kept`.
template <class T>
std::vector<T> pick(const std::vector<T>& all, const std::vector<int64_t>& kept) {
  std::vector<T> some;
  some.reserve(kept.size());
  for (int64_t i : kept) some.push_back(all[static_cast<size_t>(i)]);
  return some;
}

}  // namespace mith
