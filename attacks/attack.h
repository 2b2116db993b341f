// Attacks: one file each, written once against Classifier.
//
// An iterative attack is a configuration struct with start, loss and step (see pgd.h); the driver in driver.h runs the
// loop and keeps the books: which images were wrong to begin with, the best iterate, restarts, early success. Anything
// else derives from Attack directly.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "engine/classifier/classifier.h"
#include "engine/spec/registry.h"

namespace mith {

struct Threat {
  std::string norm = "linf";     ///< linf | l2 | l1 | l0 | region
  double eps = -1;               ///< radius in pixel units; negative where the attack minimises it
  std::string access = "white";  ///< white | score | transfer | universal
  int64_t target = -1;           ///< the class that every image is to be taken for; negative: any but its own
};

/// How far an attack on one batch has come.
struct AttackProgress {
  int64_t done = 0, total = 0;  ///< steps
  int64_t standing = -1;        ///< images that are still right; -1: not known
};

struct AttackOptions {
  uint64_t seed = 0;
  /// Evaluation: images that are wrong to begin with stay as they are, the best iterate is kept (attacks.md 0.6).
  /// Training: every image is attacked once, without restarts, and the last iterate returned; the result's books stay
  /// empty, because keeping them would cost passes.
  bool evaluation = true;
  /// Images the network sees at once; 0: as many as are attacked. Fewer are filled up to it by repeating some, so that
  /// a library's choice of kernel, and so the last bit, does not depend on how many are left. Attacking several
  /// batches' worth in one call is faster: images that are fooled make room for others.
  int64_t batch = 0;
  int64_t step = 0;     ///< position in training, so that draws differ between epochs
  bool strict = false;  ///< NaN gradients are an error
  /// Clean images that mixing attacks (Admix, USMM) take their partners from, so that an image's partner does not
  /// depend on its batch; without any they come from the batch.
  Batch partners = {};
  std::function<void(const AttackProgress&)> progress = {};
};

/// What one part of an ensemble left standing.
struct AttackStage {
  std::string attack;    ///< canonical spec of the part
  int64_t standing = 0;  ///< images that are still right after it
};

struct AttackResult {
  Tensor adversarial;                           ///< f32 [n,h,w,c]
  std::vector<uint8_t> clean_correct, success;  ///< success: right before; wrong, or the target, after
  std::vector<float> loss;                      ///< of the returned image, as the attack maximises it
  std::vector<int64_t> queries;                 ///< forward passes spent on each image
  std::vector<int64_t> gradients;               ///< backward passes spent on each image
  int64_t nan_gradients = 0;                    ///< pixels left in place because their gradient was NaN
  std::vector<AttackStage> stages;              ///< of an ensemble of attacks
  std::vector<std::string> warnings;            ///< what makes the result doubtful, for the report
};

class Attack {
 public:
  virtual ~Attack() = default;
  virtual AttackResult run(Classifier&, const Batch&, const AttackOptions&) const = 0;
  virtual Threat threat() const = 0;
  virtual std::string spec() const = 0;  ///< canonical, with every field
};

using AttackRegistry = Registry<Attack>;
/// "pgd:eps=8/255,steps=20".
std::unique_ptr<Attack> make_attack(const std::string& spec);

/// Whether every row of logits [n,k] lies in [0, 1] and sums to 1, as behind a softmax.
bool look_like_probabilities(const Tensor& logits);

/// The gate of attacks.md 0.8, before every attack on a data set: inputs in [0, 1]; the attack's data path with a zero
/// budget reproduces the plain predictions; logits are not already softmaxed; two forwards agree to 1e-4; the loss has
/// a gradient for most images. Throws Error on the first four (UsageError for inputs out of range); returns warnings.
std::vector<std::string> sanity_gate(Classifier&, const Batch& sample, const DrawKey&);

}  // namespace mith
