// The layer table of --summary, read off the tape of one image.
#pragma once
#include <string>

#include "engine/files/run_folder.h"
#include "engine/nn/network.h"

namespace mith {

/// One recorded operator: {"layer", "operator", "output", "parameters", "flops"} for one image, and the totals.
Json summarise(Network&);
/// The same as an aligned table.
std::string summary_table(const Json& summary);

}  // namespace mith
