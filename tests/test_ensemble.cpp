// Ensembles of networks as one classifier: what is fused where, and the gradient that comes of it.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "attacks/ensemble.h"
#include "attacks/mifgsm.h"
#include "engine/ops/ops.h"
#include "tests/host_models.h"
#include "tests/toy.h"

using namespace mith;

namespace {

struct Member {
  explicit Member(uint64_t seed, int64_t side = 8, int64_t classes = 3)
      : network(make_network("cnn", {.classes = classes, .channels = 1, .height = side, .width = side})),
        classifier(*network, "net " + std::to_string(seed)) {
    network->initialise(seed);
  }
  std::unique_ptr<Network> network;
  NetworkClassifier classifier;
};

Batch toy_batch() { return ToyImages({.n = 6}).all(); }
std::vector<float> host(const Tensor& t) { return t.to_host<float>(); }

double furthest(const std::vector<float>& a, const std::vector<float>& b) {
  double most = a.size() == b.size() ? 0 : 1e300;
  for (size_t i = 0; i < a.size(); ++i)
    if (!(std::abs(double(a[i]) - double(b[i])) <= most)) most = std::abs(double(a[i]) - double(b[i]));
  return most;
}
double size_of_largest(const std::vector<float>& a) {
  double most = 0;
  for (float v : a) most = std::max(most, std::abs(double(v)));
  return most;
}

std::vector<std::vector<double>> softmax_of(const Tensor& logits) {
  auto const z = host(logits);
  size_t const k = size_t(logits.dim(1));
  std::vector<std::vector<double>> p;
  for (size_t row = 0; row < z.size(); row += k) {
    double sum = 0;
    std::vector<double> of;
    for (size_t c = 0; c < k; ++c) of.push_back(std::exp(double(z[row + c])));
    for (double v : of) sum += v;
    for (double& v : of) v /= sum;
    p.push_back(of);
  }
  return p;
}

Want const everything{.logits = true, .loss = true, .input_gradient = true};

/// Sum over images of what the ensemble makes large.
double total(Classifier& model, const Batch& b, const Cotangent& cotangent) {
  double sum = 0;
  if (std::holds_alternative<Loss>(cotangent)) {
    for (float v : host(model.evaluate(b, cotangent, {.loss = true}).loss)) sum += double(v);
    return sum;
  }
  auto const z = host(model.logits(b)), w = host(std::get<OnLogits>(cotangent).weights);
  for (size_t i = 0; i < z.size(); ++i) sum += double(z[i]) * double(w[i]);
  return sum;
}

}  // namespace

TEST_CASE("an ensemble of one network is that network") {
  Member one(1);
  Batch const b = toy_batch();
  Loss const loss{.labels = b.y};
  Outputs const alone = one.classifier.evaluate(b, loss, everything);
  for (const char* fuse : {"logits", "loss"}) {
    EnsembleClassifier ensemble({&one.classifier}, parse_fusion(fuse));
    Outputs const out = ensemble.evaluate(b, loss, everything);
    CHECK(host(out.logits) == host(alone.logits));
    CHECK(host(out.loss) == host(alone.loss));
    CHECK(host(out.input_gradient) == host(alone.input_gradient));
  }
  EnsembleClassifier ensemble({&one.classifier}, Fusion::probabilities);
  Outputs const out = ensemble.evaluate(b, loss, everything);
  CHECK(furthest(host(out.loss), host(alone.loss)) <= 1e-6);
  CHECK(furthest(host(out.input_gradient), host(alone.input_gradient)) <=
        1e-5 * size_of_largest(host(alone.input_gradient)));
  CHECK(ensemble.classes() == 3);
  CHECK(ensemble.image_shape() == Shape{8, 8, 1});
}

TEST_CASE("logits, probabilities and losses are averaged where the fusion says so") {
  Member one(1), two(2), three(3);
  std::vector<Classifier*> const members{&one.classifier, &two.classifier, &three.classifier};
  Batch const b = toy_batch();
  Loss const loss{.labels = b.y};
  auto const y = b.y.to_host<int32_t>();
  std::vector<Outputs> alone;
  for (Classifier* m : members) alone.push_back(m->evaluate(b, loss, everything));
  EnsembleClassifier logits(members), probabilities(members, Fusion::probabilities), losses(members, Fusion::loss);
  Outputs const of_logits = logits.evaluate(b, loss, everything);
  Outputs const of_probabilities = probabilities.evaluate(b, loss, everything);
  Outputs const of_losses = losses.evaluate(b, loss, everything);

  auto const fused = host(of_logits.logits), loss_mean = host(of_losses.loss);
  for (size_t i = 0; i < fused.size(); ++i) {
    double mean = 0;
    for (auto const& out : alone) mean += double(host(out.logits)[i]) / 3;
    CHECK(std::abs(double(fused[i]) - mean) <= 1e-6);
  }
  CHECK(host(of_losses.logits) == fused);
  auto const p = softmax_of(of_probabilities.logits);
  for (size_t i = 0; i < y.size(); ++i) {
    double mean = 0, mean_loss = 0;
    for (auto const& out : alone) {
      mean += softmax_of(out.logits)[i][size_t(y[i])] / 3;
      mean_loss += double(host(out.loss)[i]) / 3;
    }
    CHECK(std::abs(p[i][size_t(y[i])] - mean) <= 1e-6);
    CHECK(std::abs(double(host(of_probabilities.loss)[i]) + std::log(mean)) <= 1e-5);
    CHECK(std::abs(double(loss_mean[i]) - mean_loss) <= 1e-6);
  }
  // The losses of Dong et al. differ, and so do their gradients.
  CHECK(furthest(host(of_logits.loss), host(of_losses.loss)) > 1e-4);
  CHECK(furthest(host(of_probabilities.loss), host(of_losses.loss)) > 1e-4);
  auto const mean_gradient = [&](size_t i) {
    double sum = 0;
    for (auto const& out : alone) sum += double(host(out.input_gradient)[i]) / 3;
    return sum;
  };
  auto const got = host(of_losses.input_gradient);
  for (size_t i = 0; i < got.size(); i += 17) CHECK(std::abs(double(got[i]) - mean_gradient(i)) <= 1e-6);
}

