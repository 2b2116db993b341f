// MODEL and DATA of a command line, opened and made to fit each other.
#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "engine/classifier/classifier.h"
#include "engine/files/run_folder.h"
#include "engine/frozen/mixed.h"

namespace mith {

/// How a model's network runs: a FrozenNetwork, a MixedNetwork, or operator by operator.
enum class Executor : uint8_t { frozen, mixed, eager };
constexpr const char* name_of(Executor e) {
  return e == Executor::eager ? "eager" : e == Executor::mixed ? "frozen, gradients in bf16" : "frozen";
}
/// What --eager and --precision ask for. Throws UsageError where they do not go together.
Executor executor_for(bool eager, const std::string& precision);

struct Model {
  std::string name;  ///< as the command line has it
  std::unique_ptr<Network> network;
  std::unique_ptr<Classifier> classifier;
  Executor executor = Executor::eager;  ///< the classifier's
  Json configuration;                   ///< the run's config.json; null for bare weights
};

/// With its plans for one image, so that what cannot run in bf16 is noticed now: UsageError naming the network.
std::unique_ptr<MixedNetwork> make_mixed(Network&, const std::string& name);

/// A run folder or NET@weights.safetensors. A network that cannot be frozen runs eager, with a warning; one that cannot
/// run in bf16 is an error. Throws UsageError naming it, also for a `+defence` suffix.
Model open_model(const std::string& text, Executor = Executor::frozen);

/// For reports: how each model runs, by its name.
Json executors_of(const std::vector<const Model*>& models, const std::vector<const Model*>& surrogates);

/// A run's config.json; null without one. UsageError if it is no JSON.
Json configuration_of(const std::filesystem::path& run);

struct PartOptions {
  std::string default_part = "test";  ///< when DATA names none
  int64_t limit = 0;                  ///< 0: all; else the first images of each class, in proportion
  bool strict = false;
};
/// DATA[:part] at the model's image shape, labels in the model's class order, and split as the model's run split it:
/// a model never meets its training images in another part.
ImageSet open_part(const std::string& data, const Model&, const PartOptions&);

/// Positions of `limit` images: each class's share is its share of the whole, its first images are taken, and the
/// data's order is kept.
std::vector<int64_t> stratified_first(const std::vector<int32_t>& labels, int64_t limit);

/// Throws UsageError unless the surrogate takes the model's images and has its classes, in its order where both name
/// them.
void require_same_images(const Model& surrogate, const Model&);

/// True if both texts name the same source on this machine.
bool same_source(const std::string& a, const std::string& b);
/// A source as it is named from any working folder: a path made absolute, synthetic:NAME as it is.
std::string lasting_name(const std::string& source);

}  // namespace mith
