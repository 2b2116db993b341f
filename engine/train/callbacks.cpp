// What happens at the end of an epoch: keeping the best weights, stopping, lowering the rate, writing logs.
#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>

#include "engine/files/files.h"
#include "engine/files/safetensors.h"
#include "engine/train/progress.h"
#include "engine/train/trainer.h"

namespace mith {
namespace {

/// The best monitored value so far and how many epochs ago it was.
class Record {
 public:
  /// True, and remembered, if the value is better by more than `minimum_change`.
  bool improves(const Monitored& now, double minimum_change = 0) {
    double const gain = !best_ ? 0 : now.larger_is_better ? now.value - *best_ : *best_ - now.value;
    bool const better = !best_ || gain > minimum_change;
    if (better) best_ = now.value;
    epochs_since_ = better ? 0 : epochs_since_ + 1;
    return better;
  }
  int epochs_since() const { return epochs_since_; }
  void wait_anew() { epochs_since_ = 0; }
  bool any() const { return best_.has_value(); }

  Json state() const { return {{"best", best_ ? Json(*best_) : Json()}, {"epochs_since", epochs_since_}}; }
  void restore(const Json& state) {
    best_ = state.at("best").is_null() ? std::nullopt : std::optional<double>(state.at("best"));
    epochs_since_ = state.at("epochs_since");
  }

 private:
  std::optional<double> best_;
  int epochs_since_ = 0;
};

class BestCheckpoint final : public Callback {
 public:
  explicit BestCheckpoint(std::filesystem::path path) : path_(std::move(path)) {}
  std::string name() const override { return "best_checkpoint"; }

  void epoch_end(Trainer& trainer, const EpochReport& report) override {
    if (!record_.improves(monitored(report))) return;
    weights_.clear();
    for (auto const& [name, parameter] : trainer.network().parameters()) weights_.push_back(parameter->value.clone());
    save_network(trainer.network(), path_);
  }
  void training_end(Trainer& trainer) override {
    if (!record_.any()) return;
    if (weights_.empty()) {  // resumed, and nothing better came since
      load_state(trainer.network(), read_safetensors(path_), path_.string());
      return;
    }
    auto const parameters = trainer.network().parameters();
    for (size_t i = 0; i < parameters.size(); ++i) parameters[i].parameter->value.copy_from(weights_[i]);
  }
  Json state() const override { return record_.state(); }
  void restore(const Json& state) override { record_.restore(state); }

 private:
  std::filesystem::path path_;
  Record record_;
  std::vector<Tensor> weights_;
};

class EarlyStopping final : public Callback {
 public:
  EarlyStopping(int patience, double minimum_change) : patience_(patience), minimum_change_(minimum_change) {}
  std::string name() const override { return "early_stopping"; }
  void epoch_end(Trainer& trainer, const EpochReport& report) override {
    if (!record_.improves(monitored(report), minimum_change_) && record_.epochs_since() >= patience_)
      trainer.stop(cat("no improvement for ", patience_, " epochs"));
  }
  Json state() const override { return record_.state(); }
  void restore(const Json& state) override { record_.restore(state); }

 private:
  int patience_;
  double minimum_change_;
  Record record_;
};

class ReduceOnPlateau final : public Callback {
 public:
  ReduceOnPlateau(double factor, int patience, double minimum_rate)
      : factor_(factor), patience_(patience), minimum_rate_(minimum_rate) {}
  std::string name() const override { return "reduce_on_plateau"; }
  void epoch_end(Trainer& trainer, const EpochReport& report) override {
    if (record_.improves(monitored(report)) || record_.epochs_since() < patience_) return;
    record_.wait_anew();
    double& rate = trainer.optimizer().learning_rate;
    double const lower = std::max(rate * factor_, minimum_rate_);
    if (lower >= rate) return;
    rate = lower;
    say(cat("learning rate ", rate));
  }
  Json state() const override { return record_.state(); }
  void restore(const Json& state) override { record_.restore(state); }

