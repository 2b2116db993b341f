// Something that mith-bench can measure again and again.
#pragma once
#include <memory>
#include <string>

#include "apps/common/inputs.h"
#include "data/dataset.h"
#include "engine/files/json.h"
#include "engine/nn/network.h"

namespace mith::bench {

struct Round {
  double seconds = 0;
  int64_t images = 0;
  double accuracy = 0;           ///< in training, or left by the attack: other engines must come near it
  double peak_resident_mib = 0;  ///< most memory that the process has held
  double forwards = 0;           ///< attack: passes of the network an image
  Json json() const {
    return {{"seconds", seconds},
            {"images", images},
            {"accuracy", accuracy},
            {"peak_resident_mib", peak_resident_mib},
            {"forwards", forwards}};
  }
};

struct Task {
  virtual ~Task() = default;
  virtual Round run() = 0;
  virtual Json describe() const = 0;
  /// Where the time goes, from one more batch; null where that is not known. With a file also when every step ran, as
  /// a trace for Chrome.
  virtual Json profile([[maybe_unused]] const std::string& trace_file) { return nullptr; }
};

/// Most memory that the process has held, in MiB.
double peak_resident_mib();

struct AttackTaskOptions {
  std::string attack;
  int64_t batch = 128, limit = 512, seed = 0;
  Executor executor = Executor::frozen;
};
/// Does not own the network. Its profile: "steps" with names, means of seconds, flops and bytes by pass, and shares of
/// the time and of the floor; and the totals of one batch.
std::unique_ptr<Task> attack_task(Network&, const ImageSet& test, const AttackTaskOptions&);
/// The steps that took longest, at most `most`, and a line of totals.
std::string profile_table(const Json& profile, int64_t most);

/// A training step of a network with fresh weights without its optimiser: forward, loss, gradients of all parameters,
/// on `batch` images of noise. describe() adds who computes each convolution and linear layer, and the largest resident
/// memory of the process so far.
std::unique_ptr<Task> network_task(const std::string& net, int64_t size, int64_t batch, int64_t seed);

}  // namespace mith::bench
