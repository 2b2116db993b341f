// What a set of predictions is worth, with its uncertainty.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace mith {

/// A prediction that is none: it counts as wrong and stands in no column of the confusion matrix.
constexpr int32_t abstention = -1;

struct Metrics {
  int64_t n = 0;
  std::vector<std::vector<int64_t>> confusion;  ///< [i][j]: true class i predicted as j
  double accuracy = 0, balanced_accuracy = 0;   ///< balanced: mean recall over classes that occur
  std::array<double, 2> accuracy_ci95{};        ///< Wilson
  std::vector<double> precision, recall, f1;    ///< per class; NaN where undefined (no such image or prediction)
  double precision_macro = 0, recall_macro = 0, f1_macro = 0;  ///< over classes that occur; undefined precision is 0
  double auc_macro = 0;  ///< one class against the rest, mean over classes that occur; NaN without scores
};

/// `labels` in [0, k), `predictions` too or `abstention`; `scores` [n*k] row-major, one a class (softmax or logits), or
/// empty.
Metrics compute_metrics(std::span<const int32_t> labels, std::span<const int32_t> predictions,
                        std::span<const float> scores, int64_t k);

/// Wilson score interval for `successes` of `n` at 95 % (Wilson 1927); [0, 1] for n = 0.
std::array<double, 2> wilson95(int64_t successes, int64_t n);
/// Area under the ROC curve of scores for positives against negatives, ties counted half (Mann-Whitney). NaN without
/// positives or negatives, or with a NaN among the scores; the curve is empty then.
double roc_auc(std::span<const float> scores, std::span<const uint8_t> positive);
/// Points (false positive rate, true positive rate) of the ROC curve, from (0,0) to (1,1).
std::vector<std::array<double, 2>> roc_curve(std::span<const float> scores, std::span<const uint8_t> positive);
/// Exact two-sided McNemar test: the probability of a split of the discordant pairs at least as uneven as (only_a,
/// only_b).
double mcnemar(int64_t only_a, int64_t only_b);

}  // namespace mith
