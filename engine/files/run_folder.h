// A run is a folder: config.json, model.safetensors (the best), last.safetensors (for exact resume), metrics.jsonl,
// TensorBoard event files.
#pragma once
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>

#include "engine/files/json.h"
#include "engine/nn/network.h"
#include "engine/optim/optimizer.h"

namespace mith {

/// The project's version, "0.1.0".
const char* version();

/// Version, git hash of the build, build type, compiler, instruction set level, device, providers: the part of
/// config.json every run shares.
Json build_information();

/// Model with its metadata, in PyTorch's names and layouts. Metadata: mithridate.net (spec), mithridate.normalize
/// ({"how", "mean", "deviation"}), mithridate.classes (list of names), mithridate.image ([h, w, c]), all but the first
/// as JSON, and "format": "pt", without which PyTorch's tools refuse the file.
void save_network(const Network&, const std::filesystem::path&, const std::map<std::string, std::string>& extra = {});
/// Whether the net's published weights are torchvision's, trained on ImageNet-normalised images.
bool has_imagenet_weights(const std::string& net);
/// MODEL on a command line, without defences: a run folder, a file that save_network wrote, or NET@weights.safetensors.
/// The spec's keys (classes, channels, size, normalize, ...) go before the metadata. For what neither says: classes and
/// channels are read off the weights, torchvision's architectures get 224 x 224 pixels (inception_v3: 299 x 299) and,
/// with a note on stderr, normalize=imagenet; others must be given a size and get normalize=none. Architecture and
/// weights that do not fit throw UsageError.
std::unique_ptr<Network> load_network(const std::string& model);

/// CRC-32C (Castagnoli, reflected polynomial 0x82f63b78), as in RFC 3720.
uint32_t crc32c(std::string_view bytes);

/// TensorBoard scalars in a new file of the folder: TFRecords with masked CRC-32C around hand-encoded protobuf.
/// Throws UsageError if the file cannot be made and Error if the disk fills.
class EventWriter {
 public:
  explicit EventWriter(const std::filesystem::path& folder);
  /// TensorBoard keeps values as f32.
  void scalar(const std::string& tag, double value, int64_t step);
  void flush();

 private:
  void record(const std::string& event);
  std::filesystem::path path_;
  std::ofstream out_;
};

/// Everything that `--resume` needs besides the weights and the optimiser's state.
struct TrainingState {
  int64_t epoch = 0;  ///< finished epochs
  Json loop;          ///< callbacks' states: best values, patience counters, learning rate
};
/// last.safetensors: a network file with the optimiser's tensors beside the weights, as
/// "optimizer.<parameter>.<state>".
void save_training_state(const Network&, Optimizer&, const TrainingState&, const std::filesystem::path&);
/// Restores all of it; throws UsageError, before anything is changed, if network or optimiser are others.
TrainingState load_training_state(Network&, Optimizer&, const std::filesystem::path&);

}  // namespace mith