TEST_CASE("an ensemble's gradient is that of what it evaluates, for losses and for logits") {
  Member one(1), two(2);
  std::vector<Classifier*> const members{&one.classifier, &two.classifier};
  Batch const b = toy_batch();
  std::vector<float> w;
  for (uint64_t i = 0; i < 18; ++i) w.push_back(2 * uniform({.seed = 5}, 0, i) - 1);
  std::vector<Cotangent> const cotangents{Loss{.labels = b.y}, Loss{.labels = b.y, .targeted = true},
                                          OnLogits{Tensor::from(w, {6, 3})}};
  for (Fusion fusion : {Fusion::logits, Fusion::probabilities, Fusion::loss}) {
    EnsembleClassifier ensemble(members, fusion);
    for (size_t which = 0; which < cotangents.size(); ++which) {
      CAPTURE(int(fusion));
      CAPTURE(which);
      Cotangent const& cotangent = cotangents[which];
      Tensor const gradient = ensemble.evaluate(b, cotangent, {.input_gradient = true}).input_gradient;
      auto const g = host(gradient);
      // Along the gradient itself, so that the difference is far above f32's rounding.
      double square = 0;
      for (float v : g) square += double(v) * double(v);
      CHECK(square > 0);
      double const h = 1e-3 / std::sqrt(square) * 3;
      auto const moved = [&](double by) {
        Tensor x = b.x.clone();
        add_in_place(x, gradient, by);
        return total(ensemble, {x, b.y, b.ids}, cotangent);
      };
      double const slope = (moved(h) - moved(-h)) / (2 * h);
      CHECK(std::abs(slope / square - 1) <= 0.02);  // kinks of ReLU and pooling
    }
  }
}

TEST_CASE("the direction of a certain ensemble's gradient does not vanish") {
  constexpr size_t n = 6, d = 64;
  struct Certain final : HostModel {  // class 0 leads by some 250
    explicit Certain(uint64_t seed) : HostModel({8, 8, 1}, {weights(seed, 4), weights(seed, -4)}) {}
    static std::vector<double> weights(uint64_t seed, double size) {
      std::vector<double> w;
      for (uint64_t j = 0; j < d; ++j) w.push_back(size * (1 + 0.2 * (2 * double(uniform({.seed = seed}, 0, j)) - 1)));
      return w;
    }
  } one(1), two(2);
  Batch b = toy_batch();
  b.y = Tensor::zeros({n}, DType::i32);
  auto const x = host(b.x);
  for (Fusion fusion : {Fusion::logits, Fusion::probabilities}) {
    CAPTURE(int(fusion));
    EnsembleClassifier ensemble({&one, &two}, fusion);
    CHECK(size_of_largest(host(ensemble.evaluate(b, Loss{.labels = b.y}, {.input_gradient = true}).input_gradient)) ==
          0);
    Loss const loss{.labels = b.y, .direction_only = true};
    auto const direction = host(ensemble.evaluate(b, loss, {.input_gradient = true}).input_gradient);
    for (size_t image = 0; image < n; ++image) {
      // A member counts, among probabilities, by its share of the probability of class 1: e to minus its lead.
      std::vector<double> const first = Certain::weights(1, 4), second = Certain::weights(2, 4);
      double apart = 0;  // of the leads
      for (size_t j = 0; j < d; ++j) apart += 2 * (second[j] - first[j]) * double(x[image * d + j]);
      double const share = fusion == Fusion::logits ? 0.5 : 1 / (1 + std::exp(-apart));
      double const factor = double(direction[image * d]) / -(share * first[0] + (1 - share) * second[0]);
      CHECK(factor > 0);
      double worst = 0;
      for (size_t j = 0; j < d; ++j) {
        double const expected = -factor * (share * first[j] + (1 - share) * second[j]);
        worst = std::max(worst, std::abs(double(direction[image * d + j]) / expected - 1));
      }
      CHECK(worst <= 1e-4);  // logits above a hundred in f32
    }
  }
}

