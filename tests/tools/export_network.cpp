// A freshly initialised network as a file, and what it computes of given images: `mith-export-network NET CLASSES
// FOLDER` reads images.npy (f32 [n,h,w,c]) and labels.npy (i64 [n]) of the folder and writes model.safetensors,
// logits.npy and input_gradient.npy there, as `mith-evaluate --dump` does. For test_pytorch.py: no program trains on
// images of unequal sides in so little time.
#include <exception>
#include <iostream>

#include "engine/classifier/classifier.h"
#include "engine/files/files.h"
#include "engine/files/run_folder.h"

namespace {

using namespace mith;

void export_network(const std::string& net, int64_t classes, const std::filesystem::path& folder) {
  Tensor const images = read_npy(folder / "images.npy"), labels = read_npy(folder / "labels.npy");
  NetworkOptions const options{.classes = classes,
                               .channels = images.dim(3),
                               .height = images.dim(1),
                               .width = images.dim(2),
                               .normalize = "half"};
  auto const network = make_network(net, options);
  network->initialise(1);
  save_network(*network, folder / "model.safetensors");

  NetworkClassifier classifier(*network);
  std::vector<int32_t> y;
  for (int64_t label : labels.to_host<int64_t>()) y.push_back(static_cast<int32_t>(label));
  std::vector<int64_t> const ids(y.size());
  Batch const batch{images, Tensor::from(y, labels.shape()), Tensor::from(ids, labels.shape())};
  Want want;
  want.logits = want.input_gradient = true;
  Outputs const out = classifier.evaluate(batch, Loss{.labels = batch.y}, want);
  write_npy(folder / "logits.npy", out.logits);
  write_npy(folder / "input_gradient.npy", out.input_gradient);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc != 4) throw UsageError("usage: mith-export-network NET CLASSES FOLDER");
    export_network(argv[1], std::stoll(argv[2]), argv[3]);
    return 0;
  } catch (const std::exception& e) {
    std::cerr << "mith-export-network: " << e.what() << '\n';
    return 2;
  }
}
