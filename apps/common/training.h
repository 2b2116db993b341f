// What mith-train sets up before the loop runs: the network and its first weights, what is frozen, the run folder.
#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "engine/files/run_folder.h"
#include "engine/files/safetensors.h"
#include "engine/optim/optimizer.h"
#include "engine/train/trainer.h"

namespace mith {

struct TrainOptions {
  std::string data = {}, net = {}, out = {}, init = {}, augment = {}, freeze = {}, head = {}, adversarial_data = {};
  std::string optimizer = "adam", schedule = "plateau", split = "80/10/10", class_weights = "balanced";
  std::vector<std::string> lr_for = {}, adversarial = {};
  int64_t epochs = 30, batch = 64, size = 0, unfreeze_after = -1, patience = 8;
  double lr = 0;  ///< 0: not given, see learning_rate()
  double adversarial_weight = 0.5;
  bool fixed_statistics = false, summary = false, frozen = false, resume = false, force = false;
};
/// --lr, or 1e-3 from scratch and 5e-4 from trained weights: fine-tuning at the full rate costs clean accuracy and
/// gains no robustness.
double learning_rate(const TrainOptions&);
/// Everything that shapes the result, for config.json and for the check that --resume continues the same run.
Json to_json(const TrainOptions&, int64_t seed);

/// --init: weights with what their metadata says of the network they belong to.
struct InitialWeights {
  std::string file;
  SafetensorsFile weights;
  std::unique_ptr<Network> origin;  ///< null if the file says nothing
  bool fixed_statistics = false;    ///< whether they were trained so
};
/// A run folder or a .safetensors file; empty text gives nothing.
std::unique_ptr<InitialWeights> read_initial_weights(const std::string& init);

/// Goes on as the weights were trained: batch norms that never used a batch's own statistics do not bear it.
void take_fixed_statistics(TrainOptions&, const InitialWeights&);

/// Copies them into the network. Left as they are, saying so, are a head that they lack or have in other dense
/// layers, the last layers where the number of classes differs, and, in a net whose entry has the fact "shares",
/// everything but that module where the weights are of another net; any other difference throws UsageError.
void load_initial_weights(Network&, const InitialWeights&);

/// Whether the net has the key `head`.
bool takes_head(const std::string& net);
/// The spec that the network is made from: --net, or what the initial weights say they belong to; with --head.
std::string net_spec(const TrainOptions&, const InitialWeights*);

/// The net as --summary needs it without data: the image and the classes are those of its keys and of --size, else of
/// the initial weights' network, else ImageNet's: 224 x 224 x 3 and 1000.
std::unique_ptr<Network> network_without_data(const TrainOptions&, const InitialWeights*);

/// Image shape from --size, the net's keys or the initial weights, else as the data has it.
DataParts load_training_data(const TrainOptions&, const InitialWeights*, bool strict);

/// The net, initialised by `seed` and then from the initial weights.
std::unique_ptr<Network> build_network(const TrainOptions&, const InitialWeights*, const DataParts&, int64_t seed);

/// n / (K n_c) of every class; UsageError if a class has no image.
std::vector<float> balanced_class_weights(const ImageSet&);

/// Parameters of a module path: "conv1" stands for conv1.weight and conv1.bias. UsageError if there are none.
std::vector<size_t> with_prefix(const std::vector<Module::Named>&, const std::string& prefix,
                                const std::string& option);
/// --freeze a,b,...: buffers keep following the data.
void freeze(Network&, const std::string& prefixes);
/// An optimiser over all parameters, frozen ones included, with the rates of --lr-for PREFIX=X.
std::unique_ptr<Optimizer> build_optimizer(Network&, const TrainOptions&);

/// The folder a run is written into. A run that fails before its first checkpoint leaves no folder behind.
class RunFolder {
 public:
  /// Refuses a folder that holds another run, unless --force (which empties it of that run) or --resume.
  explicit RunFolder(const TrainOptions&, const Json& options);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }
  bool resuming() const { return resuming_; }
  void write_config(const Json& config);

 private:
  std::filesystem::path path_;
  bool created_ = false, resuming_ = false;
};

}  // namespace mith
