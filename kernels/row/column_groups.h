// Sums down the columns of a tall matrix go in two stages: groups of rows into partial sums, then the groups in double.
// The grouping depends on nothing but the number of rows, so every device and thread count adds in the same order.
#pragma once
#include <cstdint>

namespace mith {

constexpr int64_t rows_per_group = 64;
constexpr int64_t column_groups(int64_t rows) { return (rows + rows_per_group - 1) / rows_per_group; }

}  // namespace mith
