#include "apps/common/attack_output.h"

#include <algorithm>
#include <fstream>
#include <map>

#include "attacks/quantize.h"
#include "engine/files/files.h"
#include "engine/spec/spec.h"

namespace mith {
namespace fs = std::filesystem;
namespace {

std::vector<int64_t> widened(const std::vector<int32_t>& values) { return {values.begin(), values.end()}; }

/// A file name without separators and anything a shell trips over.
std::string safe_name(const std::string& name) {
  std::string safe;
  for (char c : name) safe += std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.' ? c : '_';
  return safe.empty() || safe[0] == '.' ? "_" + safe : safe;
}

/// The class's own name wherever a folder can have it: it is how the images are matched to classes when read again.
std::string class_folder_name(const std::string& name) {
  std::string folder = name;
  for (char& c : folder)
    if (c == '/' || c == '\0') c = '_';
  return folder.empty() || folder[0] == '.' ? "_" + folder : folder;
}

/// "000012_person7" keeps the data's order in a directory listing, whatever the images were called.
std::string png_name(int64_t position, const std::string& original) {
  std::string number = std::to_string(position);
  number.insert(0, number.size() < 6 ? 6 - number.size() : 0, '0');
  std::string const stem = safe_name(fs::path(original).stem().string());
  return number + (original.empty() ? "" : "_" + stem) + ".png";
}

/// Bytes as an image that reads back as those bytes: f32 in [0, 1], on the cpu.
Tensor as_pixels(const Tensor& bytes) {
  std::vector<float> pixels;
  for (uint8_t level : bytes.to_host<uint8_t>()) pixels.push_back(static_cast<float>(level) / 255.f);
  return Tensor::from(pixels, bytes.shape(), Device::cpu);
}

}  // namespace

void write_png(const Tensor& image, const fs::path& file, int64_t least) {
  auto const bytes = encode_png(image, least);
  write_atomically(file, [&](std::ostream& out) {
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  });
}

std::vector<std::string> attack_folders(const std::vector<std::string>& specs) {
  std::map<std::string, int> seen;
  std::vector<std::string> folders;
  for (const std::string& spec : specs) {
    std::string const name = Spec::parse(spec).name;
    int const count = ++seen[name];
    folders.push_back(count == 1 ? name : name + "-" + std::to_string(count));
  }
  return folders;
}

void write_attack(const AttackOutcome& outcome, const ImageSet& images, const fs::path& folder) {
  int64_t const n = images.size();
  write_npy(folder / "adversarial.npy", outcome.adversarial, {n, images.height, images.width, images.channels});
  write_npy(folder / "labels.npy", widened(images.labels), {n});
  write_npy(folder / "ids.npy", images.ids, {n});
  write_npy(folder / "clean_predictions.npy", widened(outcome.clean_predictions), {n});
  write_npy(folder / "adversarial_predictions.npy", widened(outcome.row.predictions), {n});
}

PngExport write_pngs(Classifier& model, const AttackOutcome& outcome, const ImageSource& images, int64_t batch,
                     const fs::path& folder) {
  const ImageSet& set = images.set();
  Shape const one = images.image_shape();
  size_t const pixels = static_cast<size_t>(one.numel());
  PngExport result;
  for (int64_t first = 0; first < images.size(); first += batch) {
    int64_t const count = std::min(batch, images.size() - first);
    Batch const clean = images.batch(positions_from(first, count), false, {});
    Tensor const adversarial =
        Tensor::from(std::span<const float>(outcome.adversarial.data() + static_cast<size_t>(first) * pixels,
                                            static_cast<size_t>(count) * pixels),
                     clean.x.shape());
    Tensor const rounded =
        as_pixels(quantize_in_ball(adversarial, clean.x, static_cast<float>(outcome.row.eps), outcome.row.norm));
    Predictions const saved = predict(model, {rounded.to(clean.x.device()), clean.y, clean.ids}, batch);
    for (int64_t i = 0; i < count; ++i) {
      size_t const at = static_cast<size_t>(first + i);
      int32_t const label = set.labels[at];
      fs::path const class_folder = folder / class_folder_name(set.class_names[static_cast<size_t>(label)]);
      make_writable_folder(class_folder);
      write_png(rounded.rows(i, 1).view(one), class_folder / png_name(first + i, set.names[at]));
      ++result.written;
      result.successes_before += outcome.success[at];
      result.successes_after +=
          outcome.success[at] && is_success(outcome.target, label, saved.classes[static_cast<size_t>(i)]);
    }
  }
  return result;
}

}  // namespace mith