TEST_CASE("an ensemble's features are its members'") {
  Member one(1), two(2);
  EnsembleClassifier ensemble({&one.classifier, &two.classifier});
  Batch const b = toy_batch();
  Outputs const out = ensemble.evaluate(b, Loss{}, {.logits = true, .features = {"0/block1", "1/penultimate"}});
  Outputs const first = one.classifier.evaluate(b, Loss{}, {.features = {"block1"}});
  Outputs const second = two.classifier.evaluate(b, Loss{}, {.features = {"penultimate"}});
  CHECK(out.features.size() == 2);
  CHECK(host(out.features.at("0/block1")) == host(first.features.at("block1")));
  Tensor const penultimate = second.features.at("penultimate");
  CHECK(host(out.features.at("1/penultimate")) == host(penultimate));
  Tensor const weights = Tensor::full(penultimate.shape(), 0.5);
  CHECK(host(ensemble.evaluate(b, OnFeature{"1/penultimate", weights}, {.input_gradient = true}).input_gradient) ==
        host(two.classifier.evaluate(b, OnFeature{"penultimate", weights}, {.input_gradient = true}).input_gradient));
  for (const char* wrong : {"penultimate", "2/penultimate", "x/penultimate", "0/nothing"}) {
    CAPTURE(wrong);
    CHECK_THROWS_AS(ensemble.evaluate(b, Loss{}, {.logits = true, .features = {wrong}}), UsageError);
    CHECK_THROWS_AS(ensemble.evaluate(b, OnFeature{wrong, weights}, {.input_gradient = true}), UsageError);
  }
}

TEST_CASE("an ensemble says what it is made of and refuses members that do not fit") {
  Member one(1), two(2), larger(3, 12), more(4, 8, 4);
  EnsembleClassifier const ensemble({&one.classifier, &two.classifier}, Fusion::loss);
  CHECK(ensemble.name() == "ensemble of net 1, net 2 (loss)");
  CHECK(ensemble.gradient_path() == "exact");
  CHECK_FALSE(ensemble.randomised());
  CHECK_THROWS_AS(EnsembleClassifier({}), UsageError);
  CHECK_THROWS_WITH_AS(EnsembleClassifier({&one.classifier, &larger.classifier}), doctest::Contains("same images"),
                       UsageError);
  CHECK_THROWS_WITH_AS(EnsembleClassifier({&one.classifier, &more.classifier}), doctest::Contains("same classes"),
                       UsageError);
  CHECK_THROWS_WITH_AS(parse_fusion("logit"), doctest::Contains("did you mean 'logits'?"), UsageError);

  struct Fickle final : HostModel {
    Fickle() : HostModel({8, 8, 1}, std::vector<std::vector<double>>(3, std::vector<double>(64, 0.1))) {}
    bool randomised() const override { return true; }
    std::string gradient_path() const override { return "eot: 4 draws"; }
    void spoil_logits(std::vector<float>& z, const DrawKey& key) const override {
      // As layers draw: with() replaces what the key says of purpose and stream.
      for (size_t i = 0; i < z.size(); ++i) z[i] += uniform(key.with(Purpose::dropout, 1), 0, i);
    }
  } fickle;
  EnsembleClassifier mixed({&one.classifier, &fickle});
  CHECK(mixed.randomised());
  CHECK(mixed.gradient_path() == "net 1: exact; host model: eot: 4 draws");
  // Two members that are the same draw for themselves.
  Batch const b = toy_batch();
  EnsembleClassifier twice({&fickle, &fickle});
  CHECK(furthest(host(twice.logits(b)), host(fickle.logits(b))) > 1e-3);
  CHECK(host(twice.logits(b)) == host(twice.logits(b)));
}

TEST_CASE("style transfer takes one network's features and refuses an ensemble by name") {
  Member one(1), two(2);
  EnsembleClassifier ensemble({&one.classifier, &two.classifier});
  for (const char* spec : {"nst:steps=1", "nst:steps=1,content=0/block1,style=0/block1"})
    CHECK_THROWS_WITH_AS(make_attack(spec)->run(ensemble, toy_batch(), {}), doctest::Contains("attack nst: "),
                         UsageError);
  CHECK_NOTHROW(make_attack("nst:steps=1")->run(one.classifier, toy_batch(), {}));
}

TEST_CASE("a transfer attack takes an ensemble as it takes a network") {
  Member one(1), two(2);
  Batch const b = toy_batch();
  AttackOptions options;
  options.evaluation = false;
  for (Fusion fusion : {Fusion::logits, Fusion::probabilities, Fusion::loss}) {
    EnsembleClassifier ensemble({&one.classifier, &two.classifier}, fusion);
    auto const before = host(ensemble.evaluate(b, Loss{.labels = b.y}, {.loss = true}).loss);
    Tensor const adv = Momentum<Mifgsm>(Mifgsm{{.steps = 3}}).run(ensemble, b, options).adversarial;
    auto const after = host(ensemble.evaluate({adv, b.y, b.ids}, Loss{.labels = b.y}, {.loss = true}).loss);
    for (size_t i = 0; i < before.size(); ++i) CHECK(after[i] > before[i]);
  }
}
