// What the tests of universal attacks share: a small trained network, and crafting that is interrupted.
#pragma once
#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "attacks/universal.h"
#include "engine/ops/arithmetic.h"
#include "engine/train/trainer.h"
#include "tests/toy.h"

namespace mith {

/// A network of two classes that is right about nearly all toy images; trained once a process.
inline NetworkClassifier& trained_model() {
  static auto const network = [] {
    auto net = make_network("cnn", {.classes = 2, .channels = 1, .height = 8, .width = 8, .normalize = "none"});
    net->initialise(1);
    auto const optimizer = make_adam(net->trainable());
    ToyImages const images({.n = 128});
    Trainer(*net, *optimizer, {.epochs = 8, .batch = 16}).fit(images, images);
    return net;
  }();
  static NetworkClassifier model(*network);
  return model;
}

/// Four of five are of class 1: of two classes that mirror each other, one perturbation can only fool one.
inline const ToyImages& crafting_images() {
  static ToyImages const images({.n = 32, .copies_of_class_1 = 4});
  return images;
}
inline Batch unseen_images() {
  static ToyImages const images({.n = 64, .first_id = 5000});
  return images.all();
}

inline double share_wrong(Classifier& model, const Tensor& x, const Batch& b) {
  auto const found = argmax(model.logits({x, b.y, b.ids})).to_host<int32_t>(), wanted = b.y.to_host<int32_t>();
  double wrong = 0;
  for (size_t i = 0; i < found.size(); ++i) wrong += found[i] != wanted[i];
  return wrong / double(found.size());
}

/// Crafts in one go, and again from the state after every pass on, which goes through a file: the same bytes and books
/// in the end.
inline void check_resumes(Classifier& model, const BatchSource& set, const std::string& spec) {
  CAPTURE(spec);
  AttackOptions options;
  options.seed = 6;
  auto const attack = make_universal(spec);
  std::vector<Universal> states;
  Universal const whole = attack->craft(model, set, options, [&](const Universal& u) { states.push_back(u); });
  REQUIRE(states.size() >= 2);
  REQUIRE(states.front().values.to_host<float>() != whole.values.to_host<float>());  // something is left to be done
  auto const file = std::filesystem::temp_directory_path() / cat("mith-universal-", getpid(), ".safetensors");
  for (size_t i = 0; i + 1 < states.size(); ++i) {
    auto const before = states[i].values.to_host<float>();
    CHECK_FALSE(states[i].finished);
    write_universal(file, states[i], attack->spec());
    CHECK_THROWS_AS(read_universal(file, "uap"), UsageError);
    Universal const stored = read_universal(file, attack->spec());
    Universal const resumed = make_universal(spec)->craft(model, set, options, {}, stored);
    CHECK(resumed.values.to_host<float>() == whole.values.to_host<float>());
    CHECK(resumed.queries == whole.queries);
    CHECK(resumed.gradients == whole.gradients);
    CHECK(resumed.passes.size() == whole.passes.size());
    CHECK(resumed.passes.back().objective == whole.passes.back().objective);
    make_universal(spec)->craft(model, set, options, {}, states[i]);
    CHECK(states[i].values.to_host<float>() == before);  // the state that was handed out is nobody else's
  }
  std::filesystem::remove(file);
}

/// Crafting does not depend on how many images the network sees at once.
inline void check_batch_free(Classifier& model, const BatchSource& set, const std::string& spec) {
  CAPTURE(spec);
  std::vector<std::vector<float>> found;
  for (int64_t batch : {0, 5, 64}) {
    AttackOptions options;
    options.batch = batch;
    found.push_back(make_universal(spec)->craft(model, set, options).values.to_host<float>());
  }
  CHECK(found[0] == found[1]);
  CHECK(found[0] == found[2]);
}

}  // namespace mith
