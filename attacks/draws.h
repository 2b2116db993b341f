// Streams of random numbers for attacks (attacks.md 0.5): keyed by the run's seed, the attack's name, the restart and
// the iteration; the kernels and callers add the image's id and an element's index. Draws that one iteration repeats
// (copies, neighbours) count on in the element: copy * elements + element.
#pragma once
#include <string_view>

#include "attacks/attack.h"

namespace mith {

/// Attacks of different names draw from different streams.
DrawKey draw_key(std::string_view attack, const AttackOptions&, Purpose, int restart, int iteration);

/// For a random model's own draws: every pass of an attack sees noise of its own. Told apart by the seed, because
/// models put their own purposes and streams into the key that they are given.
DrawKey model_key(std::string_view attack, const AttackOptions&, int restart, int iteration, int pass = 0);

}  // namespace mith
