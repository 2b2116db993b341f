// Vision transformers of other origin: tensors under timm's names, and positions of another image size. What PyTorch
// computes is stored by golden/make_vit.py; weights and images are drawn here as they were drawn there.
#include <doctest/doctest.h>

#include <sstream>

#include "engine/files/run_folder.h"
#include "engine/ops/ops.h"
#include "tests/file_fixtures.h"
#include "tests/golden_fixtures.h"

using namespace mith;
using namespace mith::golden;

namespace {

constexpr double tolerance = 1e-9;  // structure: f64 rounding through two layers stays below 1e-13

SafetensorsFile golden_file() { return read_safetensors(path("vit/timm.safetensors")); }

int64_t number(const SafetensorsFile& golden, const std::string& key) { return std::stoll(golden.metadata.at(key)); }

/// The state dict under timm's names, as their file would hold it.
SafetensorsFile timm_weights(const SafetensorsFile& golden) {
  SafetensorsFile weights;
  std::istringstream lines(golden.metadata.at("tensors"));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string name;
    words >> name;
    std::vector<int64_t> dims;
    for (int64_t d = 0; words >> d;) dims.push_back(d);
    weights.tensors.push_back({name, drawn(name, Shape{std::span<const int64_t>(dims)})});
  }
  return weights;
}

std::string spec_of(const SafetensorsFile& golden) {
  std::string keys;
  for (const char* key : {"patch", "layers", "heads", "hidden", "mlp"})
    keys += cat(keys.empty() ? ":" : ",", key, "=", golden.metadata.at(key));
  return "vit" + keys;
}

/// An f64 network for images of h x w patches, not yet with weights.
std::unique_ptr<Network> vit(const SafetensorsFile& golden, int64_t h, int64_t w) {
  int64_t const patch = number(golden, "patch");
  auto network =
      make_network(spec_of(golden) + ",normalize=none",
                   {.classes = number(golden, "classes"), .channels = 3, .height = h * patch, .width = w * patch});
  network->cast(DType::f64);
  return network;
}

Tensor images_for(const SafetensorsFile& golden, int64_t side) {
  return golden::images({number(golden, "n"), side, side, 3}).cast(DType::f64);
}

void check_equal(const Tensor& ours, const Tensor& theirs) {
  REQUIRE(ours.shape() == theirs.shape());
  auto const a = values_of(ours), b = values_of(theirs);
  CHECK(largest_difference(a, b) <= tolerance * largest(b));
}

}  // namespace

TEST_CASE("golden vit: a state dict under timm's names gives timm's logits and gradients") {
  Forced const reference("reference");
  SafetensorsFile const golden = golden_file(), weights = timm_weights(golden);
  int64_t const size = number(golden, "size"), side = size / number(golden, "patch");
  auto const network = vit(golden, side, side);
  REQUIRE(weights.tensors.size() == network->parameters().size());
  LoadReport const report = load_state(*network, weights, "timm.safetensors");
  CHECK(report.missing.empty());
  CHECK(report.unexpected.empty());
  CHECK(report.mismatched.empty());

  Tape tape;
  Tensor const x = images_for(golden, size);
  tape.watch(x);
  std::vector<int32_t> labels;
  for (int64_t i = 0; i < x.dim(0); ++i) labels.push_back(int32_t(i % number(golden, "classes")));
  Context context;
  Tensor const logits = (*network)(x, context);
  check_equal(logits, stored(golden, "logits"));
  Tensor const losses = cross_entropy(logits, Tensor::from(labels, {x.dim(0)}, x.device()));
  auto const gradient = values_of(tape.gradients(losses, Tensor::full(losses.shape(), 1, DType::f64), {x}).front());
  std::vector<double> some;
  for (size_t i = 0; i < gradient.size(); i += 31) some.push_back(gradient[i]);
  CHECK(relative_distance(some, values_of(stored(golden, "input_gradient"))) <= tolerance);
}

TEST_CASE("golden vit: a file of timm's tensors is a model, and every one of them is needed") {
  SafetensorsFile const golden = golden_file();
  test::Folder const folder;
  std::string const file = (folder / "timm.safetensors").string();
  std::string const model = cat(spec_of(golden), ",normalize=half,size=", golden.metadata.at("size"), "@", file);
  SafetensorsFile const weights = timm_weights(golden);
  write_safetensors(file, weights.tensors, {});
  auto const network = load_network(model);
  CHECK(network->network_options().classes == number(golden, "classes"));
  CHECK(network->network_options().channels == 3);
  for (size_t left_out = 0; left_out < weights.tensors.size(); ++left_out) {
    CAPTURE(weights.tensors[left_out].name);
    SafetensorsFile some = weights;
    some.tensors.erase(some.tensors.begin() + int64_t(left_out));
    CHECK(test::contains(test::usage_error([&] { load_state(*network, some, "some"); }),
                         "some does not fit this network: it has no "));
  }
  SafetensorsFile more = weights;
  more.tensors.push_back({"blocks.2.norm1.weight", drawn("", {number(golden, "hidden")})});
  CHECK(test::usage_error([&] { load_state(*network, more, "more"); }) ==
        "more does not fit this network, which has no encoder.layers.encoder_layer_2.ln_1.weight");
  more.tensors.back().name = "encoder.ln.weight";  // timm's norm.weight, already there
  CHECK(test::usage_error([&] { load_state(*network, more, "more"); }) == "more has encoder.ln.weight twice");
}

TEST_CASE("golden vit: positions of another image size are interpolated as torchvision does") {
  Forced const reference("reference");
  SafetensorsFile const golden = golden_file(), weights = timm_weights(golden);
  struct Grid {
    int64_t h, w;
  };
  for (auto const& [h, w] : {Grid{7, 7}, Grid{3, 3}, Grid{3, 7}, Grid{1, 6}}) {
    std::string const grid = cat(h, "x", w);
    CAPTURE(grid);
    SafetensorsFile exact = weights;
    for (StoredTensor& tensor : exact.tensors) tensor.value = tensor.value.cast(DType::f64);
    auto const network = vit(golden, h, w);
    load_state(*network, exact, "timm.safetensors");
    for (auto const& [name, parameter] : network->parameters())
      if (name == "encoder.pos_embedding") check_equal(parameter->value, stored(golden, "positions_" + grid));
    if (h != w) continue;
    Context context;
    check_equal((*network)(images_for(golden, h * number(golden, "patch")), context), stored(golden, "logits_" + grid));
  }
}

TEST_CASE("positions that are no square grid are refused with both shapes") {
  SafetensorsFile const golden = golden_file();
  SafetensorsFile weights = timm_weights(golden);
  auto const network = vit(golden, 7, 7);
  for (StoredTensor& tensor : weights.tensors)
    if (tensor.name == "pos_embed") tensor.value = drawn("pos_embed", {1, 1 + 15, number(golden, "hidden")});
  CHECK(test::usage_error([&] { load_state(*network, weights, "w"); }) ==
        "w does not fit this network: encoder.pos_embedding: file [1, 16, 12], network [1, 50, 12]");
}
