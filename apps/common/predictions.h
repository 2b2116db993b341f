// What a classifier says of images.
#pragma once
#include <filesystem>
#include <vector>

#include "data/dataset.h"
#include "engine/report/report.h"
#include "engine/train/batch_source.h"

namespace mith {

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

/// predictions.csv, for paired comparisons: a line for each image with its id, name and label, then the class that each
/// row of the report predicts, in the report's order. Classes are counted as in the report's list of them.
void write_predictions(const Report&, const ImageSet&, const std::filesystem::path& folder);

}  // namespace mith
