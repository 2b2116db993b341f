// Neural style transfer as an attack: its loss, its gradient, its limits, on a small network with drawn weights.
#include <doctest/doctest.h>

#include <cmath>

#include "attacks/nst.h"
#include "attacks/passes.h"
#include "attacks/steps.h"
#include "engine/files/files.h"
#include "engine/ops/arithmetic.h"
#include "tests/data_fixtures.h"
#include "tests/host_models.h"
#include "tests/toy.h"

using namespace mith;

namespace {

constexpr int64_t side = 16;

struct Model {
  explicit Model(const std::string& spec = "cnn")
      : network(make_network(spec, {.classes = 2, .channels = 1, .height = side, .width = side, .normalize = "none"})),
        classifier((network->initialise(3), *network)) {}
  std::unique_ptr<Network> network;
  NetworkClassifier classifier;
};

Batch toys(int64_t n) { return ToyImages({.n = n, .side = side}).all(); }
std::vector<float> host(const Tensor& t) { return t.to_host<float>(); }
AttackOptions training() {
  AttackOptions o;
  o.evaluation = false;
  return o;
}
AttackResult run(const Nst& config, Classifier& model, const Batch& b, const AttackOptions& options = training()) {
  return make_attack(spec_text(config, Nst::name))->run(model, b, options);
}

}  // namespace

TEST_CASE("OnOutputs: the gradient of several outputs at once is the sum of each one's") {
  Model m;
  Batch const b = toys(3);
  auto const seen = m.classifier.evaluate(b, Loss{}, {.logits = true, .features = {all_features}});
  CHECK(seen.features.size() == 4);  // block1 to block3, penultimate
  Tensor const on_logits = scale(seen.logits, 2), on_block = scale(seen.features.at("block2"), 0.5);
  OnOutputs const both{[](const Outputs& out) {
    return std::map<std::string, Tensor>{{"logits", scale(out.logits, 2)},
                                         {"block2", scale(out.features.at("block2"), 0.5)}};
  }};
  auto const g = host(m.classifier.evaluate(b, both, {.input_gradient = true, .features = {"block2"}}).input_gradient);
  auto const first = host(m.classifier.evaluate(b, OnLogits{on_logits}, {.input_gradient = true}).input_gradient);
  auto const second =
      host(m.classifier.evaluate(b, OnFeature{"block2", on_block}, {.input_gradient = true}).input_gradient);
  double worst = 0, size = 0;
  for (size_t i = 0; i < g.size(); ++i) {
    double const gap = std::abs(double(g[i]) - double(first[i]) - double(second[i]));
    if (!(gap <= worst)) worst = gap;
    size = std::max(size, std::abs(double(g[i])));
  }
  CHECK(size > 0);
  CHECK(worst <= 1e-5 * size);
}

TEST_CASE("nst: without style and attack the image stays, bit for bit") {
  Model m;
  Batch const b = toys(4);
  CHECK(host(run({.steps = 5, .style_weight = 0}, m.classifier, b).adversarial) == host(b.x));
  CHECK(host(run({.steps = 5, .style_weight = 0, .content = "block1", .style = "block2+block3"}, m.classifier, b)
                 .adversarial) == host(b.x));
  CHECK(host(run({.steps = 0}, m.classifier, b).adversarial) == host(b.x));
}

TEST_CASE("nst: the loss falls, the style is taken on, the content fades slowly") {
  Model m;
  Batch const b = toys(4);
  for (const char* style_image : {"texture", "partner"}) {
    Nst const config{.steps = 40, .style_image = style_image};
    Tensor const style = nst_style_images(config, b, b, {});
    Tensor const adv = run(config, m.classifier, b).adversarial;
    auto const before = nst_loss(m.classifier, config, b, b.x, style),
               after = nst_loss(m.classifier, config, b, adv, style);
    for (size_t i = 0; i < 4; ++i) CHECK(after[i] <= 0.5f * before[i]);
    for (float v : host(adv))
      if (!(v >= 0 && v <= 1)) FAIL("outside [0, 1]");
  }
}

TEST_CASE("nst: an image in its own style has no loss, and its weights do what they say") {
  Model m;
  Batch const b = toys(3);
  for (float v : nst_loss(m.classifier, {}, b, b.x, b.x)) CHECK(v == 0);
  Tensor const style = nst_style_images({}, b, b, {}), other = uniform_in_linf_ball(b, 0.1f, {.seed = 3});
  auto const loss = [&](double content, double styled, double attack) {
    return nst_loss(m.classifier, {.content_weight = content, .style_weight = styled, .adversarial_weight = attack}, b,
                    other, style);
  };
  auto const content = loss(1, 0, 0), styled = loss(0, 1, 0), attack = loss(0, 0, 1), all = loss(2, 1e3, 0.5);
  auto const entropy = host(m.classifier.evaluate({other, b.y, b.ids}, Loss{.labels = b.y}, {.loss = true}).loss);
  for (size_t i = 0; i < 3; ++i) {
    CHECK(content[i] > 0);
    CHECK(styled[i] > 0);
    CHECK(std::abs(attack[i] + entropy[i]) <= 1e-6);
    double const sum = 2 * double(content[i]) + 1e3 * double(styled[i]) + 0.5 * double(attack[i]);
    CHECK(std::abs(all[i] - sum) <= 1e-5 * std::abs(sum) + 1e-6);
  }
}

