// Tensors, memory, random numbers, the tape, modules and optimisers.
#include <doctest/doctest.h>

#include <cmath>

#include "engine/nn/layers.h"
#include "engine/nn/network.h"
#include "engine/optim/optimizer.h"
#include "engine/tensor/allocator.h"
#include "kernels/launch/philox.h"

using namespace mith;

TEST_CASE("philox gives the published known answers") {
  // Known-answer vectors of Random123 (Salmon et al. 2011).
  Philox4 const zeros = philox4x32({{0, 0, 0, 0}}, 0, 0);
  CHECK(zeros.v[0] == 0x6627e8d5u);
  CHECK(zeros.v[1] == 0xe169c58du);
  CHECK(zeros.v[2] == 0xbc57ac4cu);
  CHECK(zeros.v[3] == 0x9b00dbd8u);
  Philox4 const pi = philox4x32({{0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}}, 0xa4093822u, 0x299f31d0u);
  CHECK(pi.v[0] == 0xd16cfe09u);
  CHECK(pi.v[1] == 0x94fdccebu);
  CHECK(pi.v[2] == 0x5001e420u);
  CHECK(pi.v[3] == 0x24126ea1u);
}

TEST_CASE("philox streams differ in every part of their key") {
  DrawKey const key{.seed = 7, .step = 3, .restart = 1, .purpose = Purpose::noise, .stream = 2};
  uint32_t const bits = random_bits(key, 5, 9);
  for (DrawKey other : {DrawKey{.seed = 8, .step = 3, .restart = 1, .purpose = Purpose::noise, .stream = 2},
                        DrawKey{.seed = 7, .step = 4, .restart = 1, .purpose = Purpose::noise, .stream = 2},
                        DrawKey{.seed = 7, .step = 3, .restart = 2, .purpose = Purpose::noise, .stream = 2},
                        DrawKey{.seed = 7, .step = 3, .restart = 1, .purpose = Purpose::split, .stream = 2},
                        DrawKey{.seed = 7, .step = 3, .restart = 1, .purpose = Purpose::noise, .stream = 3}})
    CHECK(random_bits(other, 5, 9) != bits);
  CHECK(random_bits(key, 6, 9) != bits);
  CHECK(random_bits(key, 5, 10) != bits);
  CHECK(random_bits(key, (uint64_t(1) << 32) + 5, 9) != bits);
}

TEST_CASE("philox uniform and normal have the moments they should") {
  DrawKey const key{.seed = 1, .purpose = Purpose::noise};
  int const n = 200000;
  double mean = 0, square = 0, normal_mean = 0, normal_square = 0;
  for (int i = 0; i < n; ++i) {
    double const u = uniform(key, 0, i), z = normal(key, 1, i);
    CHECK_FALSE(u < 0);
    CHECK_FALSE(u >= 1);
    mean += u / n;
    square += u * u / n;
    normal_mean += z / n;
    normal_square += z * z / n;
  }
  double const tolerance = 5 / std::sqrt(double(n));  // five standard errors of quantities with deviation <= 1.5
  CHECK(std::abs(mean - 0.5) <= tolerance);
  CHECK(std::abs(square - 1.0 / 3) <= tolerance);
  CHECK(std::abs(normal_mean) <= tolerance);
  CHECK(std::abs(normal_square - 1) <= 1.5 * tolerance);
}

TEST_CASE("tensors share memory through copies, views and rows, and not through clones") {
  Tensor const t = Tensor::from(std::vector<float>{1, 2, 3, 4, 5, 6}, {3, 2});
  CHECK(t.view({2, 3}).to_host<float>() == std::vector<float>{1, 2, 3, 4, 5, 6});
  CHECK(t.rows(1, 2).to_host<float>() == std::vector<float>{3, 4, 5, 6});
  CHECK(t.rows(1, 0).numel() == 0);
  Tensor middle = t.rows(1, 1), copy = t.clone();
  middle.fill_zero();
  CHECK(t.to_host<float>() == std::vector<float>{1, 2, 0, 0, 5, 6});
  CHECK(copy.to_host<float>() == std::vector<float>{1, 2, 3, 4, 5, 6});
  CHECK(t.view({6}).id() != t.id());
  CHECK_THROWS_AS(t.view({5}), Error);
  CHECK_THROWS_AS(t.rows(2, 2), Error);
  CHECK_THROWS_AS(t.data<double>(), Error);
  CHECK_THROWS_AS(Tensor().raw(), Error);
  CHECK_THROWS_AS((Shape{1, -1}), Error);
  CHECK(t.cast(DType::f64).to_host<double>() == std::vector<double>{1, 2, 0, 0, 5, 6});
  CHECK(Tensor::full({2}, 0.1, DType::f64).to_host<double>() == std::vector<double>{0.1, 0.1});
}

