// The published architectures against torchvision, or their twins in PyTorch: names and shapes, logits, gradients and
// statistics stored by golden/make_nets.py. Weights and images are drawn here as they were drawn there.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "engine/files/run_folder.h"
#include "engine/frozen/frozen.h"
#include "engine/ops/ops.h"
#include "tests/golden_fixtures.h"

using namespace mith;
using namespace mith::golden;

namespace {

struct Golden {
  std::string name;
  SafetensorsFile file;
  int64_t number(const std::string& key) const { return std::stoll(file.metadata.at(key)); }
  const Tensor& tensor(const std::string& key) const { return stored(file, key); }
  bool has(const std::string& key) const { return file.find(key) != nullptr; }
};

std::vector<Golden> all_golden() {
  std::vector<Golden> all;
  for (auto const& entry : std::filesystem::directory_iterator(path("nets")))
    if (entry.path().extension() == ".safetensors")
      all.push_back({entry.path().stem().string(), read_safetensors(entry.path())});
  std::ranges::sort(all, {}, &Golden::name);
  REQUIRE(all.size() >= 27);
  return all;
}

bool has_avx512() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512f") != 0;
#else
  return false;
#endif
}

/// 299 pixels, which its auxiliary head needs, are too many for the reference provider.
bool is_whole_inception(const Golden& g) { return g.name == "inception_v3_whole"; }
bool is_smooth(const Golden& g) { return g.name.starts_with("vit") || g.name.starts_with("efficientnet"); }

std::unique_ptr<Network> make(const Golden& g) {
  NetworkOptions const options{.classes = g.number("classes"),
                               .channels = g.number("channels"),
                               .height = g.number("height"),
                               .width = g.number("width")};
  std::unique_ptr<Network> network = make_network(g.file.metadata.at("net"), options);
  std::vector<float> mean{0.48f, 0.52f, 0.45f}, deviation{0.24f, 0.26f, 0.23f};
  mean.resize(static_cast<size_t>(g.number("means")));
  deviation.resize(mean.size());
  if (!mean.empty()) network->set_normalization("dataset", mean, deviation);
  fill(*network, g.tensor("batch_norm_scales").to_host<float>());
  return network;
}

Tensor images(const Golden& g) {
  return golden::images({g.number("n"), g.number("height"), g.number("width"), g.number("channels")});
}

/// About 256 elements, evenly spaced, as the files keep them.
std::vector<double> sampled(const std::vector<double>& all) {
  std::vector<double> some;
  for (size_t i = 0; i < all.size(); i += std::max<size_t>(1, all.size() / 256)) some.push_back(all[i]);
  return some;
}

double norm(const std::vector<double>& values) { return std::sqrt(dot(values, values)); }

struct Result {
  Tensor logits;
  std::vector<double> input_gradient;
  std::vector<Tensor> gradients;  ///< of the parameters, if they were asked for
};

/// Each image's cross-entropy, or mean square if the network gives an image.
Tensor losses_of(const Tensor& output, const Tensor& labels) {
  if (output.shape().rank() == 2) return cross_entropy(output, labels);
  return mse_loss(output, Tensor::zeros(output.shape(), output.dtype(), output.device()));
}

/// Eval mode with the summed loss, training with its mean, auxiliary heads included.
Result evaluate(Network& network, const Tensor& x, bool training, bool parameters) {
  Tape tape;
  std::vector<Tensor> wanted{x};
  if (parameters)
    for (auto const& [name, parameter] : network.trainable()) wanted.push_back(parameter->value);
  for (const Tensor& value : wanted) tape.watch(value);
  std::vector<int32_t> labels;
  for (int64_t i = 0; i < x.dim(0); ++i) labels.push_back(int32_t(i % network.network_options().classes));
  Tensor const y = Tensor::from(labels, {x.dim(0)}, x.device());
  Context context{.training = training};
  Tensor const logits = network(x, context);
  Tensor losses = losses_of(logits, y);
  for (auto const& [head, weight] : context.auxiliary) losses = add(losses, scale(cross_entropy(head, y), weight));
  double const factor = training ? 1.0 / static_cast<double>(x.dim(0)) : 1.0;
  std::vector<Tensor> found = tape.gradients(losses, Tensor::full(losses.shape(), factor, losses.dtype()), wanted);
  Result result{logits, values_of(found.front()), {}};
  result.gradients.assign(found.begin() + 1, found.end());
  return result;
}

