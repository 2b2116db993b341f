// A frozen network in two precisions: directions in bf16, decisions in f32.
#pragma once
#include "engine/frozen/frozen.h"

namespace mith {

/// Passes that are asked for a gradient run in bf16, all others in f32. An image that a bf16 pass takes for something
/// else than its label is asked about again in f32, whose logits and loss it gets: an attack steps along bf16
/// gradients, and no success counts that f32 does not confirm. Images that bf16 gets right keep its logits, so such a
/// pass is not the last word on them. How many images are asked about again decides the size of that f32 pass, so its
/// roundings depend on the rest of the batch.
class MixedNetwork final : public Classifier {
 public:
  /// As a FrozenNetwork of each precision.
  explicit MixedNetwork(Network& network, const std::string& name = "network");
  int64_t classes() const override { return wide_.classes(); }
  Shape image_shape() const override { return wide_.image_shape(); }
  bool consistent() const override { return false; }
  std::string name() const override { return wide_.name(); }
  FrozenNetwork& narrow() { return narrow_; }
  FrozenNetwork& wide() { return wide_; }

 protected:
  Outputs run(const Batch&, const Cotangent&, const Want&, const DrawKey&) override;

 private:
  FrozenNetwork narrow_, wide_;
};

}  // namespace mith