TEST_CASE("nst: the style loss is Gatys's, in double from the features") {
  Model m;
  Batch const b = toys(2);
  Nst const config{.content_weight = 0, .style_weight = 1, .style = "block1+block3"};
  Tensor const style = nst_style_images(config, b, b, {});
  auto const features = [&](const Tensor& x) {
    return m.classifier.evaluate({x, b.y, b.ids}, Loss{}, {.features = {"block1", "block3"}}).features;
  };
  auto const own = features(b.x), wanted = features(style);
  std::vector<double> expected(2, 0);
  for (const char* layer : {"block1", "block3"}) {
    auto const f = host(own.at(layer)), s = host(wanted.at(layer));
    size_t const c = size_t(own.at(layer).dim(3)), p = size_t(own.at(layer).dim(1) * own.at(layer).dim(2));
    for (size_t i = 0; i < 2; ++i)
      for (size_t j = 0; j < c; ++j)
        for (size_t k = 0; k < c; ++k) {
          double gap = 0;  // of one element of F^T F
          for (size_t q = 0; q < p; ++q) {
            size_t const at = (i * p + q) * c;
            gap += double(f[at + j]) * double(f[at + k]) - double(s[at + j]) * double(s[at + k]);
          }
          expected[i] += gap * gap / (4 * double(c * c) * double(p * p));
        }
  }
  auto const loss = nst_loss(m.classifier, config, b, b.x, style);
  for (size_t i = 0; i < 2; ++i) CHECK(std::abs(loss[i] / expected[i] - 1) <= 1e-4);
}

TEST_CASE("nst: the adversarial term raises the cross-entropy, the bound holds") {
  Model m;
  Batch const b = toys(4);
  auto const entropy = [&](const Tensor& x) {
    return host(m.classifier.evaluate({x, b.y, b.ids}, Loss{.labels = b.y}, {.loss = true}).loss);
  };
  Nst config{.steps = 20, .content_weight = 0, .style_weight = 0, .adversarial_weight = 1, .eps = 0.05f};
  Tensor const adv = run(config, m.classifier, b).adversarial;
  auto const before = entropy(b.x), after = entropy(adv);
  for (size_t i = 0; i < 4; ++i) CHECK(after[i] > before[i]);
  for (float d : linf_distance(adv, b.x)) {
    CHECK(d <= 0.05f + 1e-6f);
    CHECK(d > 0.04f);
  }
  config.eps = 0;
  CHECK(host(run(config, m.classifier, b).adversarial) == host(b.x));
}

TEST_CASE("nst: books in evaluation; the same bytes for every batch size") {
  Model m;
  Batch b = toys(7);
  b.y = argmax(m.classifier.logits(b));
  auto labels = b.y.to_host<int32_t>();
  labels[2] = 1 - labels[2];
  b.y = Tensor::from(labels, {7});
  Nst const config{.steps = 6, .rate = 0.05, .adversarial_weight = 1e6};
  AttackOptions options;
  options.batch = 3;
  auto const before = m.classifier.usage();
  AttackResult const r = run(config, m.classifier, b, options);
  CHECK(m.classifier.usage().gradients - before.gradients == 6 * 6);  // six images are right, in two parts of three
  CHECK_FALSE(r.clean_correct[2]);
  auto const moved = linf_distance(r.adversarial, b.x);
  auto const predicted = argmax(m.classifier.logits({r.adversarial, b.y, b.ids})).to_host<int32_t>();
  for (size_t i = 0; i < 7; ++i) {
    CHECK((moved[i] > 0) == (i != 2));
    CHECK(bool(r.success[i]) == (i != 2 && predicted[i] != labels[i]));
    CHECK(r.gradients[i] == (i == 2 ? 0 : 6));
    CHECK(r.queries[i] == (i == 2 ? 1 : 11));
  }
  std::vector<float> parts;
  for (int64_t i = 0; i < 7; ++i) {
    auto const part = host(run(config, m.classifier, slice(b, i, 1), options).adversarial);
    parts.insert(parts.end(), part.begin(), part.end());
  }
  CHECK(parts == host(r.adversarial));
}

TEST_CASE("nst: layers are the network's, and what does not fit is a UsageError") {
  Model m;
  NstLayers const layers = nst_layers(m.classifier, {});
  CHECK(layers.content == "block3");
  CHECK(layers.style == std::vector<std::string>{"block1", "block2", "block3"});
  Batch const b = toys(2);
  CHECK_THROWS_WITH_AS(run({.content = "layer1"}, m.classifier, b),
                       doctest::Contains("has the features block1, block2, block3"), UsageError);
  CHECK_THROWS_AS(run({.style = "block1+penultimate"}, m.classifier, b), UsageError);
  struct Plain final : HostModel {
    Plain() : HostModel({side, side, 1}, std::vector<std::vector<double>>(2, std::vector<double>(side * side, 0))) {}
  } plain;
  CHECK_THROWS_WITH_AS(run({}, plain, b), doctest::Contains("no features"), UsageError);
  CHECK_THROWS_WITH_AS(run({.style_image = "partner"}, m.classifier, slice(b, 0, 1)),
                       doctest::Contains("another class"), UsageError);
}

TEST_CASE("nst: a style image from a file") {
  Model m;
  Batch const b = toys(2);
  fixtures::TemporaryFolder const folder;
  std::string const path = (folder / "style.npy").string();
  std::vector<uint8_t> bytes(side * side);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i);
  write_npy(path, bytes, {side, side});
  auto const style = host(nst_style_images({.style_image = path}, b, b, {}));
  REQUIRE(style.size() == 2 * bytes.size());
  CHECK(style[bytes.size() + 200] == 200 / 255.f);
  write_npy(path, std::vector<float>(side * side, 2), {side, side, 1});
  CHECK_THROWS_AS(nst_style_images({.style_image = path}, b, b, {}), UsageError);
  write_npy(path, bytes, {side * side, 1});
  CHECK_THROWS_AS(nst_style_images({.style_image = path}, b, b, {}), UsageError);
  CHECK_THROWS_AS(nst_style_images({.style_image = "absent.npy"}, b, b, {}), UsageError);
}
