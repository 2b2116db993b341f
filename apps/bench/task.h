// Something that mith-bench can measure again and again.
#pragma once
#include <memory>
#include <string>

#include "engine/files/json.h"

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
};

/// Most memory that the process has held, in MiB.
double peak_resident_mib();

/// A training step of a network with fresh weights without its optimiser: forward, loss, gradients of all parameters,
/// on `batch` images of noise. describe() adds who computes each convolution and linear layer, and the largest resident
/// memory of the process so far.
std::unique_ptr<Task> network_task(const std::string& net, int64_t size, int64_t batch, int64_t seed);

}  // namespace mith::bench
