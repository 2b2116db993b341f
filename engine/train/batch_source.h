// What the training loop reads: implemented by data, perturbed by defences.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/classifier/classifier.h"

namespace mith {

/// A finite, indexable set of labelled images.
class BatchSource {
 public:
  virtual ~BatchSource() = default;
  virtual int64_t size() const = 0;
  virtual int64_t classes() const = 0;
  virtual Shape image_shape() const = 0;  ///< [h,w,c]
  virtual const std::vector<int32_t>& labels() const = 0;
  virtual const std::vector<std::string>& class_names() const = 0;
  /// Images at these positions, on the default device, f32 in [0, 1]; ids are the images' own, not positions.
  /// With `augment`, flips and rotations are drawn from the key and the ids.
  virtual Batch batch(const std::vector<int64_t>& positions, bool augment, const DrawKey& key) const = 0;
};

/// A permutation of [0, n) drawn from the key.
std::vector<int64_t> shuffled(int64_t n, const DrawKey& key);

/// Makes the attacked twin of a training batch against the current weights; set by defences.
using PerturbBatch = std::function<Tensor(Classifier& model, const Batch& clean, int64_t step, const DrawKey& key)>;

}  // namespace mith
