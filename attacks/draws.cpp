#include "attacks/draws.h"

namespace mith {

DrawKey draw_key(std::string_view attack, const AttackOptions& options, Purpose purpose, int restart, int iteration) {
  uint32_t hash = 2166136261u;  // FNV-1a
  for (char c : attack) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  uint16_t const stream = static_cast<uint16_t>(hash ^ (hash >> 16));
  return {.seed = options.seed,
          .step = static_cast<uint32_t>(options.step),
          .restart = static_cast<uint16_t>(restart),
          .purpose = purpose,
          .stream = static_cast<uint16_t>(stream + iteration)};
}

}  // namespace mith