/// In f64: logits and the input gradient.
void check_exactly(const Golden& g, const std::string& prefix, const Result& result, double tolerance) {
  auto const logits = values_of(g.tensor(prefix + "logits_f64"));
  CHECK(largest_difference(sampled(values_of(result.logits)), logits) <= tolerance * largest(logits));
  CHECK(relative_distance(sampled(result.input_gradient), values_of(g.tensor(prefix + "input_gradient"))) <= tolerance);
  double const expected = values_of(g.tensor(prefix + "input_gradient_norm"))[0];
  CHECK(std::abs(norm(result.input_gradient) - expected) <= tolerance * expected);
}

/// What PyTorch's f32 loses: the largest difference of a logit, and of the input gradient relative to its norm.
struct Errors {
  double logits, gradient;
};

/// On the processor that computes: PyTorch's kernels for those without AVX-512 lose up to four times as much.
Errors errors_of_pytorch(const Golden& g, const std::string& prefix) {
  if (default_device() == Device::cpu && !has_avx512()) {
    static SafetensorsFile const file = read_safetensors(path("nets_without_avx512.safetensors"));
    auto const errors = values_of(stored(file, prefix.empty() ? g.name : g.name + "/" + prefix));
    return {errors[0], errors[1]};
  }
  auto const exact = values_of(g.tensor(prefix + "logits_f64"));
  return {largest_difference(values_of(g.tensor(prefix + "logits_f32")), exact),
          values_of(g.tensor(prefix + "input_gradient_f32_error"))[0]};
}

/// In f32: logits at most `share` times as far from f64 as PyTorch's, and an input gradient that is the same but where
/// one of millions of ReLUs or pooling decisions falls the other way; where batch statistics of few values make
/// roundings larger, it too is at most twice as far off as PyTorch's.
void check_closely(const Golden& g, const std::string& prefix, const Result& result, double share) {
  CAPTURE(prefix);
  auto const exact = values_of(g.tensor(prefix + "logits_f64"));
  Errors const pytorch = errors_of_pytorch(g, prefix);
  CHECK(largest_difference(sampled(values_of(result.logits)), exact) <= share * pytorch.logits + 1e-6);
  auto const gradient = sampled(result.input_gradient), expected = values_of(g.tensor(prefix + "input_gradient"));
  CHECK(relative_distance(gradient, expected) <= std::max(is_smooth(g) ? 1e-5 : 5e-2, 2 * pytorch.gradient));
  CHECK(dot(gradient, expected) >= 0.999 * norm(gradient) * norm(expected));
}

/// Every parameter's gradient: its norm and one element, the one five eighths into PyTorch's order.
void check_parameters(const Golden& g, const Network& network, const Result& result, double tolerance) {
  auto const norms = values_of(g.tensor("train_gradient_norms")),
             samples = values_of(g.tensor("train_gradient_samples"));
  auto const trainable = network.trainable();
  REQUIRE(trainable.size() == norms.size());
  for (size_t i = 0; i < trainable.size(); ++i) {
    CAPTURE(trainable[i].name);
    REQUIRE(result.gradients[i].defined());
    auto const values = values_of(to_outer(result.gradients[i], trainable[i].parameter->layout));
    // Gradients that cancel, as of a bias in front of a batch norm, are roundings of the others.
    double const scale = std::max(norms[i], 1e-3 * largest(norms));
    CHECK(std::abs(norm(values) - norms[i]) <= tolerance * scale);
    CHECK(std::abs(values[values.size() * 5 / 8] - samples[i]) <= tolerance * scale);
  }
}

