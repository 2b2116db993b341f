#include "attacks/draws.h"

namespace mith {
namespace {

uint32_t hash_of(std::string_view attack) {
  uint32_t hash = 2166136261u;  // FNV-1a
  for (char c : attack) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return hash;
}

}  // namespace

DrawKey draw_key(std::string_view attack, const AttackOptions& options, Purpose purpose, int restart, int iteration) {
  uint32_t const hash = hash_of(attack);
  uint16_t const stream = static_cast<uint16_t>(hash ^ (hash >> 16));
  return {.seed = options.seed,
          .step = static_cast<uint32_t>(options.step),
          .restart = static_cast<uint16_t>(restart),
          .purpose = purpose,
          .stream = static_cast<uint16_t>(stream + iteration)};
}

DrawKey model_key(std::string_view attack, const AttackOptions& options, int restart, int iteration, int pass) {
  DrawKey key = draw_key(attack, options, Purpose::noise, restart, iteration);
  Philox4 const counter{
      {hash_of(attack), static_cast<uint32_t>(restart), static_cast<uint32_t>(iteration), static_cast<uint32_t>(pass)}};
  Philox4 const mixed = philox4x32(counter, static_cast<uint32_t>(key.seed), static_cast<uint32_t>(key.seed >> 32));
  key.seed = uint64_t{mixed.v[0]} << 32 | mixed.v[1];
  return key;
}

}  // namespace mith
