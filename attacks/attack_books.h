// What an attack has achieved so far, image by image, in evaluation mode (attacks.md 0.6).
#pragma once
#include <string>
#include <vector>

#include "attacks/attack.h"

namespace mith {

/// Keeps the best iterate of each image: the last that fools the model, else the one of the largest loss.
/// Images that the model has wrong to begin with, or that are of the target class, are never open.
class AttackBooks {
 public:
  /// `target` negative: any class but the label. Throws UsageError for a label or target outside the model's classes.
  AttackBooks(const std::string& attack, const Batch&, int64_t target, int64_t classes);

  /// The clean pass, which cost that many passes of each kind.
  void open(const Tensor& logits, const Tensor& loss, int queries, int gradients);
  /// Images that were right and still are.
  std::vector<int64_t> open_rows() const;
  /// Enters iterates `adv` of the images `rows` with their logits and losses: the better ones, or the last ones, good
  /// or bad. Returns the positions within `rows` of those that do not fool the model.
  std::vector<int64_t> enter(const std::vector<int64_t>& rows, const Tensor& adv, const Tensor& logits,
                             const std::vector<float>& loss, bool only_better = true);
  void count(const std::vector<int64_t>& rows, int queries, int gradients);
  int64_t standing() const { return static_cast<int64_t>(open_rows().size()); }
  AttackResult& result() { return result_; }

 private:
  const Batch& batch_;
  int64_t target_;
  std::vector<int32_t> labels_;
  AttackResult result_;
};

/// Throws UsageError unless every label of the batch, and the target if it is not negative, is one of the classes.
void check_goals(const std::string& attack, const Batch&, int64_t target, int64_t classes);

}  // namespace mith