/// The norms of all running means and variances.
void check_statistics(const Golden& g, const Network& network, double tolerance) {
  std::vector<double> norms;
  for (auto const& [name, parameter] : network.parameters())
    if (name.find("running_") != std::string::npos) norms.push_back(norm(values_of(parameter->value)));
  auto const expected = values_of(g.tensor("train_statistics"));
  REQUIRE(norms.size() == expected.size());
  if (!norms.empty()) CHECK(relative_distance(norms, expected) <= tolerance);
}

struct Listed {
  int64_t parameters = 0;
  std::string keys;                  ///< of the spec; empty: torchvision's 1000 classes and image
  std::vector<std::string> tensors;  ///< "name 64 3 7 7"
};

/// golden/nets/state_dicts.txt: what the networks consist of in PyTorch.
std::map<std::string, Listed> listed() {
  std::map<std::string, Listed> all;
  std::ifstream in(path("nets/state_dicts.txt"));
  Listed* current = nullptr;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("# ")) {
      std::istringstream words(line.substr(2));
      std::string name;
      words >> name;
      current = &all[name];
      words >> current->parameters >> current->keys;
    } else {
      REQUIRE(current);
      current->tensors.push_back(line);
    }
  }
  return all;
}

std::vector<std::string> tensors_of(const Network& network) {
  std::vector<std::string> lines;
  for (const StoredTensor& tensor : state_of(network)) {
    lines.push_back(tensor.name);
    for (int64_t d : tensor.value.shape().dims()) lines.back() += " " + std::to_string(d);
  }
  return lines;
}

}  // namespace

TEST_CASE("golden nets: names, shapes and order of the state dict are PyTorch's") {
  auto const all = listed();
  REQUIRE(all.size() >= 21);
  for (auto const& [name, expected] : all) {
    CAPTURE(name);
    int64_t const size = name == "inception_v3" ? 299 : 224;
    auto const network = make_network(expected.keys.empty() ? name : name + ":" + expected.keys,
                                      {.classes = 1000, .channels = 3, .height = size, .width = size});
    CHECK(network->parameter_count() == expected.parameters);
    auto const tensors = tensors_of(*network);
    REQUIRE(tensors.size() == expected.tensors.size());
    for (size_t i = 0; i < tensors.size(); ++i) CHECK(tensors[i] == expected.tensors[i]);
  }
}

TEST_CASE("golden nets: the reference provider in f64 is PyTorch in f64") {
  double const tolerance = 1e-9;  // structure: f64 rounding through a hundred layers stays below 1e-11
  Forced const reference("reference");
  auto const all = all_golden();
  for (const char* name : {"resnet18", "densenet121", "efficientnet_b0", "vit_tiny"}) {
    auto const g = std::ranges::find(all, name, &Golden::name);
    REQUIRE(g != all.end());
    REQUIRE(g->has("train_gradient_norms"));
  }
  for (const Golden& g : all) {
    CAPTURE(g.name);
    if (is_whole_inception(g)) continue;
    auto const network = make(g);
    network->cast(DType::f64);
    Tensor const x = images(g).cast(DType::f64);
    check_exactly(g, "", evaluate(*network, x, false, false), tolerance);
    if (!g.has("train_logits_f64")) continue;
    bool const parameters = g.has("train_gradient_norms");
    Result const trained = evaluate(*network, x, true, parameters);
    check_exactly(g, "train_", trained, tolerance);
    check_statistics(g, *network, tolerance);
    if (parameters) check_parameters(g, *network, trained, tolerance);
  }
}

TEST_CASE("golden nets: every provider in f32 is as close to f64 as PyTorch is") {
  REQUIRE_FALSE(f32_providers().empty());
  for (const Golden& g : all_golden()) {
    CAPTURE(g.name);
    Tensor const x = images(g);
    for (const std::string& provider : f32_providers()) {
      if (is_whole_inception(g) && provider == "reference") continue;  // minutes
      CAPTURE(provider);
      Forced const forced(provider);
      auto const network = make(g);
      // oneDNN sums the 8192 products of each of patchgan's scores in one chain.
      double const share = g.name == "patchgan" && provider == "onednn" ? 3 : 2;
      check_closely(g, "", evaluate(*network, x, false, false), share);
      // Statistics of a handful of values make roundings larger, and so the chance in them.
      if (g.has("train_logits_f64")) check_closely(g, "train_", evaluate(*network, x, true, false), 3);
    }
  }
}