TEST_CASE("the allocator reuses memory and refuses beyond its limit with a useful message") {
  Device const device = default_device();
  void* const first = allocate(device, 5000);
  release(device, first);
  void* const second = allocate(device, 5000);
  if (device != Device::simt) CHECK(first == second);  // simt keeps freed memory to see who still uses it
  CHECK(reinterpret_cast<uintptr_t>(second) % 256 == 0);
  release(device, second);

  set_memory_limit(device, memory_statistics(device).in_use + (1 << 20));
  std::string message;
  try {
    OperatorScope const scope("conv2d [64, 28, 28, 32]");
    allocate(device, 16 << 20);
  } catch (const OutOfMemory& e) {
    message = e.what();
  }
  set_memory_limit(device, 0);
  for (const char* part : {"conv2d [64, 28, 28, 32]", "16 MiB", "limit", "in use", "--batch"})
    CHECK(message.find(part) != std::string::npos);
  size_t const before = memory_statistics(device).in_use;
  { Tensor const t = Tensor::empty({1 << 20}); }
  CHECK(memory_statistics(device).in_use == before);
  trim_memory(device);
  CHECK(memory_statistics(device).cached == 0);
}

TEST_CASE("the tape computes what is asked for and nothing else") {
  Tensor const x = Tensor::from(std::vector<float>{1, 2, 3}, {3}), w = Tensor::from(std::vector<float>{4, 5, 6}, {3});
  Tensor const ones = Tensor::full({3}, 1);
  SUBCASE("a value used twice gets the sum of both gradients") {
    Tape tape;
    tape.watch(x);
    Tensor const y = add(multiply(x, x), x);
    CHECK(tape.gradient(y, ones, x).to_host<float>() == std::vector<float>{3, 5, 7});
  }
  SUBCASE("an operator that passes one tensor to both inputs does not alias their sums") {
    Tape tape;
    tape.watch(x);
    tape.watch(w);
    Tensor const y = add(add(x, w), x);
    auto const g = tape.gradients(y, ones, {x, w});
    CHECK(g[0].to_host<float>() == std::vector<float>{2, 2, 2});
    CHECK(g[1].to_host<float>() == std::vector<float>{1, 1, 1});
    CHECK(ones.to_host<float>() == std::vector<float>{1, 1, 1});
  }
  SUBCASE("unwatched operands are constants and are not recorded") {
    Tape tape;
    tape.watch(x);
    Tensor const y = multiply(multiply(w, w), x);
    CHECK(tape.nodes().size() == 1);
    CHECK(tape.gradient(y, ones, x).to_host<float>() == std::vector<float>{16, 25, 36});
  }
  SUBCASE("gradients of intermediate values, and of values nothing flows from") {
    Tape tape;
    tape.watch(x);
    Tensor const middle = multiply(x, w), y = multiply(middle, middle), aside = scale(x, 2);
    auto const g = tape.gradients(y, ones, {middle, x, aside}, true);
    CHECK(g[0].to_host<float>() == std::vector<float>{8, 20, 36});
    CHECK(g[1].to_host<float>() == std::vector<float>{32, 100, 216});
    CHECK_FALSE(g[2].defined());
    CHECK(tape.gradient(y, ones, x).to_host<float>() == std::vector<float>{32, 100, 216});
    CHECK(tape.nodes().empty());
  }
  SUBCASE("recording stops under NoTape and returns to the outer tape") {
    Tape outer;
    outer.watch(x);
    {
      Tape inner;
      CHECK(Tape::current() == &inner);
      NoTape const none;
      CHECK(Tape::current() == nullptr);
    }
    CHECK(Tape::current() == &outer);
    Tensor const y = scale(x, 3);
    CHECK(outer.gradient(y, ones, x).to_host<float>() == std::vector<float>{3, 3, 3});
    CHECK_THROWS_AS(outer.gradient(w, ones, x), Error);
  }
  SUBCASE("a chain of a hundred thousand operators neither recurses nor leaks") {
    Tape tape;
    tape.watch(x);
    Tensor y = x;
    for (int i = 0; i < 100000; ++i) y = scale(y, 1);
    CHECK(tape.gradient(y, ones, x).to_host<float>() == std::vector<float>{1, 1, 1});
  }
  CHECK(Tape::current() == nullptr);
}

