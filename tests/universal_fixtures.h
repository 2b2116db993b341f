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
inline Network& trained_network() {
  static auto const network = [] {
    auto net = make_network("cnn", {.classes = 2, .channels = 1, .height = 8, .width = 8, .normalize = "none"});
    net->initialise(1);
    auto const optimizer = make_adam(net->trainable());
    ToyImages const images({.n = 128});
    Trainer(*net, *optimizer, {.epochs = 8, .batch = 16}).fit(images, images);
    return net;
  }();
  return *network;
}
inline NetworkClassifier& trained_model() {
  static NetworkClassifier model(trained_network());
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

/// What the next step of crafting moves.
inline std::vector<float> current(const Universal& u) {
  return (u.current.defined() ? u.current : u.values).to_host<float>();
}

/// The same values, state and books.
inline void check_same(const Universal& a, const Universal& b) {
  CHECK(a.values.to_host<float>() == b.values.to_host<float>());
  CHECK(current(a) == current(b));
  CHECK(a.fooled == b.fooled);
  CHECK(a.queries == b.queries);
  CHECK(a.gradients == b.gradients);
  REQUIRE(a.passes.size() == b.passes.size());
  for (size_t i = 0; i < a.passes.size(); ++i) {
    CHECK(a.passes[i].objective == b.passes[i].objective);
    CHECK(a.passes[i].fooled == b.passes[i].fooled);
  }
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
  REQUIRE(current(states.front()) != current(whole));  // something is left to be done
  auto const file = std::filesystem::temp_directory_path() / cat("mith-universal-", getpid(), ".safetensors");
  for (size_t i = 0; i + 1 < states.size(); ++i) {
    auto const before = states[i].values.to_host<float>(), moved_before = current(states[i]);
    CHECK_FALSE(states[i].finished);
    write_universal(file, states[i], attack->spec());
    CHECK_THROWS_AS(read_universal(file, "uap"), UsageError);
    check_same(make_universal(spec)->craft(model, set, options, {}, read_universal(file, attack->spec())), whole);
    make_universal(spec)->craft(model, set, options, {}, states[i]);
    CHECK(states[i].values.to_host<float>() == before);  // the state that was handed out is nobody else's
    CHECK(current(states[i]) == moved_before);
  }
  std::filesystem::remove(file);
}

/// Every batch that crafting takes tells how far it is; what stops it there, as Ctrl-C does, loses one pass at most.
inline void check_stops(Classifier& model, const BatchSource& set, const std::string& spec) {
  CAPTURE(spec);
  struct Stop {};
  AttackOptions options;
  options.seed = 6;
  int64_t calls = 0, last = 0, passes = 0, end = -1;
  options.progress = [&](const AttackProgress& p) {
    ++calls;
    CHECK(p.done >= last);
    CHECK(p.done <= p.total);
    last = p.done;
    if (calls == end) throw Stop();
  };
  auto const attack = make_universal(spec);
  Universal kept;
  Universal const whole = attack->craft(model, set, options, [&](const Universal&) { ++passes; });
  REQUIRE(passes >= 2);
  CHECK(calls > 2 * passes);  // not only after each
  end = calls - 2;
  calls = last = 0;
  CHECK_THROWS_AS(attack->craft(model, set, options, [&](const Universal& u) { kept = u; }), Stop);
  CHECK(std::ssize(kept.passes) == passes - 1);
  options.progress = {};
  check_same(attack->craft(model, set, options, {}, kept), whole);
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
