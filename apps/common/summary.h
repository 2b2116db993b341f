// The layer table of --summary, read off the tape of one image.
#pragma once
#include <string>

#include "engine/files/run_folder.h"
#include "engine/nn/network.h"

namespace mith {

/// What the network does to one image in evaluation: {"net", "input", "layers", and the totals "parameters",
/// "multiply_adds", "activation_bytes"}. A layer is one recorded operator: {"layer", "operator", "output",
/// "parameters", "multiply_adds", "activation_bytes"}; reshapes, which compute nothing, are left out.
///
/// Multiply-adds are those of convolutions, dense layers and attention products, whatever the padding; norms,
/// activations, pooling and sums count nothing, as in the figures that torchvision publishes. Activation bytes are
/// those of the operator's output; what training keeps for its backward pass may be other tensors.
/// A module's parameters stand in the row of its first operator, the network's own in rows before all; those of modules
/// that only training runs come last.
Json summarise(Network&);
/// The same as an aligned table.
std::string summary_table(const Json& summary);

/// The network frozen for one image: {"net", "input", "steps", "kept_bytes", "arena_bytes"}. A step is an operator with
/// what was fused into it: {"layer", "operator", "output", "by", "kept_bytes"}; "by" says who computes it, forward and
/// backward, "eager" that nothing could be made of it. Throws Error if the network cannot be frozen.
Json summarise_frozen(Network&);
std::string frozen_summary_table(const Json& summary);

}  // namespace mith
