// The evaluation loop of every program: a clean row and one row an attack, over a classifier and a set of images.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "attacks/attack.h"
#include "data/dataset.h"
#include "engine/report/report.h"

namespace mith {

struct EvaluationOptions {
  int64_t batch = 128;
  uint64_t seed = 0;
  bool strict = false;
  bool keep_images = false;  ///< AttackOutcome::adversarial is filled
  std::string group = {};    ///< ReportRow::group of every row
};

/// Whether a prediction is what the attack wanted: `target`, or with a negative one anything but the label.
inline bool is_success(int64_t target, int32_t label, int32_t predicted) {
  return target < 0 ? predicted != label : predicted == target && label != target;
}

struct AttackOutcome {
  ReportRow row;
  int64_t target = -1;  ///< the attack's
  std::vector<int32_t> clean_predictions;
  std::vector<uint8_t> success;    ///< right before the attack and as it wants after, by re-evaluation
  std::vector<float> adversarial;  ///< [n,h,w,c], if kept
};

/// Softmax scores and predictions of a classifier over images.
struct Predictions {
  std::vector<float> logits, scores;  ///< [n*k]
  std::vector<int32_t> classes;       ///< [n]
};
/// Every pass sees `batch` images; a short one is filled up by repeating some, so that a library's choice of kernel
/// does not depend on how many are left.
Predictions predict(Classifier&, const BatchSource&, int64_t batch);
/// Of the images of one batch, `at_once` in a pass.
Predictions predict(Classifier&, const Batch&, int64_t at_once);
/// first, first + 1, ... first + count - 1.
std::vector<int64_t> positions_from(int64_t first, int64_t count);
/// Appends b to a.
void append(Predictions& a, const Predictions& b);

/// One model on one set of images. The clean predictions are computed once.
class Evaluation {
 public:
  Evaluation(Classifier& model, const ImageSource& images, EvaluationOptions);
  ReportRow clean() const;
  /// Attacks the images and evaluates what comes back anew: only what the model then gets wrong counts. With a
  /// surrogate the images are crafted on it (access: transfer); images the model had wrong stay as they are.
  AttackOutcome attack(const Attack&, Classifier* surrogate = nullptr);
  const Predictions& clean_predictions() const { return clean_; }

 private:
  ReportRow row_for(const Predictions&) const;
  std::vector<std::string> gate(Classifier&) const;
  void keep_mistakes(Tensor& adversarial, const Batch&, int64_t first) const;

  Classifier& model_;
  const ImageSource& images_;
  EvaluationOptions options_;
  Predictions clean_;
  double clean_seconds_ = 0;
};

/// The report's head, for rows to be added.
Report make_report(const std::string& title, const ImageSet&, const std::string& data, const std::string& default_part,
                   uint64_t seed);

}  // namespace mith
