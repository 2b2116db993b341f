// A network compiled for attacks: its weights no longer change, and nothing is asked of it but logits and input
// gradients, thousands of times.
//
// It is traced from one eager pass. Batch norms are folded into the products beside them, products add residuals, of a
// ReLU one bit an element is kept, channels are joined by writing them side by side to begin with, and all memory is
// planned once a batch size. What comes out is the same classifier, to rounding.
#pragma once
#include <map>
#include <memory>
#include <string>

#include "engine/classifier/classifier.h"
#include "kernels/providers/fixed_weights.h"

namespace mith {

namespace frozen {
struct Graph;
class Plan;
struct Timeline;
}  // namespace frozen

class FrozenNetwork final : public Classifier {
 public:
  /// Does not own the network, whose weights must stay as they are as long as this lives; named features come from its
  /// eager pass. Throws Error if the network cannot be frozen, as one whose constants differ between images.
  /// In bf16 what lies between the normalisation and the logits is rounded to it, where it has such a form, and
  /// products accumulate in f32: 2 to 3 digits, so what it finds is to be confirmed in f32.
  explicit FrozenNetwork(Network& network, const std::string& name = "network", DType precision = DType::f32);
  ~FrozenNetwork() override;
  int64_t classes() const override { return eager_.classes(); }
  Shape image_shape() const override { return eager_.image_shape(); }
  std::string name() const override { return eager_.name(); }

  const frozen::Graph& graph() const { return *graph_; }
  /// The plan for this many images: that of the next larger size for which there are plans, at most a sixteenth more.
  frozen::Plan& plan(int64_t images);
  /// From now on every step of every pass waits for the device and is noted; null ends that.
  void record(frozen::Timeline* timeline) { timeline_ = timeline; }
  /// How often weights were reordered into a layout that a library wants. Products of plans have fixed weights and
  /// cannot reorder them but to keep them, so this counts all.
  size_t reorders() const { return weights_->forms(); }

 protected:
  Outputs run(const Batch&, const Cotangent&, const Want&, const DrawKey&) override;

 private:
  NetworkClassifier eager_;
  std::unique_ptr<frozen::Graph> graph_;
  std::unique_ptr<FixedWeights> weights_;
  std::map<int64_t, std::unique_ptr<frozen::Plan>> plans_;
  Tensor arena_;
  frozen::Timeline* timeline_ = nullptr;
};

}  // namespace mith
