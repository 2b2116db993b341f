// What one attack did to one model's predictions, gathered chunk by chunk.
#pragma once
#include <array>
#include <string>
#include <vector>

#include "apps/common/predictions.h"
#include "attacks/attack.h"
#include "engine/report/report.h"

namespace mith {

/// Whether a prediction is what the attack wanted: `target`, or with a negative one anything but the label.
inline bool is_success(int64_t target, int32_t label, int32_t predicted) {
  return target < 0 ? predicted != label : predicted == target && label != target;
}

/// How one image was changed.
struct Distance {
  double linf = 0, l2 = 0, l1 = 0;
  double l0 = 0;  ///< pixels, whatever their channels
  /// In that norm; linf for "region".
  double in(const std::string& norm) const;
};

class Books {
 public:
  struct Options {
    Threat threat;
    bool transfer = false;     ///< crafted on another model, whose successes say nothing of this one
    bool keep_images = false;  ///< `adversarial` is filled
  };
  /// Does not own the images and the clean predictions.
  Books(const BatchSource& images, const Predictions& before, Options);

  /// Enters images [first, first + n): what the attack gave and what the model then predicts.
  void add(const Batch& clean, const AttackResult&, const Tensor& adversarial, const Predictions& now, int64_t first);
  /// Everything but the metrics of the predictions.
  void fill(ReportRow&) const;

  /// "fooled 12 of 50".
  std::string note() const;
  int64_t standing() const { return standing_; }  ///< of the images entered, those that are still right

  Predictions after;
  std::vector<uint8_t> success;
  std::vector<float> adversarial;
  double seconds = 0;

 private:
  void enter(const AttackResult&, const Distance&, const Predictions& now, size_t at, size_t row);
  void fill_queries(ReportRow&) const;
  void fill_distances(ReportRow&) const;
  void merge_stages(const std::vector<AttackStage>&);
  void warn_of_masking(ReportRow&) const;
  std::vector<Panel> panels() const;

  const BatchSource& images_;
  const Predictions& before_;
  Options options_;
  std::vector<Distance> distances_;      // of the successes
  std::vector<double> success_queries_;  // of the successes
  std::vector<AttackStage> stages_;
  std::vector<std::string> warnings_;
  std::vector<std::vector<Panel>> panels_;  // of each class
  double linf_max_ = 0, l2_sum_ = 0, queries_ = 0, gradients_ = 0, most_queries_ = 0;
  int64_t right_before_ = 0, fooled_ = 0, standing_ = 0, unconfirmed_ = 0, nan_gradients_ = 0;
};

}  // namespace mith
