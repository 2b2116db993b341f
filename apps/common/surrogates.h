// The networks that images are crafted on instead of the one they are meant for.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "apps/common/inputs.h"

namespace mith {

class Surrogates {
 public:
  /// Opens the models; with `ensemble` they are attacked as one. Throws UsageError if one does not take the images of
  /// every one of `targets`.
  Surrogates(const std::vector<std::string>& names, bool ensemble, Executor, const std::vector<const Model*>& targets);

  bool empty() const { return models_.empty(); }
  std::vector<const Model*> models() const;
  /// What to craft on, one after the other: every model, or the one ensemble.
  std::vector<Classifier*> classifiers() const;

 private:
  std::vector<Model> models_;
  std::unique_ptr<Classifier> ensemble_;
};

}  // namespace mith
