// What mith-attack writes: arrays of every attack, and 8-bit class folders with --png.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "apps/common/evaluation.h"

namespace mith {

/// A folder name for each attack: its name, then name-2, name-3, ...
std::vector<std::string> attack_folders(const std::vector<std::string>& specs);

/// adversarial.npy [n,h,w,c] f32, labels.npy, ids.npy, clean_predictions.npy, adversarial_predictions.npy.
void write_attack(const AttackOutcome&, const ImageSet&, const std::filesystem::path& folder);

/// An image [h,w,1 or 3] in [0, 1], enlarged by whole pixels to at least `least` wide.
void write_png(const Tensor& image, const std::filesystem::path& file, int64_t least = 0);

struct PngExport {
  int64_t written = 0, successes_before = 0, successes_after = 0;
};
/// folder/<class>/<name>.png, every pixel rounded inside the ball of `eps` (attacks.md 0.7); the saved bytes are
/// evaluated anew, so `successes_after` is what survives 8 bits.
PngExport write_pngs(Classifier& model, const AttackOutcome&, const ImageSource&, int64_t batch,
                     const std::filesystem::path& folder);

}  // namespace mith
