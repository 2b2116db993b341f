// last.safetensors: everything an interrupted training needs to continue exactly.
#include <algorithm>

#include "engine/files/network_metadata.h"
#include "engine/files/run_folder.h"
#include "engine/files/safetensors.h"

namespace mith {
namespace {

namespace fs = std::filesystem;

constexpr const char* training_key = "mithridate.training";

std::string stored_name(const OptimizerState& state) { return optimizer_prefix + state.name; }

struct TrainingMetadata {
  std::string optimizer;
  int64_t steps = 0;
  std::vector<int64_t> updates;
  double learning_rate = 0;
  TrainingState state;
};

TrainingMetadata read_metadata(const SafetensorsFile& file, const fs::path& path) {
  auto const text = file.metadata.find(training_key);
  require(text != file.metadata.end(), path, " holds no training to resume");
  try {
    Json const json = Json::parse(text->second);
    return {json.at("optimizer").get<std::string>(),
            json.at("steps").get<int64_t>(),
            json.at("updates").get<std::vector<int64_t>>(),
            json.at("learning_rate").get<double>(),
            {json.at("epoch").get<int64_t>(), json.at("loop")}};
  } catch (const Json::exception& e) {
    throw UsageError(cat("cannot read ", path, ": its training state is damaged (", e.what(), ")"));
  }
}

/// The optimiser's tensors as it holds them, in the order of its state().
std::vector<Tensor> optimizer_values(Optimizer& optimizer, const SafetensorsFile& file, const fs::path& path) {
  std::vector<Tensor> values;
  for (const OptimizerState& state : optimizer.state()) {
    const Tensor* const stored = file.find(stored_name(state));
    require(stored && stored->dtype() == state.value.dtype(), path, " has no ", name_of(state.value.dtype()),
            " tensor ", stored_name(state));
    try {
      values.push_back(to_held(*stored, state.layout, state.value.shape()));
    } catch (const UsageError& e) {
      throw UsageError(cat(path, ": ", stored_name(state), ": ", e.what()));
    }
  }
  return values;
}

}  // namespace

void save_training_state(const Network& network, Optimizer& optimizer, const TrainingState& state,
                         const fs::path& path) {
  std::vector<StoredTensor> tensors = state_of(network);
  for (const OptimizerState& s : optimizer.state()) tensors.push_back({stored_name(s), to_outer(s.value, s.layout)});
  Json const training{{"optimizer", optimizer.name()}, {"steps", optimizer.steps},
                      {"updates", optimizer.updates},  {"learning_rate", optimizer.learning_rate},
                      {"epoch", state.epoch},          {"loop", state.loop}};
  std::map<std::string, std::string> metadata = network_metadata(network);
  metadata[training_key] = json_text(training);
  write_safetensors(path, tensors, metadata);
}

TrainingState load_training_state(Network& network, Optimizer& optimizer, const fs::path& path) {
  SafetensorsFile file = read_safetensors(path);
  TrainingMetadata const training = read_metadata(file, path);
  require(training.optimizer == optimizer.name(), path, " was trained with ", training.optimizer, ", not ",
          optimizer.name());
  require(training.updates.size() == optimizer.updates.size(), path, " was trained with ", training.updates.size(),
          " parameters, not ", optimizer.updates.size());
  std::vector<Tensor> const values = optimizer_values(optimizer, file, path);

  std::erase_if(file.tensors, [](auto& t) { return t.name.starts_with(optimizer_prefix); });
  load_state(network, file, cat(path));
  std::vector<OptimizerState> states = optimizer.state();
  for (size_t i = 0; i < states.size(); ++i) states[i].value.copy_from(values[i]);
  optimizer.steps = training.steps;
  optimizer.updates = training.updates;
  optimizer.learning_rate = training.learning_rate;
  return training.state;
}

}  // namespace mith
