// The device under test and the cpu side by side: ten training steps, every registered attack on every registered
// classifier, and the other networks. Different devices add in different orders, so numbers agree to rounding, and
// decisions almost always.
#include <doctest/doctest.h>

#include <cmath>

#include "attacks/attack.h"
#include "engine/classifier/classifier.h"
#include "engine/nn/network.h"
#include "engine/ops/ops.h"
#include "engine/tensor/allocator.h"
#include "engine/train/trainer.h"
#include "tests/quick_attacks.h"
#include "tests/toy.h"

using namespace mith;

namespace {

/// New tensors go to `device` while it lives.
struct On {
  explicit On(Device device) : before(default_device()) { set_default_device(device); }
  ~On() { set_default_device(before); }
  Device before;
};

std::unique_ptr<Network> network_on(const std::string& spec, int64_t side) {
  auto net = make_network(spec, {.classes = 2, .channels = 1, .height = side, .width = side, .normalize = "none"});
  net->initialise(1);
  return net;
}

std::vector<float> weights_of(const Network& net) {
  std::vector<float> all;
  for (auto const& [name, parameter] : net.parameters())
    if (parameter->value.dtype() == DType::f32)
      for (float v : parameter->value.to_host<float>()) all.push_back(v);
  return all;
}

double relative_distance(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return 1e300;
  double difference = 0, length = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (double(a[i]) - b[i]) * (double(a[i]) - b[i]);
    length += double(b[i]) * b[i];
  }
  double const d = std::sqrt(difference / length);
  return std::isnan(d) ? 1e300 : d;
}

/// Weights after ten steps of SGD, whose updates are proportional to the gradients.
std::vector<float> ten_steps(Device device) {
  On const here(device);
  ToyImages const images({.n = 20});
  auto const net = network_on("cnn", 8);
  auto const optimizer = make_sgd(net->trainable(), {.learning_rate = 0.01});
  Trainer(*net, *optimizer, {.epochs = 5, .batch = 10}).fit(images, images);
  return weights_of(*net);
}

struct Attacked {
  std::vector<float> adversarial;
  std::vector<int32_t> predicted;
};

Attacked attacked(Device device, const std::string& net, const std::string& attack, int64_t side) {
  On const here(device);
  ToyImages const images({.n = 6, .side = side});
  auto const network = network_on(net, side);
  NetworkClassifier classifier(*network);
  Batch const batch = images.all();
  Tensor const adversarial = make_attack(attack)->run(classifier, batch, {.evaluation = false}).adversarial;
  return {adversarial.to_host<float>(),
          argmax(classifier.logits({adversarial, batch.y, batch.ids})).to_host<int32_t>()};
}

/// A network's images, and the gradient of their mean square.
std::vector<float> restored(Device device, const std::string& net, int64_t side) {
  On const here(device);
  Tensor const x = ToyImages({.n = 2, .side = side}).all().x;
  auto const network = network_on(net, side);
  Tape tape;
  tape.watch(x);
  Context context;
  Tensor const y = (*network)(x, context), losses = mse_loss(y, Tensor::zeros(y.shape()));
  std::vector<float> all = y.to_host<float>();
  for (float v : tape.gradient(losses, Tensor::full(losses.shape(), 1), x).to_host<float>()) all.push_back(v);
  return all;
}

}  // namespace

TEST_CASE("ten training steps end with the cpu's weights") {
  if (default_device() == Device::cpu) return;
  // Gradients differ by rounding, and by what a ReLU or a maximum that falls the other way changes.
  CHECK(relative_distance(ten_steps(default_device()), ten_steps(Device::cpu)) <= 1e-4);
}

TEST_CASE("every attack on every network gives the cpu's images") {
  if (default_device() == Device::cpu) return;
  for (auto const& net_row : Registry<Network, NetworkOptions>::rows()) {
    const std::string& net = net_row.first;
    if (!net_row.second.entry.fact("purpose").empty()) continue;  // no classifier
    // The checker takes hours over the deep networks, which are made of the same operators.
    if (default_device() == Device::simt && !net.starts_with("cnn")) continue;
    int64_t const side = net == "cnn" ? 8 : net == "cnn-seed000" ? 46 : net == "inception_v3" ? 75 : 64;
    // The plain attacks are compared at their defaults on the smallest network, every attack briefly. Larger networks
    // amplify rounding until decisions tip: on cnn-seed000 two of six images turn off in PGD's fifth step on AVX2, and
    // the cpu's own providers part on a tenth of the pixels in APGD's ten steps, on half in its hundred. The checker is
    // asked for those on the smallest network; what a card does has yet to be seen.
    std::string const steps = net == "cnn" ? "" : ":steps=3";
    std::vector<std::string> attacks{"bim" + steps, "fgm", "fgsm", "noise", "pgd" + steps, "pgd-l2" + steps};
    if (default_device() != Device::simt || net == "cnn")
      for (const QuickAttack& quick : quick_attacks()) attacks.push_back(quick.spec);
    for (const std::string& attack : attacks) {
      CAPTURE(net);
      CAPTURE(attack);
      Attacked const a = attacked(default_device(), net, attack, side), b = attacked(Device::cpu, net, attack, side);
      CHECK(relative_distance(a.adversarial, b.adversarial) <= 1e-2);
      // A step takes the sign of each gradient; those that rounding can turn are few.
      int64_t apart = 0;
      for (size_t i = 0; i < a.adversarial.size(); ++i)
        apart += !(std::abs(a.adversarial[i] - b.adversarial[i]) <= 1e-4f);
      CHECK(double(apart) <= 0.02 * double(a.adversarial.size()));
      CHECK(a.predicted == b.predicted);
    }
  }
}

TEST_CASE("a limit on the device's memory is kept and explained") {
  Device const device = default_device();
  size_t const before = memory_statistics(device).in_use;
  set_memory_limit(device, before + (4 << 20));
  std::string message;
  try {
    auto const net = network_on("cnn", 64);
    OperatorScope const scope("conv2d");
    net->initialise(1);
    Context context{.training = false};
    (*net)(Tensor::zeros({64, 64, 64, 1}), context);
  } catch (const OutOfMemory& e) {
    message = e.what();
  }
  set_memory_limit(device, 0);
  CHECK(message.find("--batch") != std::string::npos);
  synchronize(stream_of(device));
  CHECK(memory_statistics(device).in_use == before);  // nothing is left behind
}

TEST_CASE("every network that gives an image gives the cpu's, and its gradient") {
  if (default_device() == Device::cpu) return;
  for (auto const& row : Registry<Network, NetworkOptions>::rows()) {
    const std::string& net = row.first;
    if (row.second.entry.fact("purpose").empty()) continue;
    if (default_device() == Device::simt && net != "dcae") continue;  // as above
    CAPTURE(net);
    int64_t const side = net == "dcae" ? 8 : 64;
    CHECK(relative_distance(restored(default_device(), net, side), restored(Device::cpu, net, side)) <= 1e-4);
  }
}
