#include "engine/train/batch_source.h"

#include <numeric>

namespace mith {

std::vector<int64_t> shuffled(int64_t n, const DrawKey& key) {
  check(n >= 0 && n < (int64_t{1} << 32), "cannot shuffle ", n, " items: a position is drawn from 32 bits");
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), int64_t{0});
  // Fisher-Yates from the end; position i swaps with a uniform one of [0, i].
  for (uint64_t i = static_cast<uint64_t>(n); i-- > 1;) {
    uint64_t const j = (uint64_t{random_bits(key, 0, i)} * (i + 1)) >> 32;
    std::swap(order[i], order[j]);
  }
  return order;
}

}  // namespace mith
