#include "attacks/draws.h"

namespace mith {
namespace {

uint32_t hash_of(std::string_view attack) {
  uint32_t hash = 2166136261u;  // FNV-1a
  for (char c : attack) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return hash;
}

DrawKey key_of(std::string_view attack, const AttackOptions& options, Purpose purpose, int restart, int iteration,
               int user) {
  Philox4 const words{
      {hash_of(attack), static_cast<uint32_t>(restart), static_cast<uint32_t>(iteration), static_cast<uint32_t>(user)}};
  return {.seed = mixed_seed(options.seed, words), .step = static_cast<uint32_t>(options.step), .purpose = purpose};
}

}  // namespace

DrawKey draw_key(std::string_view attack, const AttackOptions& options, Purpose purpose, int restart, int iteration) {
  return key_of(attack, options, purpose, restart, iteration, 0);
}

DrawKey model_key(std::string_view attack, const AttackOptions& options, int restart, int iteration, int pass) {
  return key_of(attack, options, Purpose::noise, restart, iteration, 1 + pass);
}

uint64_t mixed_seed(uint64_t seed, const Philox4& words) {
  Philox4 const mixed = philox4x32(words, static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
  return uint64_t{mixed.v[0]} << 32 | mixed.v[1];
}

}  // namespace mith
