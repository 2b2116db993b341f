// Adversarial training images that were crafted beforehand: --adversarial-data DIR, the output of mith-attack.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace mith {

struct OfflineTwins {
  std::vector<PerturbBatch> perturbations;  ///< one an attack in the folder
  std::vector<std::string> attacks;         ///< their specs
};

/// Reads DIR/attack.json and every attack's adversarial.npy and ids.npy. Every training image must have its twin;
/// anything else throws UsageError naming the file.
OfflineTwins read_offline_twins(const std::filesystem::path& folder, const ImageSet& train);

}  // namespace mith
