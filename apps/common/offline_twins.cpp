#include "apps/common/offline_twins.h"

#include <unordered_map>

#include "apps/common/inputs.h"
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

  Tensor const labels = read_npy(folder / "labels.npy");
  require(labels.dtype() == DType::i64 && labels.shape() == ids.shape(), (folder / "labels.npy").string(), ": ",
          name_of(labels.dtype()), " ", labels.shape(), " for ", images.dim(0), " images");

  auto row_of = std::make_shared<std::unordered_map<int64_t, int64_t>>();
  auto const id_list = ids.to_host<int64_t>(), label_list = labels.to_host<int64_t>();
  for (size_t row = 0; row < id_list.size(); ++row) row_of->emplace(id_list[row], static_cast<int64_t>(row));
  int64_t missing = 0, foreign = 0;
  for (size_t i = 0; i < train.ids.size(); ++i) {
    auto const found = row_of->find(train.ids[i]);
    missing += found == row_of->end();
    foreign += found != row_of->end() && label_list[static_cast<size_t>(found->second)] != train.labels[i];
  }
  require(foreign == 0, name, ": ", foreign,
          " images have another class than the training image of the same id: it was "
          "made from other data");
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
  std::string const source =
      manifest.contains("data") && manifest["data"].is_object() ? manifest["data"].value("source", "") : "";
  require(source.empty() || same_source(source, train.source), file.string(), ": made from ", source, ", not from ",
          train.source);
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
