// A model's accuracy on a set of images, clean and under attack.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "apps/common/attack_state.h"
#include "apps/common/books.h"
#include "apps/common/predictions.h"
#include "attacks/attack.h"
#include "data/dataset.h"
#include "engine/report/report.h"

namespace mith {

struct EvaluationOptions {
  int64_t batch = 128;  ///< images in a pass; Evaluation's own are no more than there are
  uint64_t seed = 0;
  bool strict = false;
  bool keep_images = false;  ///< AttackOutcome::adversarial is filled
  std::string group = {};    ///< ReportRow::group of every row
  /// Where finished chunks of images are kept; null: nowhere. Not owned.
  AttackState* state = nullptr;
};

struct AttackOutcome {
  ReportRow row;
  int64_t target = -1;  ///< the attack's
  std::vector<int32_t> clean_predictions;
  std::vector<uint8_t> success;    ///< right before the attack and as it wants after, by re-evaluation
  std::vector<float> adversarial;  ///< [n,h,w,c], if kept
};

/// One model on one set of images. The clean predictions are computed once.
class Evaluation {
 public:
  Evaluation(Classifier& model, const ImageSource& images, EvaluationOptions);
  ReportRow clean() const;
  /// As attack_all, on this model alone.
  AttackOutcome attack(const Attack&, Classifier* surrogate = nullptr) const;

  Classifier& model() const { return model_; }
  const ImageSource& images() const { return images_; }
  const EvaluationOptions& options() const { return options_; }
  const Predictions& clean_predictions() const { return clean_; }
  /// A row of these predictions, without an attack's own figures.
  ReportRow row_for(const Predictions&) const;

 private:
  Classifier& model_;
  const ImageSource& images_;
  EvaluationOptions options_;
  Predictions clean_;
  double clean_seconds_ = 0;
};

/// Attacks the images once and evaluates what comes back anew on every target: only what a model then gets wrong
/// counts. The images are crafted on the surrogate (access: transfer), where images that a target had wrong stay as
/// they are for it, or without one on the only target's model. All targets have the same images, and the first one's
/// options. Throws Interrupted, between steps, when the user asks for the end.
std::vector<AttackOutcome> attack_all(const Attack&, const std::vector<const Evaluation*>& targets,
                                      Classifier* surrogate);

/// The clean images that mixing attacks take their partners from: the first of every class, then the second of every
/// class, and so on, until there are 64, and 64 of other classes for the images of each, or all that the set has. They
/// depend on the set alone, never on a batch of it.
Batch mixing_partners(const BatchSource&);

/// The report's head, for rows to be added.
Report make_report(const std::string& title, const ImageSet&, const std::string& data, const std::string& default_part,
                   uint64_t seed);

}  // namespace mith