TEST_CASE("golden nets: frozen in f32 they are as close to f64 as PyTorch is") {
  int64_t frozen = 0;
  for (const Golden& g : all_golden()) {
    CAPTURE(g.name);
    auto const network = make(g);
    if (!is_classifier(network->spec())) continue;
    Tensor const x = images(g);
    std::vector<int32_t> labels;
    for (int64_t i = 0; i < x.dim(0); ++i) labels.push_back(int32_t(i % network->network_options().classes));
    FrozenNetwork classifier(*network);
    Outputs const out =
        classifier.evaluate({.x = x, .y = {}, .ids = {}}, Loss{.labels = Tensor::from(labels, {x.dim(0)})},
                            {.logits = true, .loss = false, .input_gradient = true, .features = {}});
    check_closely(g, "", {out.logits, values_of(out.input_gradient), {}}, 2);
    ++frozen;
  }
  CHECK(frozen >= 16);
}

TEST_CASE("golden nets: a checkpoint with PyTorch's tensors loads as it is and is written the same") {
  std::string const file = (std::filesystem::temp_directory_path() / "mith-test-torchvision.safetensors").string();
  for (auto const& [name, expected] : listed()) {
    if (expected.parameters > 50'000'000) continue;  // hundreds of megabytes; their values are compared above
    CAPTURE(name);
    std::vector<StoredTensor> tensors;
    for (const std::string& line : expected.tensors) {
      std::istringstream words(line);
      std::string tensor;
      words >> tensor;
      std::vector<int64_t> dims;
      for (int64_t d = 0; words >> d;) dims.push_back(d);
      Shape const shape{std::span<const int64_t>(dims)};
      std::vector<float> values(static_cast<size_t>(shape.numel()));
      for (size_t i = 0; i < values.size(); ++i) values[i] = float((i + tensors.size()) % 1009);
      tensors.push_back({tensor, tensor.ends_with("num_batches_tracked") ? Tensor::from(std::vector<int64_t>{7}, {})
                                                                         : Tensor::from(values, shape)});
    }
    auto by_name = tensors;  // as PyTorch's own writer sorts them
    std::ranges::sort(by_name, {}, &StoredTensor::name);
    write_safetensors(file, by_name, {{"format", "pt"}});
    auto const network =
        load_network(cat(name, ":normalize=none", expected.keys.empty() ? "" : ",", expected.keys, "@", file));
    if (expected.keys.empty()) CHECK(network->network_options().channels == 3);
    auto const state = state_of(*network);
    REQUIRE(state.size() == tensors.size());
    int64_t different = 0;
    for (size_t i = 0; i < state.size(); ++i) {
      size_t const bytes = tensors[i].value.bytes();
      different += state[i].name != tensors[i].name || state[i].value.bytes() != bytes ||
                   std::memcmp(state[i].value.raw(), tensors[i].value.raw(), bytes) != 0;
    }
    CHECK(different == 0);
  }
  std::filesystem::remove(file);
}

TEST_CASE("golden nets: the names in the files that torchvision publishes are read too") {
  std::string const file = (std::filesystem::temp_directory_path() / "mith-test-published.safetensors").string();
  using Older = std::vector<std::pair<std::string, std::string>>;
  Older const dense{{".norm1.", ".norm.1."}, {".norm2.", ".norm.2."}, {".conv1.", ".conv.1."}, {".conv2.", ".conv.2."}};
  Older const vit{{".mlp.0.", ".mlp.linear_1."}, {".mlp.3.", ".mlp.linear_2."}};
  for (auto const& [name, older] : {std::pair("densenet121", dense), std::pair("vit_tiny", vit)}) {
    CAPTURE(name);
    auto const network = make_network(name, {.classes = 3, .channels = 3, .height = 32, .width = 32});
    network->initialise(5);
    auto tensors = state_of(*network);
    int64_t renamed = 0;
    for (StoredTensor& tensor : tensors)
      for (auto const& [now, before] : older)
        if (size_t const at = tensor.name.find(now); at != std::string::npos)
          tensor.name.replace(at, now.size(), before), ++renamed;
    CHECK(renamed >= 48);
    write_safetensors(file, tensors, {{"format", "pt"}});
    auto const loaded = load_network(cat(name, ":classes=3,normalize=none,size=32@", file));
    Tensor const x = golden::images({2, 32, 32, 3});
    Context context;
    CHECK((*loaded)(x, context).to_host<float>() == (*network)(x, context).to_host<float>());
  }
  std::filesystem::remove(file);
}

