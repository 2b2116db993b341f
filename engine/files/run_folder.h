// A run is a folder: config.json, model.safetensors (the best), last.safetensors (for exact resume), metrics.jsonl,
// TensorBoard event files.
#pragma once
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/nn/network.h"
#include "engine/optim/optimizer.h"

namespace mith {

using Json = nlohmann::ordered_json;

/// Version, git hash of the build, build type, compiler, device, providers: the part of config.json every run shares.
Json build_information();

/// Model with its metadata (mithridate.net, .normalize, .classes, .image), as PyTorch names and layouts.
void save_network(const Network&, const std::filesystem::path&, const std::map<std::string, std::string>& extra = {});
/// MODEL on a command line, without defences: a run folder, or NET@weights.safetensors. Spec keys fill what the
/// metadata lacks; architecture and weights that do not fit throw UsageError.
std::unique_ptr<Network> load_network(const std::string& model);

/// TensorBoard scalars (TFRecord with masked CRC-32C, hand-encoded protobuf).
class EventWriter {
 public:
  explicit EventWriter(const std::filesystem::path& folder);
  ~EventWriter();
  void scalar(const std::string& tag, double value, int64_t step);
  void flush();

 private:
  std::ofstream out_;
};

/// Everything that `--resume` needs besides the weights.
struct TrainingState {
  int64_t epoch = 0;  ///< finished epochs
  Json loop;          ///< callbacks' states: best values, patience counters, learning rate
};
void save_training_state(const Network&, Optimizer&, const TrainingState&, const std::filesystem::path&);
TrainingState load_training_state(Network&, Optimizer&, const std::filesystem::path&);

}  // namespace mith
