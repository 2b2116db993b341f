// Universal attacks in the programs: crafted once for each model on a set of its own, then laid over every image.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "apps/common/evaluation.h"
#include "apps/common/inputs.h"
#include "attacks/universal.h"

namespace mith {

/// A universal attack whose crafting is done.
class CraftedAttack final : public Attack {
 public:
  CraftedAttack(std::unique_ptr<UniversalAttack> attack, const Universal& universal)
      : attack_(std::move(attack)), universal_(universal) {}
  AttackResult run(Classifier& model, const Batch& b, const AttackOptions& options) const override {
    return attack_->attack(model, universal_, b, options);
  }
  Threat threat() const override { return attack_->threat(); }
  std::string spec() const override { return attack_->spec(); }
  const UniversalAttack& attack() const { return *attack_; }
  const Universal& universal() const { return universal_; }

 private:
  std::unique_ptr<UniversalAttack> attack_;
  Universal universal_;
};

struct CraftingOptions {
  std::string craft;  ///< DATA:part; empty: the train part of `data`
  std::string data;   ///< DATA[:part] that is evaluated
  uint64_t seed = 0;
  int64_t batch = 128;
  bool strict = false;
};

/// Makes the attacks of a command, the universal ones crafted: once for each model and attack.
class Crafter {
 public:
  explicit Crafter(CraftingOptions options) : options_(std::move(options)) {}
  /// The images that are crafted on, as each of the models takes them; none if no attack is universal.
  std::vector<const ImageSet*> sets_for(const std::vector<const Model*>&, const std::vector<std::string>& attacks);
  /// The attack by its spec. A universal one is crafted on `crafted_on`, with the images as `model` takes them, and
  /// every pass is kept in the state, if there is one. Throws Interrupted when the user asks for the end.
  std::unique_ptr<Attack> make(const std::string& spec, Classifier& crafted_on, const Model& model, AttackState*);
  /// Finishes the row of an attack that make() gave; `images` are what it was evaluated on.
  void finish(ReportRow& row, const Attack&, const Model& model, const ImageSet& images);
  /// What was crafted, on which images, and what each pass found.
  const Json& report() const { return report_; }

 private:
  const Universal& crafted(const UniversalAttack&, Classifier& crafted_on, const Model&, AttackState*);
  const ImageSet& set_for(const Model&);
  std::string set_name() const;
  CraftingOptions options_;
  std::map<std::string, ImageSet> sets_;                                ///< by model
  std::map<std::pair<std::string, std::string>, Universal> universal_;  ///< by spec and model
  Json report_ = Json::array();
};

/// Throws UsageError for a --craft that none of the attacks needs.
void require_universal(const std::string& craft, const std::vector<std::string>& attacks);

/// perturbation.npy [h,w,c] and perturbation.png, stretched to the whole range around grey; or patch.npy and patch.png
/// as it is. Returns what the manifest says of it: with patch-eot also the success at several scales.
Json write_crafted(const CraftedAttack&, Classifier& model, const ImageSource&, const EvaluationOptions&,
                   const std::filesystem::path& folder);

}  // namespace mith
