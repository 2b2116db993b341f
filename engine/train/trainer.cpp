#include "engine/train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iomanip>
#include <numeric>

#include "engine/ops/ops.h"
#include "engine/report/metrics.h"
#include "engine/train/progress.h"

namespace mith {
namespace {

CrossEntropyOptions criterion(const TrainerOptions& o) {
  CrossEntropyOptions c;
  c.label_smoothing = o.label_smoothing;
  if (!o.class_weights.empty())
    c.class_weights = Tensor::from(o.class_weights, {static_cast<int64_t>(o.class_weights.size())});
  return c;
}

double total_weight(const std::vector<float>& class_weights, const std::vector<int32_t>& labels) {
  if (class_weights.empty()) return static_cast<double>(labels.size());
  double sum = 0;
  for (int32_t label : labels) sum += class_weights[static_cast<size_t>(label)];
  return sum;
}

std::vector<int32_t> labels_at(const BatchSource& source, const std::vector<int64_t>& positions) {
  std::vector<int32_t> labels;
  labels.reserve(positions.size());
  for (int64_t p : positions) labels.push_back(source.labels()[static_cast<size_t>(p)]);
  return labels;
}

Tensor concatenate(const Tensor& a, const Tensor& b) {
  Tensor both = Tensor::empty(a.shape().with(0, a.dim(0) + b.dim(0)), a.dtype(), a.device());
  both.rows(0, a.dim(0)).copy_from(a);
  both.rows(a.dim(0), b.dim(0)).copy_from(b);
  return both;
}

std::string rounded(double value, int digits = 4) {
  std::ostringstream out;
  out << std::setprecision(digits) << value;
  return out.str();
}

/// Losses and predictions of many batches, read back a few batches at a time, so that the device is seldom waited for.
class Tally {
 public:
  Tally(const TrainerOptions& options, int64_t classes, std::string where)
      : options_(options), classes_(classes), where_(std::move(where)) {}

  void add(const Tensor& losses, const Tensor& logits, const std::vector<int32_t>& labels) {
    pending_.push_back({losses, argmax(logits)});
    labels_.insert(labels_.end(), labels.begin(), labels.end());
    weight_ += total_weight(options_.class_weights, labels);
    if (pending_.size() == 16) drain();
  }
  /// "loss 0.41", the mean of what has been read back so far; empty before.
  std::string so_far() const { return weight_read_ > 0 ? cat("loss ", rounded(loss_ / weight_read_)) : ""; }
  EpochMetrics metrics() {
    drain();
    Metrics const m = compute_metrics(labels_, predictions_, {}, classes_);
    return {.loss = weight_read_ > 0 ? loss_ / weight_read_ : 0,
            .accuracy = m.accuracy,
            .balanced_accuracy = m.balanced_accuracy,
            .robust_balanced_accuracy = {}};
  }

 private:
  struct Pending {
    Tensor losses, predictions;
  };

  void drain() {
    for (const Pending& batch : pending_) {
      ++batches_;
      Tensor const losses = batch.losses.cast(DType::f32);
      for (float l : losses.to_host<float>()) {
        check(std::isfinite(l), where_, ", batch ", batches_, ": the loss is ", l,
              "; a smaller learning rate may help");
        loss_ += l;
      }
      auto const predictions = batch.predictions.to_host<int32_t>();
      predictions_.insert(predictions_.end(), predictions.begin(), predictions.end());
    }
    pending_.clear();
    weight_read_ = weight_;
  }

  const TrainerOptions& options_;
  int64_t classes_, batches_ = 0;
  std::string where_;
  std::vector<Pending> pending_;
  std::vector<int32_t> labels_, predictions_;
  double loss_ = 0, weight_ = 0, weight_read_ = 0;  // of sums of weighted losses, and of weights
};

/// One epoch over the training images.
class Epoch {
 public:
  Epoch(Trainer& trainer, const BatchSource& source, int64_t epoch)
      : trainer_(trainer),
        options_(trainer.options()),
        source_(source),
        epoch_(epoch),
        model_(trainer.network()),
        criterion_(criterion(options_)),
        clean_(options_, source.classes(), cat("epoch ", epoch + 1)),
        adversarial_(options_, source.classes(), cat("epoch ", epoch + 1, " (adversarial)")) {}

  EpochMetrics run();

 private:
  DrawKey key(Purpose purpose, int64_t step) const {
    return {.seed = options_.seed, .step = static_cast<uint32_t>(step), .purpose = purpose};
  }
  Batch with_twins(const Batch& clean, int64_t step);
  void train(const Batch& clean, const std::vector<int32_t>& labels, int64_t step);
  Tensor loss_weights(const Tensor& losses, const std::vector<int32_t>& labels) const;
  bool is_adversarial() const { return !trainer_.perturbations.empty(); }

