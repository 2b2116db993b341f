// The training loop, its callbacks and adversarial training, on sets small enough to follow.
#include <doctest/doctest.h>

#include <filesystem>
#include <numeric>

#include "attacks/attack.h"
#include "defenses/adversarial_training.h"
#include "engine/files/files.h"
#include "engine/nn/layers.h"
#include "engine/ops/arithmetic.h"
#include "engine/train/trainer.h"
#include "tests/provider_fixtures.h"
#include "tests/toy.h"

using namespace mith;

namespace {

/// flatten, linear: what every number can be followed through.
class LinearNet final : public Network {
 public:
  explicit LinearNet(const NetworkOptions& o)
      : Network(o, "linear"),
        fc_(add("fc", std::make_unique<Linear>(Linear::Options{.in = o.height * o.width, .out = o.classes}))) {}

 protected:
  Tensor body(const Tensor& x, Context& context) override { return fc_(flatten(x), context); }

 private:
  Linear& fc_;
};

/// A linear classifier with a second one beside it that only training hears, with this weight.
class TwoHeads final : public Network {
 public:
  TwoHeads(const NetworkOptions& o, double weight)
      : Network(o, "two_heads"),
        weight_(weight),
        main_(add("main", std::make_unique<Linear>(Linear::Options{.in = o.height * o.width, .out = o.classes}))),
        auxiliary_(add("aux", std::make_unique<Linear>(Linear::Options{.in = o.height * o.width, .out = o.classes}))) {}

 protected:
  Tensor body(const Tensor& x, Context& context) override {
    if (context.training) context.auxiliary.push_back({auxiliary_(flatten(x), context), weight_});
    return main_(flatten(x), context);
  }

