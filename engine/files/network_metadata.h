// What network files and training states share.
#pragma once
#include <map>
#include <string>

#include "engine/nn/network.h"

namespace mith {

/// The metadata that save_network writes.
std::map<std::string, std::string> network_metadata(const Network&);

/// Names of an optimiser's tensors begin with this.
constexpr const char* optimizer_prefix = "optimizer.";

}  // namespace mith
