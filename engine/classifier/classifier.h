// What an attack sees of a network, and of anything that classifies images.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "engine/nn/network.h"
#include "engine/tensor/tensor.h"
#include "kernels/launch/philox.h"
#include "kernels/providers/fixed_weights.h"

namespace mith {

/// Images with their labels and ids; the ids travel because every random draw is keyed by them.
struct Batch {
  Tensor x;    ///< f32 [n,h,w,c] in [0, 1]
  Tensor y;    ///< i32 [n]
  Tensor ids;  ///< i64 [n]
  int64_t size() const { return x.dim(0); }
};
/// Rows of a batch.
Batch select(const Batch&, const std::vector<int64_t>& rows);
Batch slice(const Batch&, int64_t first, int64_t count);

/// What an attack makes large, one value an image. z are the logits, y the label.
struct Loss {
  enum Kind : uint8_t {
    cross_entropy,  ///< logsumexp(z) - z_y
    margin,         ///< max_{i != y} z_i - z_y; with `others`: z_other - z_y
    /// The margin divided by z_(1) - z_(3), with `others` by z_(1) - (z_(3) + z_(4)) / 2, plus 1e-12, z_(k) the k-th
    /// largest logit (Croce & Hein 2020, eq. 6 and 7). Of three classes both divide by z_(1) - z_(3); two have the
    /// plain margin.
    dlr,
    kl  ///< KL(probabilities || softmax(z)); without labels
  } kind = cross_entropy;
  Tensor labels;  ///< i32 [n]: the true class, or the target
  /// Minimises what the kind says of the label instead of maximising it. A value, not a mode: never flip the step's
  /// sign as well.
  bool targeted = false;
  /// The gradient of a cross-entropy may carry any positive factor per image; then it cannot underflow (see
  /// CrossEntropyOptions).
  bool direction_only = false;
  Tensor others = {};         ///< i32 [n], margin and dlr: the one class to compare the label with
  Tensor probabilities = {};  ///< f32 [n,k], kl
};
/// Weights [n,k] on the logits, or on a named feature: the gradient of their weighted sum.
struct OnLogits {
  Tensor weights;
};
struct OnFeature {
  std::string name;
  Tensor weights;
};
struct Outputs;
/// Any function of a pass's outputs: between forward and backward, told the logits and the wanted features, `weights`
/// gives the function's gradient with respect to any of them, by name; that of the logits is "logits".
struct OnOutputs {
  std::function<std::map<std::string, Tensor>(const Outputs&)> weights;
};
using Cotangent = std::variant<Loss, OnLogits, OnFeature, OnOutputs>;
/// That of some of the images. Throws Error for OnOutputs, which is told of all.
Cotangent select(const Cotangent&, const std::vector<int64_t>& rows);

struct Want {
  bool logits = false, loss = false, input_gradient = false;
  std::vector<std::string> features;  ///< by name; all_features for whatever there is
};
constexpr const char* all_features = "*";

struct Outputs {
  Tensor logits;          ///< f32 [n,k]
  Tensor loss;            ///< f32 [n]
  Tensor input_gradient;  ///< f32 [n,h,w,c], of the sum over images of the loss
  std::map<std::string, Tensor> features;
};

/// Counts of images passed, for reports.
struct Usage {
  int64_t forwards = 0, gradients = 0;
};

class Classifier {
 public:
  virtual ~Classifier() = default;
  /// One pass; weights, mode and random state stay as they are. Batch norm and dropout are in eval mode.
  Outputs evaluate(const Batch&, const Cotangent&, const Want&, const DrawKey& = {});
  /// Logits only.
  Tensor logits(const Batch& b, const DrawKey& key = {});

  virtual int64_t classes() const = 0;
  virtual Shape image_shape() const = 0;  ///< [h,w,c]
  virtual bool randomised() const { return false; }
  /// Whether a pass gives the same logits with a gradient as without. If not, of what a pass with a gradient says only
  /// mistakes count.
  virtual bool consistent() const { return true; }
  virtual std::string name() const = 0;  ///< for reports
  /// How a gradient flows through it: "exact", "bpda: ...", "eot: ...".
  virtual std::string gradient_path() const { return "exact"; }
  const Usage& usage() const { return usage_; }

 protected:
  virtual Outputs run(const Batch&, const Cotangent&, const Want&, const DrawKey&) = 0;

 private:
  Usage usage_;
};

/// The eager network as a classifier. Does not own the network.
class NetworkClassifier final : public Classifier {
 public:
  /// Whether the network's weights may still change: if not, what libraries make of them is kept.
  enum Weights : uint8_t { changing, fixed };
  explicit NetworkClassifier(Network& network, std::string name = "network", Weights = changing);
  int64_t classes() const override { return network_.network_options().classes; }
  Shape image_shape() const override;
  std::string name() const override { return name_; }

 protected:
  Outputs run(const Batch&, const Cotangent&, const Want&, const DrawKey&) override;

 private:
  Network& network_;
  std::string name_;
  std::unique_ptr<FixedWeights> fixed_;
};

/// Per-image loss of the given kind, differentiable: what NetworkClassifier and every other classifier use.
Tensor loss_of(const Tensor& logits, const Loss&);

}  // namespace mith
