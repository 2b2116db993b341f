// Streams of random numbers for attacks (attacks.md 0.5): keyed by the run's seed, the attack's name, the restart and
// the iteration; the kernels and callers add the image's id and an element's index. Draws that one iteration repeats
// (copies, neighbours) count on in the element: copy * elements + element.
//
// All of them are mixed into the key's seed: its other fields are too short to tell them apart, and models put their
// own purposes and streams into the key that they are given.
#pragma once
#include <string_view>

#include "attacks/attack.h"

namespace mith {

/// For an attack's own draws.
DrawKey draw_key(std::string_view attack, const AttackOptions&, Purpose, int restart, int iteration);

/// For a random model's draws: every pass of an attack sees noise of its own.
DrawKey model_key(std::string_view attack, const AttackOptions&, int restart, int iteration, int pass = 0);

/// Another seed for any other words.
uint64_t mixed_seed(uint64_t seed, const Philox4& words);

}  // namespace mith