 private:
  double factor_;
  int patience_;
  double minimum_rate_;
  Record record_;
};

class CosineAnnealing final : public Callback {
 public:
  explicit CosineAnnealing(double rate) : rate_(rate) {}
  std::string name() const override { return "cosine_annealing"; }
  void epoch_end(Trainer& trainer, const EpochReport& report) override {
    double const done = static_cast<double>(report.epoch) / static_cast<double>(trainer.options().epochs);
    trainer.optimizer().learning_rate = rate_ * (1 + std::cos(std::numbers::pi * done)) / 2;
  }

 private:
  double rate_;
};

Json to_json(const EpochMetrics& m) {
  Json json{{"loss", m.loss}, {"accuracy", m.accuracy}, {"balanced_accuracy", m.balanced_accuracy}};
  if (m.robust_balanced_accuracy) json["robust_balanced_accuracy"] = *m.robust_balanced_accuracy;
  return json;
}

class MetricsLog final : public Callback {
 public:
  explicit MetricsLog(const std::filesystem::path& folder) : file_(folder / "metrics.jsonl"), events_(folder) {}
  std::string name() const override { return "metrics_log"; }

  void epoch_end(Trainer&, const EpochReport& r) override {
    Json const line{{"epoch", r.epoch},
                    {"train", to_json(r.train)},
                    {"validation", to_json(r.validation)},
                    {"learning_rate", r.learning_rate},
                    {"seconds", r.seconds},
                    {"images_per_second", r.images_per_second}};
    text_ += json_text(line) + "\n";
    write_text(file_, text_);
    for (const char* part : {"train", "validation"})
      for (auto const& [key, value] : line[part].items()) events_.scalar(cat(part, "/", key), value, r.epoch);
    for (const char* key : {"learning_rate", "images_per_second"}) events_.scalar(key, line[key], r.epoch);
    events_.flush();
  }
  Json state() const override { return {{"lines", std::count(text_.begin(), text_.end(), '\n')}}; }
  /// Lines of epochs that the run is about to repeat are dropped.
  void restore(const Json& state) override {
    std::istringstream lines(read_text(file_));
    std::string line;
    for (int64_t i = state.at("lines"); i > 0 && std::getline(lines, line); --i) text_ += line + "\n";
  }

 private:
  std::filesystem::path file_;
  EventWriter events_;
  std::string text_;
};

class LastCheckpoint final : public Callback {
 public:
  explicit LastCheckpoint(std::filesystem::path path) : path_(std::move(path)) {}
  std::string name() const override { return "last_checkpoint"; }
  void epoch_end(Trainer& trainer, const EpochReport& report) override {
    check(trainer.callbacks.back().get() == this, "last_checkpoint must be the last callback");
    save_training_state(trainer.network(), trainer.optimizer(), {report.epoch, trainer.state()}, path_);
  }

 private:
  std::filesystem::path path_;
};

}  // namespace

std::unique_ptr<Callback> best_checkpoint(std::filesystem::path path) {
  return std::make_unique<BestCheckpoint>(std::move(path));
}
std::unique_ptr<Callback> early_stopping(int patience, double minimum_change) {
  return std::make_unique<EarlyStopping>(patience, minimum_change);
}
std::unique_ptr<Callback> reduce_on_plateau(double factor, int patience, double minimum_rate) {
  return std::make_unique<ReduceOnPlateau>(factor, patience, minimum_rate);
}
std::unique_ptr<Callback> cosine_annealing(double rate) { return std::make_unique<CosineAnnealing>(rate); }
std::unique_ptr<Callback> metrics_log(const std::filesystem::path& run_folder) {
  return std::make_unique<MetricsLog>(run_folder);
}
std::unique_ptr<Callback> last_checkpoint(std::filesystem::path path) {
  return std::make_unique<LastCheckpoint>(std::move(path));
}

}  // namespace mith
