// The small CNNs against PyTorch: logits, input gradients and training gradients stored by golden/make_golden.py.
// Weights and images are drawn here as they were drawn there, so the files hold only results.
#include <doctest/doctest.h>

#include <cmath>

#include "engine/ops/loss.h"
#include "tests/golden_fixtures.h"

using namespace mith;
using namespace mith::golden;

namespace {

struct Case {
  const char *file, *net;
  int64_t n, channels, height, width, classes;
  bool train;
  double f32_gradient_tolerance;  ///< relative, in the L2 norm
};

// In f32 the small nets stay within 1e-5; at 180 x 180 pixels one ReLU or pooling decision of some millions may fall
// the other way, which has been seen to move a gradient by up to 2e-2 between two runs of PyTorch itself.
const Case cases[] = {
    {"cnn", "cnn:dropout=0", 4, 1, 28, 28, 2, true, 1e-5},
    {"cnn_colour", "cnn:dropout=0", 3, 3, 20, 33, 5, true, 1e-5},
    {"cnn-seed000", "cnn-seed000", 2, 3, 180, 180, 5, false, 5e-2},
};

std::unique_ptr<Network> make(const Case& c) {
  NetworkOptions const options{.classes = c.classes, .channels = c.channels, .height = c.height, .width = c.width};
  std::unique_ptr<Network> network = make_network(c.net, options);
  std::vector<float> mean{0.48f, 0.52f, 0.45f}, deviation{0.24f, 0.26f, 0.23f};
  mean.resize(static_cast<size_t>(c.channels));
  deviation.resize(static_cast<size_t>(c.channels));
  network->set_normalization("dataset", mean, deviation);
  fill(*network);
  return network;
}

Tensor images(const Case& c) { return golden::images({c.n, c.height, c.width, c.channels}); }

SafetensorsFile golden_file(const Case& c) { return read_safetensors(path(cat(c.file, ".safetensors"))); }

/// With more than 4096 elements every 7th, as the golden files keep them.
std::vector<double> sampled(const Tensor& tensor) {
  std::vector<double> const all = values_of(tensor);
  if (all.size() <= 4096) return all;
  std::vector<double> some;
  for (size_t i = 0; i < all.size(); i += 7) some.push_back(all[i]);
  return some;
}

struct Result {
  Tensor logits, input_gradient;
};

/// Eval mode: logits, and the gradient of the summed cross-entropy.
Result evaluate(Network& network, const Tensor& x, const Tensor& labels) {
  Tape tape;
  tape.watch(x);
  Context context;
  Tensor const logits = network(x, context), loss = cross_entropy(logits, labels);
  return {logits, tape.gradient(loss, Tensor::full(loss.shape(), 1, loss.dtype()), x)};
}

/// Training mode: checks the mean cross-entropy, every parameter's gradient and the running statistics.
void check_training(Network& network, const Tensor& x, const SafetensorsFile& file, double tolerance) {
  auto const trainable = network.trainable();
  Tape tape;
  std::vector<Tensor> parameters;
  for (auto const& [name, parameter] : trainable) {
    tape.watch(parameter->value);
    parameters.push_back(parameter->value);
  }
  Context context;
  context.training = true;
  Tensor const labels = stored(file, "labels").to(x.device());
  Tensor const losses = cross_entropy(network(x, context), labels);
  double const n = static_cast<double>(x.dim(0));
  double mean = 0;
  for (double loss : values_of(losses)) mean += loss / n;
  double const expected = values_of(stored(file, "train_loss"))[0];
  CHECK(std::abs(mean - expected) <= tolerance * expected);

  auto const gradients = tape.gradients(losses, Tensor::full(losses.shape(), 1 / n, losses.dtype()), parameters);
  for (size_t i = 0; i < trainable.size(); ++i) {
    CAPTURE(trainable[i].name);
    REQUIRE(gradients[i].defined());
    Tensor const outer = to_outer(gradients[i].to(Device::cpu), trainable[i].parameter->layout);
    CHECK(relative_distance(sampled(outer), values_of(stored(file, "gradient." + trainable[i].name))) <= tolerance);
  }
  for (auto const& [name, parameter] : network.parameters())
    if (name == "bn.running_mean" || name == "bn.running_var")
      CHECK(relative_distance(values_of(parameter->value), values_of(stored(file, name.substr(3)))) <= tolerance);
}

}  // namespace

TEST_CASE("golden: images and weights are drawn as in Python") {
  for (const Case& c : cases) {
    CAPTURE(c.file);
    auto const expected = stored(golden_file(c), "first_pixels").to_host<float>();
    std::vector<float> pixels = images(c).to_host<float>();
    pixels.resize(expected.size());
    CHECK(pixels == expected);  // exact: 24 random bits fit a float
  }
}

TEST_CASE("golden: cnn-seed000 has the published number of parameters") {
  int64_t buffers = 0;
  auto const network = make(cases[2]);
  for (auto const& [name, parameter] : network->parameters())
    if (parameter->buffer && parameter->value.dtype() == DType::f32) buffers += parameter->value.numel();
  CHECK(network->parameter_count() == 425541);
  CHECK(network->parameter_count() + buffers == 425669);
}

TEST_CASE("golden: the reference provider in f64 is PyTorch in f64") {
  double const tolerance = 1e-9;  // structure: f64 rounding through a few thousand terms a layer stays below 1e-12
  Forced const reference("reference");
  for (const Case& c : cases) {
    CAPTURE(c.file);
    SafetensorsFile const file = golden_file(c);
    auto const network = make(c);
    network->cast(DType::f64);
    Tensor const x = images(c).cast(DType::f64);
    Result const result = evaluate(*network, x, stored(file, "labels").to(x.device()));
    auto const expected = values_of(stored(file, "logits_f64"));
    CHECK(largest_difference(values_of(result.logits), expected) <= tolerance * largest(expected));
    CHECK(relative_distance(sampled(result.input_gradient), values_of(stored(file, "input_gradient"))) <= tolerance);
    if (c.train) check_training(*network, x, file, tolerance);
  }
}

TEST_CASE("golden: every provider in f32 is as close to f64 as PyTorch is") {
  for (const std::string& provider : f32_providers()) {
    CAPTURE(provider);
    Forced const forced(provider);
    for (const Case& c : cases) {
      CAPTURE(c.file);
      SafetensorsFile const file = golden_file(c);
      auto const network = make(c);
      Tensor const x = images(c);
      Result const result = evaluate(*network, x, stored(file, "labels").to(x.device()));
      auto const expected = values_of(stored(file, "logits_f64"));
      double const pytorch = largest_difference(values_of(stored(file, "logits_f32")), expected);
      CHECK(largest_difference(values_of(result.logits), expected) <= 2 * pytorch + 1e-6);
      auto const gradient = sampled(result.input_gradient), exact = values_of(stored(file, "input_gradient"));
      CHECK(relative_distance(gradient, exact) <= c.f32_gradient_tolerance);
      CHECK(dot(gradient, exact) >= 0.999 * std::sqrt(dot(gradient, gradient) * dot(exact, exact)));
      // f32 rounding through batch statistics of a few dozen values a channel; a wrong kernel is off by 1e-2 and more.
      if (c.train) check_training(*network, x, file, 1e-4);
    }
  }
}
