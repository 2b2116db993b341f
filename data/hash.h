// The hash that names cached sets and finds duplicates: XXH3, 64 bits.
#pragma once
#include <cstddef>
#include <cstdint>

namespace mith {

uint64_t hash_bytes(const void* bytes, size_t count, uint64_t seed = 0);

}  // namespace mith
