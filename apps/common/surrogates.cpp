#include "apps/common/surrogates.h"

#include "attacks/ensemble.h"
#include "kernels/launch/error.h"

namespace mith {

Surrogates::Surrogates(const std::vector<std::string>& names, bool ensemble, Executor executor,
                       const std::vector<const Model*>& targets) {
  for (const std::string& name : names) models_.push_back(open_model(name, executor));
  for (const Model& model : models_)
    for (const Model* target : targets) require_same_images(model, *target);
  if (!ensemble) return;
  require(models_.size() > 1, "--ensemble: needs more than one --surrogate");
  ensemble_ = std::make_unique<EnsembleClassifier>(classifiers());
}

std::vector<const Model*> Surrogates::models() const {
  std::vector<const Model*> all;
  for (const Model& model : models_) all.push_back(&model);
  return all;
}

std::vector<Classifier*> Surrogates::classifiers() const {
  if (ensemble_) return {ensemble_.get()};
  std::vector<Classifier*> all;
  for (const Model& model : models_) all.push_back(model.classifier.get());
  return all;
}

}  // namespace mith
