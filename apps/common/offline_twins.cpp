#include "apps/common/offline_twins.h"

#include <unordered_map>

#include "engine/files/files.h"
#include "engine/files/run_folder.h"
#include "engine/ops/arithmetic.h"

namespace mith {
namespace fs = std::filesystem;
namespace {

PerturbBatch stored_perturbation(const fs::path& folder, const ImageSet& train) {
  Tensor const images = read_npy(folder / "adversarial.npy");
  Tensor const ids = read_npy(folder / "ids.npy");
  std::string const name = (folder / "adversarial.npy").string();
  require(images.dtype() == DType::f32 && images.shape().rank() == 4 &&
              images.shape().with(0, 0) == Shape{0, train.height, train.width, train.channels},
          name, ": images of ", name_of(images.dtype()), " ", images.shape(), ", the training images are f32 [n, ",
          train.height, ", ", train.width, ", ", train.channels, "]");
  require(ids.dtype() == DType::i64 && ids.shape() == Shape{images.dim(0)}, (folder / "ids.npy").string(), ": ",
          name_of(ids.dtype()), " ", ids.shape(), " for ", images.dim(0), " images");

  auto row_of = std::make_shared<std::unordered_map<int64_t, int64_t>>();
  for (int64_t id : ids.to_host<int64_t>()) row_of->emplace(id, static_cast<int64_t>(row_of->size()));
  int64_t missing = 0;
  for (int64_t id : train.ids) missing += !row_of->count(id);
  require(missing == 0, name, ": ", missing, " of ", train.size(),
          " training images have no twin; craft them with mith-attack --data DATA:train and no --limit");

  return [images, row_of](Classifier&, const Batch& clean, int64_t, const DrawKey&) {
    std::vector<int64_t> rows;
    for (int64_t id : clean.ids.to_host<int64_t>()) rows.push_back(row_of->at(id));
    return gather_rows(images, rows).to(clean.x.device());
  };
}

}  // namespace

OfflineTwins read_offline_twins(const fs::path& folder, const ImageSet& train) {
  fs::path const file = folder / "attack.json";
  Json const manifest = Json::parse(read_text(file), nullptr, false);
  require(manifest.is_object() && manifest.contains("rows") && manifest["rows"].is_array(), file.string(),
          ": not written by mith-attack");
  OfflineTwins twins;
  for (const Json& row : manifest["rows"]) {
    if (!row.contains("folder") || !row["attack"].is_string()) continue;
    twins.attacks.push_back(row["attack"]);
    twins.perturbations.push_back(stored_perturbation(folder / row["folder"].get<std::string>(), train));
  }
  require(!twins.attacks.empty(), file.string(), ": names no attack");
  return twins;
}

}  // namespace mith