TEST_CASE("adam, adamw and sgd follow their update rules") {
  struct One final : Module {
    Parameter& p = add_parameter("p", {1});
    Tensor forward(const Tensor& x, Context&) override { return x; }
  };
  std::vector<float> const gradients{0.5f, -0.25f, 1.5f};
  auto const run = [&](const std::string& name, double rate) {
    One module;
    module.p.value.copy_from(Tensor::full({1}, 2, DType::f32, Device::cpu));
    auto const optimizer = make_optimizer(name, module.trainable(), rate);
    for (float g : gradients) optimizer->step({Tensor::full({1}, g)});
    return module.p.value.to_host<float>()[0];
  };
  double v = 2, m = 0, s = 0, w = 2, buffer = 0, plain = 2;
  for (size_t t = 1; t <= gradients.size(); ++t) {
    double const g = gradients[t - 1];
    m = 0.9 * m + 0.1 * g;
    s = 0.999 * s + 0.001 * g * g;
    double const step = (m / (1 - std::pow(0.9, t))) / (std::sqrt(s / (1 - std::pow(0.999, t))) + 1e-8);
    v -= 0.01 * step;
    w = w * (1 - 0.01 * 0.01) - 0.01 * step;
    buffer = t == 1 ? g : 0.9 * buffer + g;
    plain -= 0.01 * buffer;
  }
  CHECK(std::abs(run("adam", 0.01) - v) <= 1e-6);  // a few roundings of f32 at values near 2
  CHECK(std::abs(run("adamw", 0.01) - w) <= 1e-6);
  CHECK(std::abs(run("sgd", 0.01) - plain) <= 1e-6);
  CHECK_THROWS_AS(run("adamm", 0.01), UsageError);
  CHECK_THROWS_AS(run("adam", -1), UsageError);
}

TEST_CASE("networks have the published parameter counts and PyTorch's names") {
  auto const published = make_network("cnn-seed000", {.classes = 5, .channels = 3, .height = 180, .width = 180});
  int64_t total = 0;
  for (auto const& [name, p] : published->parameters())
    if (name != "bn.num_batches_tracked") total += p->value.numel();
  CHECK(total == 425669);
  CHECK(published->parameter_count() == 425541);

  auto const cnn = make_network("cnn:dropout=0.5", {.classes = 2, .channels = 1, .height = 28, .width = 20});
  CHECK(cnn->spec() == "cnn:dropout=0.5");
  std::vector<std::string> names;
  for (auto const& [name, p] : cnn->parameters()) names.push_back(name);
  CHECK(names == std::vector<std::string>{"conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "conv3.weight",
                                          "conv3.bias", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var",
                                          "bn.num_batches_tracked", "fc1.weight", "fc1.bias", "fc2.weight",
                                          "fc2.bias"});
  cnn->initialise(1);
  Context context;
  CHECK((*cnn)(Tensor::zeros({3, 28, 20, 1}), context).shape() == Shape{3, 2});
  CHECK_THROWS_AS((*cnn)(Tensor::zeros({3, 28, 20, 3}), context), Error);
  CHECK_THROWS_AS(make_network("cnn", {.height = 4, .width = 4}), UsageError);
  CHECK_THROWS_AS(make_network("cmn", {}), UsageError);
  CHECK_THROWS_AS(make_network("cnn:dropuot=0.5", {}), UsageError);
  CHECK_THROWS_AS(make_network("cnn:classes=1", {}), UsageError);
}

