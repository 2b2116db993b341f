// The training loop: epochs over a BatchSource, callbacks, optional attacked twins of every batch.
#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/files/run_folder.h"
#include "engine/optim/optimizer.h"
#include "engine/train/batch_source.h"

namespace mith {

/// Means over a set of images.
struct EpochMetrics {
  double loss = 0, accuracy = 0, balanced_accuracy = 0;
  /// On the adversarial twins: those trained on, or those of the validation attack. Only when training is adversarial.
  std::optional<double> robust_balanced_accuracy;
};

struct EpochReport {
  int64_t epoch = 0;  ///< from 1
  EpochMetrics train, validation;
  double learning_rate = 0, seconds = 0, images_per_second = 0;
};

class Trainer;

/// Called at the end of every epoch, in order. state() and restore() make a resumed run continue exactly.
class Callback {
 public:
  virtual ~Callback() = default;
  virtual std::string name() const = 0;
  virtual void epoch_end(Trainer&, const EpochReport&) = 0;
  virtual void training_end(Trainer&) {}
  virtual Json state() const { return nullptr; }
  virtual void restore(const Json&) {}
};

/// The value that callbacks watch, and whether larger is better: robust balanced accuracy when there is one, else
/// validation loss.
struct Monitored {
  double value;
  bool larger_is_better;
};
Monitored monitored(const EpochReport&);

/// Keeps the best weights, by monitored(), in memory and in `path`; puts them into the network at the end.
std::unique_ptr<Callback> best_checkpoint(std::filesystem::path path);
std::unique_ptr<Callback> early_stopping(int patience, double minimum_change = 0);
/// Multiplies the learning rate by `factor` after `patience` epochs without improvement.
std::unique_ptr<Callback> reduce_on_plateau(double factor = 0.2, int patience = 3, double minimum_rate = 1e-6);
/// Lowers the learning rate from `rate` to 0 along a cosine, epoch by epoch (Loshchilov & Hutter 2017, eq. 5, no
/// restart).
std::unique_ptr<Callback> cosine_annealing(double rate);
/// TensorBoard scalars and metrics.jsonl, one line an epoch; a resumed run goes on behind its last finished epoch.
std::unique_ptr<Callback> metrics_log(const std::filesystem::path& run_folder);
/// last.safetensors after every epoch. Must stand last, so that it saves what the other callbacks have just decided.
std::unique_ptr<Callback> last_checkpoint(std::filesystem::path path);

struct TrainerOptions {
  int64_t epochs = 30, batch = 64;  ///< a last batch of one image is left out: it has no statistics
  uint64_t seed = 0;
  bool augment = false;
  double label_smoothing = 0;
  std::vector<float> class_weights;  ///< empty: unweighted; else a batch's loss is sum(w l) / sum(w), as PyTorch's
  double adversarial_weight = 0.5;   ///< W of (1-W) CE(clean) + W CE(adversarial)
  int64_t unfreeze_after = -1;       ///< epoch after which frozen parameters train too; -1: never
  bool fixed_statistics = false;     ///< see Context
};

class Trainer {
 public:
  /// The optimiser may hold frozen parameters; they are left alone until they are unfrozen.
  Trainer(Network&, Optimizer&, TrainerOptions);
  /// Attacks that make adversarial twins; several alternate by batch.
  std::vector<PerturbBatch> perturbations;
  /// Attack for robust validation; null: none.
  PerturbBatch validation_attack;
  std::vector<std::unique_ptr<Callback>> callbacks;

  /// Trains from `first_epoch` (0, or a resumed run's count); returns the reports of the epochs run. A loss that is not
  /// finite throws Error naming the epoch and the batch.
  std::vector<EpochReport> fit(const BatchSource& train, const BatchSource& validation, int64_t first_epoch = 0);
  void stop(const std::string& why);  ///< after this epoch, for callbacks
  Network& network() { return network_; }
  Optimizer& optimizer() { return optimizer_; }
  const TrainerOptions& options() const { return options_; }
  /// Learning rate and callbacks' states, for TrainingState::loop.
  Json state() const;
  void restore(const Json&);

 private:
  void unfreeze();
  Network& network_;
  Optimizer& optimizer_;
  TrainerOptions options_;
  bool stop_ = false;
};

/// Brings weights, optimiser, learning rate and callbacks back to where last_checkpoint() left them; returns the number
/// of finished epochs, for fit(). The callbacks must be the same ones, already in place.
int64_t resume(Trainer&, const std::filesystem::path& last);

/// Loss (weighted and smoothed like the training's), accuracy and balanced accuracy over a source, in eval mode.
EpochMetrics validate(Network&, const BatchSource&, const TrainerOptions&, const PerturbBatch& attack = nullptr);

}  // namespace mith
