#include "data/hash.h"

#define XXH_INLINE_ALL  // the header is all there is to link
#include <xxhash.h>

namespace mith {

uint64_t hash_bytes(const void* bytes, size_t count, uint64_t seed) { return XXH3_64bits_withSeed(bytes, count, seed); }

}  // namespace mith
