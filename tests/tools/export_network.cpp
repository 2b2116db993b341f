// A freshly initialised network as a file, and what it computes of given images: `mith-export-network NET CLASSES
// FOLDER` reads images.npy (f32 [n,h,w,c]) and labels.npy (i64 [n]) of the folder and writes model.safetensors,
// logits.npy and input_gradient.npy there, as `mith-evaluate --dump` does. The "logits" of a network that gives an
// image are that image, the gradient is of the sum of their mean squares. For test_pytorch.py: no program trains on
// images of unequal sides in so little time.
#include <exception>
#include <iostream>

#include "engine/files/files.h"
#include "engine/files/run_folder.h"
#include "engine/nn/network.h"
#include "engine/ops/ops.h"

namespace {

using namespace mith;

void export_network(const std::string& net, int64_t classes, const std::filesystem::path& folder) {
  Tensor const images = read_npy(folder / "images.npy"), labels = read_npy(folder / "labels.npy");
  NetworkOptions const options{.classes = classes,
                               .channels = images.dim(3),
                               .height = images.dim(1),
                               .width = images.dim(2),
                               .normalize = is_classifier(net) ? "half" : "none"};
  auto const network = make_network(net, options);
  network->initialise(1);
  save_network(*network, folder / "model.safetensors");

  std::vector<int32_t> y;
  for (int64_t label : labels.to_host<int64_t>()) y.push_back(static_cast<int32_t>(label));
  Tape tape;
  tape.watch(images);
  Context context;
  Tensor const output = (*network)(images, context);
  Tensor const losses = is_classifier(net) ? cross_entropy(output, Tensor::from(y, labels.shape()))
                                           : mse_loss(output, Tensor::zeros(output.shape()));
  write_npy(folder / "logits.npy", output);
  write_npy(folder / "input_gradient.npy", tape.gradient(losses, Tensor::full(losses.shape(), 1), images));
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