  Trainer& trainer_;
  const TrainerOptions& options_;
  const BatchSource& source_;
  int64_t epoch_;
  NetworkClassifier model_;
  CrossEntropyOptions criterion_;
  Tally clean_, adversarial_;
};

EpochMetrics Epoch::run() {
  int64_t const n = source_.size(), size = options_.batch, batches = (n + size - 1) / size;
  auto const order = shuffled(n, key(Purpose::shuffle, epoch_));
  Progress progress(cat("epoch ", epoch_ + 1, "/", options_.epochs), n);
  for (int64_t index = 0; index < batches; ++index) {
    int64_t const first = index * size, count = std::min(size, n - first);
    if (count == 1 && size > 1) break;
    std::vector<int64_t> const positions(order.begin() + first, order.begin() + first + count);
    Batch const clean = source_.batch(positions, options_.augment, key(Purpose::augment, epoch_));
    train(clean, labels_at(source_, positions), epoch_ * batches + index);
    progress.advance(count, clean_.so_far());
  }
  EpochMetrics metrics = clean_.metrics();
  if (is_adversarial()) {
    EpochMetrics const twins = adversarial_.metrics();
    double const w = options_.adversarial_weight;
    metrics.loss = (1 - w) * metrics.loss + w * twins.loss;
    metrics.robust_balanced_accuracy = twins.balanced_accuracy;
  }
  progress.finish(cat("loss ", rounded(metrics.loss)));
  return metrics;
}

/// The batch and its attacked twins, made against the current weights in eval mode, as one batch (defenses.md 2.6).
Batch Epoch::with_twins(const Batch& clean, int64_t step) {
  auto const& perturbations = trainer_.perturbations;
  const PerturbBatch& perturb = perturbations[static_cast<size_t>(step) % perturbations.size()];
  Tensor const twins = perturb(model_, clean, step, key(Purpose::attack_start, step));
  check(twins.shape() == clean.x.shape(), "adversarial training: twins ", twins.shape(), " of images ",
        clean.x.shape());
  return {concatenate(clean.x, twins), concatenate(clean.y, clean.y), concatenate(clean.ids, clean.ids)};
}

/// The factor of each image's loss in the batch's: 1 / sum of weights, and the share of its half when there are twins.
Tensor Epoch::loss_weights(const Tensor& losses, const std::vector<int32_t>& labels) const {
  double const sum = total_weight(options_.class_weights, labels), w = options_.adversarial_weight;
  std::vector<float> factors(labels.size(), static_cast<float>((is_adversarial() ? 1 - w : 1) / sum));
  if (is_adversarial()) factors.resize(2 * labels.size(), static_cast<float>(w / sum));
  return Tensor::from(factors, losses.shape(), losses.device()).cast(losses.dtype());
}

void Epoch::train(const Batch& clean, const std::vector<int32_t>& labels, int64_t step) {
  Batch const batch = is_adversarial() ? with_twins(clean, step) : clean;
  auto const& parameters = trainer_.optimizer().parameters();
  Tape tape;
  std::vector<Tensor> trained;
  for (auto const& [name, parameter] : parameters)
    if (parameter->trainable) {
      tape.watch(parameter->value);
      trained.push_back(parameter->value);
    }
  Context context{.training = true,
                  .fixed_statistics = options_.fixed_statistics,
                  .ids = batch.ids,
                  .key = key(Purpose::dropout, step)};
  Tensor const logits = trainer_.network()(batch.x, context);
  Tensor losses = cross_entropy(logits, batch.y, criterion_);
  for (auto const& [head, weight] : context.auxiliary)
    losses = add(losses, scale(cross_entropy(head, batch.y, criterion_), weight));
  std::vector<Tensor> found = tape.gradients(losses, loss_weights(losses, labels), trained), gradients;
  size_t next = 0;
  for (auto const& [name, parameter] : parameters)
    gradients.push_back(parameter->trainable ? std::move(found[next++]) : Tensor());
  trainer_.optimizer().step(gradients);

  int64_t const n = clean.size();
  clean_.add(losses.rows(0, n), logits.rows(0, n), labels);
  if (is_adversarial()) adversarial_.add(losses.rows(n, n), logits.rows(n, n), labels);
}

std::string describe(const EpochMetrics& m) {
  std::string text =
      cat("loss ", rounded(m.loss), ", accuracy ", rounded(m.accuracy), ", balanced ", rounded(m.balanced_accuracy));
  if (m.robust_balanced_accuracy) text += ", robust " + rounded(*m.robust_balanced_accuracy);
  return text;
}

std::string describe(const EpochReport& r, int64_t epochs) {
  return cat("epoch ", r.epoch, "/", epochs, ": train ", describe(r.train), "; validation ", describe(r.validation),
             "; rate ", rounded(r.learning_rate), ", ", rounded(r.images_per_second, 3), " images/s");
}

}  // namespace

Monitored monitored(const EpochReport& r) {
  if (r.validation.robust_balanced_accuracy) return {*r.validation.robust_balanced_accuracy, true};
  return {r.validation.loss, false};
}

Trainer::Trainer(Network& network, Optimizer& optimizer, TrainerOptions options)
    : network_(network), optimizer_(optimizer), options_(std::move(options)) {
  require(options_.batch >= 1, "training: a batch of ", options_.batch, " images");
  int64_t const classes = network.network_options().classes,
                weights = static_cast<int64_t>(options_.class_weights.size());
  require(weights == 0 || weights == classes, "training: ", weights, " class weights for ", classes, " classes");
}

void Trainer::unfreeze() {
  for (auto const& [name, parameter] : optimizer_.parameters())
    if (!parameter->buffer) parameter->trainable = true;
}

std::vector<EpochReport> Trainer::fit(const BatchSource& train, const BatchSource& validation, int64_t first_epoch) {
  int64_t const classes = network_.network_options().classes;
  require(train.classes() == classes, "training: images of ", train.classes(), " classes for a network of ", classes);
  require(train.size() >= std::min<int64_t>(2, options_.batch), "training: ", train.size(), " images are too few");
  std::vector<EpochReport> reports;
  for (int64_t epoch = first_epoch; epoch < options_.epochs && !stop_; ++epoch) {
    if (options_.unfreeze_after >= 0 && epoch >= options_.unfreeze_after) unfreeze();
    EpochReport r{.epoch = epoch + 1, .train = {}, .validation = {}, .learning_rate = optimizer_.learning_rate};
    auto const start = std::chrono::steady_clock::now();
    r.train = Epoch(*this, train, epoch).run();
    r.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    r.images_per_second = static_cast<double>(train.size()) / std::max(r.seconds, 1e-9);
    r.validation = validate(network_, validation, options_, validation_attack);
    say(describe(r, options_.epochs));
    for (auto const& callback : callbacks) callback->epoch_end(*this, r);
    reports.push_back(r);
  }
  for (auto const& callback : callbacks) callback->training_end(*this);
  return reports;
}

void Trainer::stop(const std::string& why) {
  stop_ = true;
  say("stopping: " + why);
}

Json Trainer::state() const {
  Json states = Json::array();
  for (auto const& callback : callbacks) states.push_back({{"name", callback->name()}, {"state", callback->state()}});
  return {{"learning_rate", optimizer_.learning_rate}, {"stopped", stop_}, {"callbacks", states}};
}

void Trainer::restore(const Json& state) try {
  optimizer_.learning_rate = state.at("learning_rate");
  stop_ = state.at("stopped");
  const Json& states = state.at("callbacks");
  require(states.size() == callbacks.size(), "resuming: the run had ", states.size(), " callbacks, not ",
          callbacks.size());
  for (size_t i = 0; i < callbacks.size(); ++i) {
    require(states[i].at("name") == callbacks[i]->name(), "resuming: the run had callback ", states[i].at("name"),
            ", not ", callbacks[i]->name());
    callbacks[i]->restore(states[i].at("state"));
  }
} catch (const Json::exception& e) {
  throw UsageError(cat("resuming: the saved state of training is damaged: ", e.what()));
}

int64_t resume(Trainer& trainer, const std::filesystem::path& last) {
  TrainingState const state = load_training_state(trainer.network(), trainer.optimizer(), last);
  trainer.restore(state.loop);
  return state.epoch;
}

EpochMetrics validate(Network& network, const BatchSource& source, const TrainerOptions& options,
                      const PerturbBatch& attack) {
  require(source.size() > 0, "validation: there are no images");
  NetworkClassifier model(network);
  CrossEntropyOptions const loss = criterion(options);
  Tally clean(options, source.classes(), "validation"), robust(options, source.classes(), "robust validation");
  auto const add = [&](Tally& tally, const Batch& batch, const std::vector<int32_t>& labels) {
    NoTape const no_tape;
    Context context{.ids = batch.ids};
    Tensor const logits = network(batch.x, context);
    tally.add(cross_entropy(logits, batch.y, loss), logits, labels);
  };
  for (int64_t first = 0; first < source.size(); first += options.batch) {
    std::vector<int64_t> positions(static_cast<size_t>(std::min(options.batch, source.size() - first)));
    std::iota(positions.begin(), positions.end(), first);
    Batch const batch = source.batch(positions, false, {});
    auto const labels = labels_at(source, positions);
    add(clean, batch, labels);
    // The same draws in every epoch, so that epochs can be compared.
    DrawKey const key{.seed = options.seed, .purpose = Purpose::attack_start};
    if (attack) add(robust, {attack(model, batch, 0, key), batch.y, batch.ids}, labels);
  }
  EpochMetrics metrics = clean.metrics();
  if (attack) metrics.robust_balanced_accuracy = robust.metrics().balanced_accuracy;
  return metrics;
}

}  // namespace mith
