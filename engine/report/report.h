// report.json for machines and report.html for people: one self-contained page.
#pragma once
#include <array>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "engine/files/run_folder.h"
#include "engine/report/metrics.h"
#include "engine/tensor/tensor.h"

namespace mith {

/// Three pictures of one image under one attack.
struct Panel {
  Tensor clean, adversarial;  ///< f32 [h,w,c] on the cpu, in [0, 1]
  std::string true_class, clean_prediction, adversarial_prediction;
  double clean_confidence = 0, adversarial_confidence = 0;
};

/// Sizes of the changes that an attack's successes took, in pixel units; NaN without successes.
struct SuccessDistances {
  double l2_mean = 0, l2_median = 0, linf_mean = 0, linf_median = 0;
};

/// What one part of an ensemble of attacks left standing.
struct ReportStage {
  std::string attack;    ///< canonical spec
  int64_t standing = 0;  ///< images that are still right after it
};

/// x and y, x not falling.
using Points = std::vector<std::array<double, 2>>;

/// One line of the accuracy table.
struct ReportRow {
  std::string model, defense;    ///< defense: empty for none
  std::string attack;            ///< canonical spec; empty: the clean row
  bool adaptive = true;          ///< the attacker knew the defence
  std::string norm = "linf";     ///< threat model
  double eps = -1;               ///< negative where the attack looks for a small change instead of keeping to a ball
  std::string access = "white";  ///< white | score | transfer | universal
  std::string crafted_on;        ///< the model whose gradients were used
  Metrics metrics;
  std::vector<float> scores;  ///< [n*k] softmax, for ROC curves
  std::vector<int32_t> labels, predictions;
  int64_t abstained = 0;
  int64_t attacked = 0, fooled = 0;  ///< images that were right before the attack, and those of them it fooled
  double attack_success_rate = 0;    ///< fooled / attacked
  double linf_max = 0, l2_mean = 0, queries_mean = 0, seconds = 0, images_per_second = 0;
  double gradients_mean = 0;                                         ///< backward passes spent on an image
  double queries_median = std::numeric_limits<double>::quiet_NaN();  ///< of the successes
  Points queries_curve;                       ///< of score access: queries, share of the attacked images fooled by then
  std::optional<SuccessDistances> distances;  ///< of attacks that look for a small change
  Points distance_curve;  ///< theirs: size in `norm`, accuracy where the attacker may change no more than that
  std::vector<ReportStage> stages;
  int64_t nan_gradients = 0;
  std::vector<std::string> warnings;  ///< e.g. signs of gradient masking
  std::vector<Panel> panels;
  std::string group;  ///< "Before" / "After" in the demo; empty elsewhere
};

struct Report {
  std::string title = "Mithridate report";
  uint64_t seed = 0;
  std::string device, data_source, data_split;
  int64_t n = 0;
  std::vector<std::string> classes;
  std::vector<ReportRow> rows;
  Json configuration;  ///< printed at the end of the page
};

Json to_json(const Report&);  ///< the schema of docs/cli.md, schema 1
std::string to_html(const Report&);
/// The accuracy table as text, for terminals.
std::string to_table(const Report&);
/// Writes report.json and report.html into the folder.
void write_report(const Report&, const std::filesystem::path& folder);

/// PNG bytes of an image [h,w,c] (c = 1 or 3), values in [0, 1], enlarged by whole pixels to at least `least` wide.
std::vector<uint8_t> encode_png(const Tensor& image, int64_t least = 0);

}  // namespace mith