 private:
  double weight_;
  Linear &main_, &auxiliary_;
};

NetworkOptions small_images() { return {.classes = 2, .channels = 1, .height = 8, .width = 8, .normalize = "none"}; }

std::unique_ptr<Network> small_cnn(uint64_t seed = 1) {
  auto net = make_network("cnn", small_images());
  net->initialise(seed);
  return net;
}

std::vector<std::vector<float>> weights_of(const Network& net) {
  std::vector<std::vector<float>> all;
  for (auto const& [name, parameter] : net.parameters())
    if (parameter->value.dtype() == DType::f32) all.push_back(parameter->value.to_host<float>());
  return all;
}

double share_right(Classifier& model, const Batch& b) {
  auto const found = argmax(model.logits(b)).to_host<int32_t>(), wanted = b.y.to_host<int32_t>();
  double right = 0;
  for (size_t i = 0; i < found.size(); ++i) right += found[i] == wanted[i];
  return right / double(found.size());
}
double share_right(Classifier& model, const Batch& b, const std::string& attack) {
  return share_right(model, {make_attack(attack)->run(model, b, {}).adversarial, b.y, b.ids});
}

/// An empty folder of its own for a test, gone afterwards.
struct Folder {
  explicit Folder(const std::string& name) : path(std::filesystem::temp_directory_path() / ("mith-test-" + name)) {
    std::filesystem::remove_all(path);
    std::filesystem::create_directories(path);
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::filesystem::path path;
};

EpochReport report_of(double validation_loss) {
  EpochReport r;
  r.validation.loss = validation_loss;
  return r;
}

}  // namespace

TEST_CASE("a small network overfits 32 images") {
  auto const net = small_cnn();
  auto const optimizer = make_adam(net->trainable());
  ToyImages const images({.contrast = 0.1f, .trace = 0});
  Trainer trainer(*net, *optimizer, {.epochs = 30, .batch = 8});
  auto const reports = trainer.fit(images, images);
  CHECK(reports.size() == 30);
  CHECK(reports.back().validation.loss < 0.1 * reports.front().train.loss);
  CHECK(reports.back().validation.accuracy == 1);
  CHECK(reports.back().validation.balanced_accuracy == 1);
  CHECK(reports.back().images_per_second > 0);
}

TEST_CASE("a class weight of three is worth three copies of every image of the class") {
  ToyImages const once({.n = 12}), thrice({.n = 12, .copies_of_class_1 = 3});
  auto const train = [](const ToyImages& images, std::vector<float> class_weights) {
    LinearNet net(small_images());
    net.initialise(3);
    auto const optimizer = make_sgd(net.trainable(), {.learning_rate = 0.1});
    Trainer trainer(net, *optimizer, {.epochs = 4, .batch = 64, .class_weights = std::move(class_weights)});
    auto const reports = trainer.fit(images, images);
    return std::pair(weights_of(net), reports.back());
  };
  auto const [weighted, weighted_report] = train(once, {1, 3});
  auto const [copied, copied_report] = train(thrice, {});
  auto const [plain, plain_report] = train(once, {});
  double apart = 0, from_plain = 0;
  for (size_t i = 0; i < weighted.size(); ++i)
    for (size_t j = 0; j < weighted[i].size(); ++j) {
      apart = std::max(apart, std::abs(double(weighted[i][j]) - copied[i][j]));
      from_plain = std::max(from_plain, std::abs(double(weighted[i][j]) - plain[i][j]));
    }
  CHECK(apart <= 1e-6);  // four steps of sums in another order
  CHECK(from_plain > 1e-3);
  CHECK(std::abs(weighted_report.train.loss - copied_report.train.loss) <= 1e-6);
  CHECK(std::abs(weighted_report.validation.loss - copied_report.validation.loss) <= 1e-6);
}

TEST_CASE("a resumed run ends with the very weights of one that was not interrupted") {
  provider_tests::Forced const native("all", "native");
  ToyImages const train({.n = 33, .contrast = 0.05f, .trace = 0.01f});  // batches of 8, and one image left over
  // The contrast is reversed, so whatever is learned raises this loss: a plateau on any processor.
  ToyImages const validation({.n = 16, .contrast = -0.05f, .trace = -0.01f, .first_id = 5000});
  auto const run = [&](const std::filesystem::path& folder, int64_t epochs, bool resuming) {
    auto const net = small_cnn(2);
    auto const optimizer = make_adam(net->trainable(), {.learning_rate = 3e-3});
    Trainer trainer(*net, *optimizer, {.epochs = epochs, .batch = 8, .seed = 4, .augment = true});
    trainer.perturbations.push_back(adversarial_perturbation("pgd:eps=0.02,alpha=0.01,steps=2"));
    trainer.perturbations.push_back(adversarial_perturbation("fgsm:eps=0.02"));
    trainer.callbacks.push_back(metrics_log(folder));
    trainer.callbacks.push_back(best_checkpoint(folder / "model.safetensors"));
    trainer.callbacks.push_back(reduce_on_plateau(0.5, 1));
    trainer.callbacks.push_back(early_stopping(20));
    trainer.callbacks.push_back(last_checkpoint(folder / "last.safetensors"));
    trainer.fit(train, validation, resuming ? resume(trainer, folder / "last.safetensors") : 0);
    return std::pair(weights_of(*net), optimizer->learning_rate);
  };
  Folder const whole("whole"), parts("parts");
  auto const uninterrupted = run(whole.path, 6, false);
  run(parts.path, 3, false);
  auto const resumed = run(parts.path, 6, true);
  CHECK(resumed == uninterrupted);
  CHECK(uninterrupted.second < 3e-3);  // the plateau was met, so its memory was put to the test
  auto const epochs = [](const Folder& f) {
    std::string const text = read_text(f.path / "metrics.jsonl");
    return std::count(text.begin(), text.end(), '\n');
  };
  CHECK(epochs(whole) == 6);
  CHECK(epochs(parts) == 6);
}

TEST_CASE("callbacks stop, lower the rate and bring the best weights back") {
  Folder const folder("callbacks");
  auto const net = small_cnn();
  auto const optimizer = make_sgd(net->trainable(), {.learning_rate = 0.1});
  Trainer trainer(*net, *optimizer, {.epochs = 100});
  trainer.callbacks.push_back(best_checkpoint(folder.path / "model.safetensors"));
  trainer.callbacks.push_back(reduce_on_plateau(0.1, 2, 0.005));
  auto const best = weights_of(*net);
  int epoch = 0;
  // Best at once, then never again: the rate falls at the third and the fifth, and then rests at its minimum.
  for (double expected : {0.1, 0.1, 0.01, 0.01, 0.005, 0.005, 0.005}) {
    for (auto const& c : trainer.callbacks) c->epoch_end(trainer, report_of(epoch ? 2.0 : 1.0));
    CHECK(std::abs(optimizer->learning_rate - expected) <= 1e-12);
    net->initialise(static_cast<uint64_t>(100 + epoch++));  // training goes on
  }
  CHECK(weights_of(*net) != best);
  for (auto const& c : trainer.callbacks) c->training_end(trainer);
  CHECK(weights_of(*net) == best);
  CHECK(weights_of(*load_network(folder.path.string())) == best);
}

TEST_CASE("cosine annealing begins at the rate, halves it in the middle and ends at nothing") {
  auto const net = small_cnn();
  auto const optimizer = make_sgd(net->trainable(), {.learning_rate = 0.2});
  Trainer trainer(*net, *optimizer, {.epochs = 4});
  trainer.callbacks.push_back(cosine_annealing(0.2));
  EpochReport report = report_of(1);
  for (double expected : {0.1 + 0.1 * std::sqrt(0.5), 0.1, 0.1 - 0.1 * std::sqrt(0.5), 0.0}) {
    ++report.epoch;
    trainer.callbacks.front()->epoch_end(trainer, report);
    CHECK(std::abs(optimizer->learning_rate - expected) <= 1e-12);
  }
}

TEST_CASE("early stopping waits as long as it is told, and a stopped run stays stopped") {
  ToyImages const images;
  for (int patience : {1, 3}) {
    LinearNet net(small_images());
    auto const optimizer = make_sgd(net.trainable(), {.learning_rate = 0});  // nothing will ever improve
    Trainer trainer(net, *optimizer, {.epochs = 20});
    trainer.callbacks.push_back(early_stopping(patience));
    CHECK(trainer.fit(images, images).size() == static_cast<size_t>(1 + patience));
    LinearNet again(small_images());
    Trainer resumed(again, *optimizer, {.epochs = 20});
    resumed.callbacks.push_back(early_stopping(patience));
    resumed.restore(trainer.state());
    CHECK(resumed.fit(images, images, 1 + patience).empty());
    resumed.callbacks.clear();
    CHECK_THROWS_AS(resumed.restore(trainer.state()), UsageError);
  }
}

TEST_CASE("robust balanced accuracy is monitored where there is one, else the validation loss") {
  EpochReport r = report_of(0.7);
  CHECK(monitored(r).value == 0.7);
  CHECK_FALSE(monitored(r).larger_is_better);
  r.validation.robust_balanced_accuracy = 0.4;
  CHECK(monitored(r).value == 0.4);
  CHECK(monitored(r).larger_is_better);
}

TEST_CASE("frozen parameters stay until they are unfrozen") {
  ToyImages const images;
  auto const net = small_cnn();
  auto all = net->parameters();
  std::erase_if(all, [](const Module::Named& p) { return p.parameter->buffer; });
  Parameter& frozen = *all.front().parameter;
  auto const optimizer = make_adam(all);
  frozen.trainable = false;
  auto const before = frozen.value.to_host<float>();
  Trainer trainer(*net, *optimizer, {.epochs = 2, .unfreeze_after = 2});
  trainer.fit(images, images);
  CHECK(frozen.value.to_host<float>() == before);
  Trainer later(*net, *optimizer, {.epochs = 3, .unfreeze_after = 2});
  later.fit(images, images, 2);
  CHECK(frozen.value.to_host<float>() != before);
}

TEST_CASE("fixed statistics stay in training, and the rest trains") {
  ToyImages const images;
  for (bool fixed : {true, false}) {
    auto const net = small_cnn();
    auto const optimizer = make_adam(net->trainable());
    std::map<std::string, std::vector<float>> before;
    for (auto const& [name, p] : net->parameters())
      if (p->value.dtype() == DType::f32) before[name] = p->value.to_host<float>();
    Trainer(*net, *optimizer, {.epochs = 1, .fixed_statistics = fixed}).fit(images, images);
    int64_t statistics = 0;
    for (auto const& [name, p] : net->parameters()) {
      if (p->value.dtype() != DType::f32) continue;
      CAPTURE(name);
      CHECK((p->value.to_host<float>() == before[name]) == (p->buffer && fixed));
      statistics += p->buffer;
    }
    CHECK(statistics >= 2);
  }
}

TEST_CASE("a frozen batch norm keeps its statistics and uses them") {
  ToyImages const images;
  auto const net = small_cnn();
  auto const optimizer = make_adam(net->trainable());
  std::map<std::string, std::vector<float>> before;
  for (auto const& [name, p] : net->parameters()) {
    if (name.starts_with("bn.") && !p->buffer) p->trainable = false;
    if (p->value.dtype() == DType::f32) before[name] = p->value.to_host<float>();
  }
  Trainer(*net, *optimizer, {.epochs = 1}).fit(images, images);
  int64_t kept = 0;
  for (auto const& [name, p] : net->parameters()) {
    if (p->value.dtype() != DType::f32) continue;
    CAPTURE(name);
    bool const frozen = name.starts_with("bn.");
    CHECK((p->value.to_host<float>() == before[name]) == frozen);
    kept += frozen;
  }
  CHECK(kept == 4);
}

TEST_CASE("Adam's first step on a parameter is the learning rate long, however late it comes") {
  LinearNet net(small_images());
  net.initialise(1);
  auto const optimizer = make_adam(net.trainable(), {.learning_rate = 0.01});
  Tensor const value = optimizer->parameters()[0].parameter->value;
  auto const before = value.to_host<float>();
  std::vector<Tensor> gradients(optimizer->parameters().size());
  for (int i = 0; i < 500; ++i) optimizer->step(gradients);  // frozen so far
  CHECK(value.to_host<float>() == before);
  gradients[0] = Tensor::full(value.shape(), 0.5);
  optimizer->step(gradients);
  auto const after = value.to_host<float>();
  for (size_t i = 0; i < after.size(); ++i)
    CHECK(std::abs(double(before[i]) - after[i] - 0.01) <= 1e-6);  // g / |g|, and epsilon is 1e-8
}

TEST_CASE("a loss that is not finite stops training and names the epoch and the batch") {
  ToyImages const images;
  LinearNet net(small_images());
  net.initialise(1);
  auto const optimizer = make_sgd(net.trainable(), {.learning_rate = 1e38});
  Trainer trainer(net, *optimizer, {.epochs = 3, .batch = 8});
  CHECK_THROWS_WITH_AS(trainer.fit(images, images), doctest::Contains("epoch 1, batch"), Error);
}

TEST_CASE("a set that does not fit the network is refused") {
  ToyImages const images, single({.n = 1});
  NetworkOptions three = small_images();
  three.classes = 3;
  LinearNet net(three), two(small_images());
  auto const optimizer = make_sgd(net.trainable());
  CHECK_THROWS_AS(Trainer(net, *optimizer, {}).fit(images, images), UsageError);
  CHECK_THROWS_AS(Trainer(two, *optimizer, {.class_weights = {1, 2, 3}}), UsageError);
  CHECK_THROWS_AS(Trainer(two, *optimizer, {}).fit(single, images), UsageError);
}

TEST_CASE("on a trained network PGD beats noise of the same size, and leaves the network as it was") {
  auto const net = small_cnn();
  auto const optimizer = make_adam(net->trainable());
  ToyImages const train({.n = 128}), test({.n = 64, .first_id = 5000});
  Trainer(*net, *optimizer, {.epochs = 8, .batch = 16}).fit(train, test);
  NetworkClassifier model(*net);
  Batch const b = test.all();
  CHECK(share_right(model, b) >= 0.95);
  auto const before = weights_of(*net);
  auto const pgd = make_attack("pgd:eps=0.1,alpha=0.02,steps=10");
  double const under_noise = share_right(model, b, "noise:eps=0.1"), under_fgsm = share_right(model, b, "fgsm:eps=0.1"),
               under_pgd = share_right(model, b, "pgd:eps=0.1,alpha=0.02,steps=10");
  CHECK(under_pgd <= under_fgsm);
  CHECK(under_pgd <= under_noise - 0.3);
  AttackOptions training;
  training.evaluation = false;
  pgd->run(model, b, training);
  make_attack("pgd-l2")->run(model, b, training);
  CHECK(weights_of(*net) == before);  // batch norm's statistics among them
  CHECK(sanity_gate(model, b, {}).empty());

  // A network a thousand times as certain is not a thousand times as robust.
  for (auto const& [name, parameter] : net->trainable())
    if (name.rfind("fc2.", 0) == 0) parameter->value.copy_from(scale(parameter->value, 1000));
  CHECK(share_right(model, b) >= 0.95);
  CHECK(share_right(model, b, "pgd:eps=0.1,alpha=0.02,steps=10") <= under_pgd + 0.1);
}

TEST_CASE("adversarial training raises robust accuracy") {
  // An attack of 0.12 outweighs the stripes of 0.1 but not the spots of 0.2.
  ToyImages const train({.n = 128, .contrast = 0.4f, .trace = 0.1f});
  ToyImages const test({.n = 64, .contrast = 0.4f, .trace = 0.1f, .first_id = 5000});
  Batch const b = test.all();
  std::string const attack = "pgd:eps=0.12,alpha=0.03,steps=7";
  auto const robust_accuracy = [&](bool adversarial) {
    auto const net = small_cnn();
    auto const optimizer = make_adam(net->trainable());
    Trainer trainer(*net, *optimizer, {.epochs = 8, .batch = 16});
    if (adversarial) {
      trainer.perturbations.push_back(adversarial_perturbation(attack));
      trainer.validation_attack = validation_perturbation(attack);
    }
    auto const last = trainer.fit(train, test).back();
    CHECK(last.train.robust_balanced_accuracy.has_value() == adversarial);
    CHECK(last.validation.robust_balanced_accuracy.has_value() == adversarial);
    NetworkClassifier model(*net);
    CHECK(share_right(model, b) >= 0.9);
    double const robust = share_right(model, b, attack);
    if (adversarial) CHECK(std::abs(*last.validation.robust_balanced_accuracy - robust) <= 1e-9);
    return robust;
  };
  double const hardened = robust_accuracy(true), plain = robust_accuracy(false);
  CHECK(hardened >= plain + 0.2);
}

TEST_CASE("the adversarial weight mixes the two halves of the loss") {
  ToyImages const images({.n = 16});
  // A perturbation that leaves the images as they are: both halves are equal, and any mixture is plain training.
  PerturbBatch const nothing = [](Classifier&, const Batch& clean, int64_t, const DrawKey&) { return clean.x; };
  auto const train = [&](bool twins, double weight) {
    LinearNet net(small_images());
    net.initialise(3);
    auto const optimizer = make_sgd(net.trainable(), {.learning_rate = 0.1});
    Trainer trainer(net, *optimizer, {.epochs = 3, .batch = 8, .adversarial_weight = weight});
    if (twins) trainer.perturbations.push_back(nothing);
    trainer.fit(images, images);
    return weights_of(net);
  };
  auto const plain = train(false, 0.5);
  for (double weight : {0.0, 0.3, 1.0}) {
    auto const mixed = train(true, weight);
    double apart = 0;
    for (size_t i = 0; i < plain.size(); ++i)
      for (size_t j = 0; j < plain[i].size(); ++j) apart = std::max(apart, std::abs(double(mixed[i][j]) - plain[i][j]));
    CHECK(apart <= 1e-6);  // six steps of sums in another order
  }
}

TEST_CASE("an auxiliary head's loss counts with its weight") {
  ToyImages const images({.n = 8});
  auto const change = [&](double weight) {
    TwoHeads net(small_images(), weight);
    net.initialise(1);
    auto const before = weights_of(net);
    auto const optimizer = make_sgd(net.trainable(), {.learning_rate = 0.5});
    Trainer(net, *optimizer, {.epochs = 1, .batch = 8}).fit(images, images);
    auto after = weights_of(net);
    for (size_t p = 0; p < after.size(); ++p)
      for (size_t i = 0; i < after[p].size(); ++i) after[p][i] -= before[p][i];
    return after;  // main.weight, main.bias, aux.weight, aux.bias
  };
  auto const whole = change(1), part = change(0.4), none = change(0);
  CHECK(whole[0] == part[0]);  // the main head learns the same
  CHECK(none[0] == part[0]);
  double largest = 0;
  for (size_t i = 0; i < whole[2].size(); ++i) {
    largest = std::max(largest, std::abs(double(whole[2][i])));
    CHECK(std::abs(part[2][i] - 0.4f * whole[2][i]) <= 1e-6f);  // f32 rounding of weights near 0.1
    CHECK(none[2][i] == 0);
  }
  CHECK(largest > 1e-3);
}