TEST_CASE("a head of dense layers stands in the last layer's place, named as PyTorch's Sequential") {
  auto const ending = [](const std::string& net, size_t tensors) {
    auto const network = make_network(net, {.classes = 5, .channels = 1, .height = 96, .width = 96});
    auto const parameters = network->parameters();
    std::string text;
    for (size_t i = parameters.size() - tensors; i < parameters.size(); ++i)
      text += cat(parameters[i].name, " ", parameters[i].parameter->value.shape(), "; ");
    return text;
  };
  CHECK(ending("resnet18", 2) == "fc.weight [5, 512]; fc.bias [5]; ");
  CHECK(
      ending("resnet18:head=20-7", 6) ==
      "fc.0.weight [20, 512]; fc.0.bias [20]; fc.2.weight [7, 20]; fc.2.bias [7]; fc.4.weight [5, 7]; fc.4.bias [5]; ");
  for (auto const& [net, place, in] :
       {std::tuple("resnet50", "fc", 2048), std::tuple("densenet121", "classifier", 1024),
        std::tuple("mobilenet_v2", "classifier.1", 1280), std::tuple("efficientnet_b0", "classifier.1", 1280),
        std::tuple("inception_v3", "fc", 2048), std::tuple("vit:layers=1,hidden=6", "heads.head", 6),
        std::tuple("vit_tiny", "heads.head", 192), std::tuple("vgg16", "classifier.6", 4096)}) {
    CAPTURE(net);
    CHECK(ending(cat(net, std::string(net).find(':') == std::string::npos ? ":" : ",", "head=20"), 4) ==
          cat(place, ".0.weight [20, ", in, "]; ", place, ".0.bias [20]; ", place, ".2.weight [5, 20]; ", place,
              ".2.bias [5]; "));
  }
  CHECK_THROWS_AS(make_network("cnn:head=20", {}), UsageError);

  // ReLU between the layers: with all weights -1, what comes out of the first is negative, so nothing; what comes out
  // of the second is its bias of -1, so nothing again.
  auto const vit = make_network("vit:layers=1,hidden=6,mlp=6,head=4-3", {.height = 16, .width = 16});
  vit->initialise(1);
  Context context;
  Tensor const x = Tensor::full({1, 16, 16, 1}, 0.5);
  for (auto const& [name, parameter] : vit->parameters()) {
    if (name.starts_with("encoder.ln.")) parameter->value.copy_from(Tensor::full({6}, name.ends_with("bias") ? 1 : 0));
    bool const minus = name.ends_with("weight") || name == "heads.head.2.bias";
    if (name.starts_with("heads.")) parameter->value.copy_from(Tensor::full(parameter->value.shape(), minus ? -1 : 0));
  }
  CHECK((*vit)(x, context).to_host<float>() == std::vector<float>{0, 0});
}

TEST_CASE("initial weights depend on the seed and lie within PyTorch's bounds") {
  auto const make = [](uint64_t seed) {
    auto net = make_network("cnn", {});
    net->initialise(seed);
    return net;
  };
  auto const a = make(1), b = make(1), c = make(2);
  for (size_t i = 0; i < a->parameters().size(); ++i) {
    auto const [name, p] = a->parameters()[i];
    if (p->value.dtype() != DType::f32) continue;
    auto const va = p->value.to_host<float>(), vb = b->parameters()[i].parameter->value.to_host<float>();
    CHECK(va == vb);
    if (name == "conv2.weight") {
      CHECK(va != c->parameters()[i].parameter->value.to_host<float>());
      float const bound = 1 / std::sqrt(32.f * 9);
      double square = 0;
      for (float v : va) {
        CHECK_FALSE(std::abs(v) > bound);
        square += double(v) * v / double(va.size());
      }
      CHECK(std::abs(square / (bound * bound / 3) - 1) <= 0.05);  // 18432 draws: a relative standard error of 0.0066
    }
  }
}
