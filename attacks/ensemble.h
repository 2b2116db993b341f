// Several networks attacked as one (Dong et al. 2018, section 3.2): what fools all of them is more likely to fool
// another.
#pragma once
#include <string>
#include <vector>

#include "engine/classifier/classifier.h"

namespace mith {

/// Where the members' outputs meet, with equal weights.
enum class Fusion : uint8_t {
  logits,         ///< z = mean of the members' logits
  probabilities,  ///< z = log of the mean of the members' softmax, whose own softmax is that mean
  loss            ///< the mean of the members' losses; its logits, and their gradients, are those of `logits`
};
/// "logits", "probabilities" or "loss".
Fusion parse_fusion(const std::string&);

/// A classifier over others, which it does not own. Features are the members': "0/stage4" is member 0's stage4.
class EnsembleClassifier final : public Classifier {
 public:
  /// Throws UsageError where members differ in image shape or number of classes.
  explicit EnsembleClassifier(std::vector<Classifier*> members, Fusion = Fusion::logits);
  int64_t classes() const override { return members_.front()->classes(); }
  Shape image_shape() const override { return members_.front()->image_shape(); }
  bool randomised() const override;
  bool consistent() const override;
  std::string name() const override;
  std::string gradient_path() const override;

 protected:
  Outputs run(const Batch&, const Cotangent&, const Want&, const DrawKey&) override;

 private:
  Outputs mean_of_losses(const Batch&, Loss, const Want&, const DrawKey&);
  Outputs member_outputs(size_t member, const Batch&, const Cotangent&, const Want&, const DrawKey&);
  Tensor gradient_of_fused(const Batch&, const std::vector<Tensor>& logits, const Tensor& fused, const Tensor& weights,
                           const DrawKey&);

  std::vector<Classifier*> members_;
  Fusion fusion_;
};

}  // namespace mith