TEST_CASE("golden nets: an image smaller than the least is refused with both sizes") {
  CHECK_THROWS_WITH_AS(make_network("vgg16", {.classes = 2, .channels = 3, .height = 31, .width = 64}),
                       "vgg16:dropout=0.5: images of 31 x 64 pixels are too small; it needs 32 x 32", UsageError);
  struct Least {
    const char* net;
    int64_t side;
  };
  for (auto const& [net, side] :
       {Least{"rdmaa-lung", 8}, Least{"rdmaa-leukemia", 8}, Least{"rdmaa-brain", 8}, Least{"dcae", 8},
        Least{"autoencoder", 16}, Least{"unet", 16}, Least{"cyclegan_generator", 8}, Least{"patchgan", 24}}) {
    CAPTURE(net);
    CHECK_THROWS_AS(make_network(net, {.height = side, .width = side - 1}), UsageError);
    auto const network = make_network(net, {.height = side, .width = side});
    network->initialise(1);
    Context context;
    CHECK(count_nan((*network)(Tensor::full({1, side, side, 1}, 0.5), context)) == 0);
  }
}

TEST_CASE("published parameter counts of the papers' networks") {
  auto const count = [](const std::string& net, int64_t size, int64_t channels, int64_t classes) {
    return make_network(net, {.classes = classes, .channels = channels, .height = size, .width = size})
        ->parameter_count();
  };
  CHECK(count("dcae", 52, 1, 2) == 157729);
  CHECK(count("dcae", 64, 3, 2) == 159171);
  CHECK(count("rdmaa-lung", 52, 1, 2) == 74496 + 409857);
  CHECK(count("rdmaa-brain", 64, 3, 3) == 75648 + 524803);
  CHECK(count("rdmaa-leukemia", 64, 3, 4) == 75648 + 1090244);
  CHECK(count("unet", 224, 3, 2) == 11033984);
  CHECK(count("unet", 224, 1, 2) == 11032704);
  CHECK(count("cyclegan_generator", 256, 3, 2) == 11378179);
  CHECK(count("cyclegan_generator", 128, 3, 2) == 7837699);
  CHECK(count("patchgan", 256, 3, 2) == 2764737);
}

TEST_CASE("networks that give images say so and are no classifiers") {
  Context context;
  auto const shape = [&](const std::string& net, int64_t size) {
    auto const network = make_network(net, {.channels = 3, .height = size, .width = size});
    network->initialise(1);
    return (*network)(Tensor::full({1, size, size, 3}, 0.5), context).shape();
  };
  CHECK(shape("dcae", 52) == Shape{1, 52, 52, 3});
  CHECK(shape("patchgan", 64) == Shape{1, 6, 6, 1});
  CHECK_NOTHROW(require_classifier("cnn:dropout=0.5"));
  CHECK_THROWS_WITH_AS(require_classifier("unet"),
                       "net unet is no classifier: it is for denoising images in front of a classifier", UsageError);
  CHECK_THROWS_AS(make_network("unet:normalize=half", {}), UsageError);
  CHECK(make_network("unet", {.mean = {0.5f}, .deviation = {0.2f}})->network_options().mean.empty());

  // The denoiser's last convolution at zero leaves images as they are.
  auto const unet = make_network("unet", {.height = 16, .width = 20});
  unet->initialise(1);
  for (auto const& [name, parameter] : unet->parameters())
    if (name == "final.weight") parameter->value.fill_zero();
  Tensor const x = golden::images({2, 16, 20, 1});
  CHECK((*unet)(x, context).to_host<float>() == x.to_host<float>());
}
