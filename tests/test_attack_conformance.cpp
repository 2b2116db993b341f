// What every registered attack must do, whatever its idea, on a small trained network. An attack without a row below
// fails; the row makes it quick, and strong enough on these images that its tests mean something.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "attacks/noise.h"
#include "engine/nn/layers.h"
#include "engine/ops/arithmetic.h"
#include "engine/train/trainer.h"
#include "kernels/launch/runtime.h"
#include "tests/provider_fixtures.h"
#include "tests/quick_attacks.h"
#include "tests/toy.h"

using namespace mith;

namespace {

/// Convolution, ReLU, pooling, batch norm, dense: one of each, and small, because thousands of passes go through it.
class SmallNet final : public Network {
 public:
  explicit SmallNet(int64_t side = 8)
      : Network({.classes = 2, .channels = 1, .height = side, .width = side, .normalize = "none"}, "small"),
        conv_(add("conv", std::make_unique<Conv2d>(convolution()))),
        bn_(add("bn", std::make_unique<BatchNorm>(6))),
        fc_(add("fc", std::make_unique<Linear>(Linear::Options{.in = side / 2 * (side / 2) * 6, .out = 2}))) {
    initialise(1);
  }

 protected:
  Tensor body(const Tensor& images, Context& context) override {
    Tensor const block = max_pool2d(conv_(images, context));
    context.feature("block1", block);
    return fc_(flatten(bn_(block, context)), context);
  }

 private:
  static Conv2d::Options convolution() {
    Conv2d::Options o{.in = 1, .out = 6, .activation = Activation::relu};
    o.window.pad_h = o.window.pad_w = 1;
    return o;
  }
  Conv2d& conv_;
  BatchNorm& bn_;
  Linear& fc_;
};

/// Trained once, for all tests, so that it gets most of the images right.
Network& trained() {
  static auto const net = [] {
    provider_tests::Forced const native("all", "native");
    auto fresh = std::make_unique<SmallNet>();
    auto const optimizer = make_adam(fresh->trainable());
    ToyImages const images({.n = 64});
    Trainer(*fresh, *optimizer, {.epochs = 30, .batch = 16}).fit(images, images);
    return fresh;
  }();
  return *net;
}

constexpr int64_t n = 64;
const ToyImages& images() {
  static const ToyImages all({.n = n, .first_id = 5000});
  return all;
}

AttackOptions options_for(bool evaluation, uint64_t seed = 9) {
  AttackOptions o{.seed = seed, .evaluation = evaluation, .step = 4};
  o.partners = slice(images().all(), 0, 16);
  return o;
}

std::vector<float> host(const Tensor& t) { return t.to_host<float>(); }

const std::vector<Field>& fields_of(const std::string& spec) {
  return AttackRegistry::find(Spec::parse(spec).name, "attack").fields;
}
bool has_key(const std::string& spec, const std::string& key) {
  return std::ranges::any_of(fields_of(spec), [&](const Field& f) { return f.key == key; });
}
/// The spec with one more value, or another one.
std::string with(const std::string& text, const std::string& key, const std::string& value) {
  Spec spec = Spec::parse(text);
  spec.take(key);
  spec.values.emplace_back(key, value);
  return spec.str();
}

/// Rows of attacks that are there, with those crafted on the whole batch or without.
std::vector<QuickAttack> present(bool universal = true) {
  std::vector<QuickAttack> found;
  for (const QuickAttack& row : quick_attacks()) {
    if (!AttackRegistry::rows().contains(Spec::parse(row.spec).name)) continue;
    if (universal || make_attack(row.spec)->threat().access != "universal") found.push_back(row);
  }
  return found;
}

/// The size of a change in a norm, in pixel units; l0 counts pixels of one channel.
double size_of_change(const std::string& norm, const float* a, const float* b, size_t d) {
  double linf = 0, l1 = 0, squares = 0, l0 = 0;
  for (size_t i = 0; i < d; ++i) {
    double const delta = std::abs(double(a[i]) - double(b[i]));
    if (!(delta <= linf)) linf = delta;  // a NaN stays
    l1 += delta;
    squares += delta * delta;
    l0 += delta > 0;
  }
  return norm == "linf" ? linf : norm == "l2" ? std::sqrt(squares) : norm == "l1" ? l1 : l0;
}

void check_in_ball(const Threat& threat, const Tensor& adversarial, const Tensor& clean) {
  auto const a = host(adversarial), x = host(clean);
  REQUIRE(a.size() == x.size());
  CHECK(std::ranges::all_of(a, [](float v) { return v >= 0 && v <= 1; }));
  if (threat.eps < 0 || threat.norm == "region") return;
  size_t const d = x.size() / static_cast<size_t>(clean.dim(0));
  double worst = 0;
  for (size_t i = 0; i < x.size(); i += d) {
    double const size = size_of_change(threat.norm, a.data() + i, x.data() + i, d);
    if (!(size <= worst)) worst = size;
  }
  // (x + d) - x may differ from d by one unit in the last place of 1, 6e-8; an L2 norm of 64 pixels by half of 8 of
  // them.
  CHECK(worst <= threat.eps + 1e-6);
}

std::vector<std::vector<float>> all_values(const Network& net) {
  std::vector<std::vector<float>> all;
  for (auto const& [name, parameter] : net.parameters())
    if (parameter->value.dtype() == DType::f32) all.push_back(parameter->value.to_host<float>());
  return all;
}

/// The attacked images put together from batches of this size.
std::vector<float> in_batches(const Attack& attack, Classifier& model, const Batch& b, int64_t size,
                              const AttackOptions& options) {
  std::vector<float> all;
  for (int64_t first = 0; first < b.size(); first += size) {
    auto const part = host(attack.run(model, slice(b, first, std::min(size, b.size() - first)), options).adversarial);
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

}  // namespace

TEST_CASE("every registered attack has a row of settings here") {
  std::set<std::string> covered;
  for (const QuickAttack& row : quick_attacks()) covered.insert(Spec::parse(row.spec).name);
  for (const std::string& name : AttackRegistry::names()) {
    CAPTURE(name);
    CHECK_MESSAGE(covered.contains(name), "add a row for '", name, "' to tests/quick_attacks.h");
  }
}

TEST_CASE("every registered attack says what --help needs to know of it") {
  for (auto const& [name, row] : AttackRegistry::rows()) {
    CAPTURE(name);
    CHECK_FALSE(row.entry.summary.empty());
    CHECK_FALSE(row.entry.paper.empty());
    CHECK_FALSE(row.entry.rule.empty());
    for (const char* fact : {"norm", "access", "targeted", "draws", "cost"}) {
      CAPTURE(fact);
      CHECK_FALSE(row.entry.fact(fact).empty());
    }
    for (const Field& field : row.fields) CHECK_FALSE(field.help.empty());
  }
}

TEST_CASE("every attack stays in its ball and in [0, 1]") {
  provider_tests::Forced const native("all", "native");
  NetworkClassifier model(trained());
  Batch const b = images().all();
  for (const QuickAttack& row : present())
    for (bool evaluation : {true, false}) {
      CAPTURE(row.spec);
      CAPTURE(evaluation);
      auto const attack = make_attack(row.spec);
      check_in_ball(attack->threat(), attack->run(model, b, options_for(evaluation)).adversarial, b.x);
    }
}

TEST_CASE("with no budget an attack changes nothing, or is refused") {
  provider_tests::Forced const native("all", "native");
  NetworkClassifier model(trained());
  Batch const b = slice(images().all(), 0, 8);
  for (const QuickAttack& row : present()) {
    CAPTURE(row.spec);
    CHECK(has_key(row.spec, "eps") == (row.no_budget != NoBudget::no_eps));
    if (row.no_budget == NoBudget::no_eps) continue;
    std::string const nothing = with(row.spec, "eps", "0");
    for (bool evaluation : {true, false}) {
      CAPTURE(evaluation);
      if (row.no_budget == NoBudget::refused)
        CHECK_THROWS_AS(make_attack(nothing)->run(model, b, options_for(evaluation)), UsageError);
      else
        CHECK(host(make_attack(nothing)->run(model, b, options_for(evaluation)).adversarial) == host(b.x));
    }
  }
}

TEST_CASE("the same seed gives the same bytes") {
  provider_tests::Forced const native("all", "native");
  NetworkClassifier model(trained());
  Batch const b = images().all();
  int const before = threads();
  for (const QuickAttack& row : present())
    for (bool evaluation : {true, false}) {
      CAPTURE(row.spec);
      CAPTURE(evaluation);
      auto const attack = make_attack(row.spec);
      AttackOptions const options = options_for(evaluation);
      set_threads(1);
      auto const once = attack->run(model, b, options);
      set_threads(2);
      auto const again = attack->run(model, b, options);
      set_threads(before);
      CHECK(host(once.adversarial) == host(again.adversarial));
      CHECK(once.success == again.success);
      CHECK(once.loss == again.loss);
      CHECK(once.queries == again.queries);
    }
}

TEST_CASE("the same bytes from one thread and from three, with images enough for each") {
  provider_tests::Forced const native("all", "native");
  SmallNet net(64);
  NetworkClassifier model(net);
  Batch const b = ToyImages({.n = 16, .side = 64}).all();  // launches are cut from 2 x 16384 elements on
  int const before = threads();
  for (const char* spec : {"fgsm", "pgd:steps=2", "pgd-l2:eps=5,alpha=2,steps=2", "mifgsm:steps=2", "tifgsm:steps=2",
                           "difgsm:steps=2,di_prob=1", "pgn:steps=1,neighbours=2", "square:queries=3"}) {
    CAPTURE(spec);
    auto const attack = make_attack(spec);
    set_threads(1);
    auto const alone = host(attack->run(model, b, options_for(false)).adversarial);
    set_threads(3);
    auto const together = host(attack->run(model, b, options_for(false)).adversarial);
    set_threads(before);
    CHECK(alone == together);
    CHECK(alone != host(b.x));
  }
}

TEST_CASE("what happens to an image depends neither on its batch nor on its place in it") {
  provider_tests::Forced const native("all", "native");
  NetworkClassifier model(trained());
  Batch const b = images().all();
  std::vector<int64_t> backwards(n);
  std::iota(backwards.rbegin(), backwards.rend(), int64_t{0});
  for (const QuickAttack& row : present(false))
    for (bool evaluation : {true, false}) {
      CAPTURE(row.spec);
      CAPTURE(evaluation);
      auto const attack = make_attack(row.spec);
      AttackOptions options = options_for(evaluation);
      auto const whole = attack->run(model, b, options);
      auto const wanted = host(whole.adversarial);
      CHECK(in_batches(*attack, model, b, 7, options) == wanted);
      auto const alone = in_batches(*attack, model, slice(b, 0, 8), 1, options);
      CHECK(alone == std::vector<float>(wanted.begin(), wanted.begin() + std::ptrdiff_t(alone.size())));
      auto const turned = attack->run(model, select(b, backwards), options);
      CHECK(host(gather_rows(turned.adversarial, backwards)) == wanted);
      options.batch = 10;  // fooled images make room for others; the last pass is filled up
      auto const crowded = attack->run(model, b, options);
      CHECK(host(crowded.adversarial) == wanted);
      CHECK(crowded.success == whole.success);
      CHECK(crowded.queries == whole.queries);
      CHECK(crowded.gradients == whole.gradients);
    }
}

TEST_CASE("evaluation leaves images alone that were wrong, and every success is found again") {
  provider_tests::Forced const native("all", "native");
  NetworkClassifier model(trained());
  Batch b = images().all();
  auto labels = b.y.to_host<int32_t>();
  for (size_t i = 0; i < labels.size(); i += 3) labels[i] = 1 - labels[i];
  b.y = Tensor::from(labels, {n});
  auto const before = argmax(model.logits(b)).to_host<int32_t>();
  for (const QuickAttack& row : present()) {
    CAPTURE(row.spec);
    auto const attack = make_attack(row.spec);
    int64_t const target = attack->threat().target;
    auto const r = attack->run(model, b, options_for(true));
    auto const after = argmax(model.logits({r.adversarial, b.y, b.ids})).to_host<int32_t>();
    auto const adversarial = host(r.adversarial), clean = host(b.x);
    REQUIRE(r.clean_correct.size() == n);
    REQUIRE(r.success.size() == n);
    size_t const d = clean.size() / n;
    int64_t fooled = 0, claims_that_hold = 0, untouched = 0, wrong = 0;
    for (size_t i = 0; i < n; ++i) {
      bool const right = before[i] == labels[i];
      bool const as_wanted = target < 0 ? after[i] != labels[i] : after[i] == target && labels[i] != target;
      claims_that_hold += bool(r.success[i]) == (right && as_wanted) && bool(r.clean_correct[i]) == right;
      fooled += r.success[i];
      wrong += !right;
      untouched +=
          !right && std::equal(clean.begin() + std::ptrdiff_t(i * d), clean.begin() + std::ptrdiff_t((i + 1) * d),
                               adversarial.begin() + std::ptrdiff_t(i * d));
    }
    CHECK(claims_that_hold == n);
    CHECK(wrong > 0);
    CHECK(untouched == wrong);
    bool const may_fail = attack->threat().access != "white";
    if (!may_fail) CHECK(fooled > 0);  // otherwise nothing was tested
    for (size_t i = 0; i < r.queries.size(); ++i) CHECK(r.queries[i] >= 1);
  }
}

TEST_CASE("a network without a gradient gives no NaN") {
  provider_tests::Forced const native("all", "native");
  SmallNet flat;
  for (auto const& [name, parameter] : flat.parameters())
    if (name.starts_with("fc")) parameter->value.copy_from(Tensor::zeros(parameter->value.shape()));
  NetworkClassifier model(flat);
  Batch b = slice(images().all(), 0, 6);
  b.y = Tensor::zeros({6}, DType::i32);  // the first class wins a tie: all are right
  for (const QuickAttack& row : present())
    for (bool evaluation : {true, false}) {
      CAPTURE(row.spec);
      CAPTURE(evaluation);
      auto const attack = make_attack(row.spec);
      auto const r = attack->run(model, b, options_for(evaluation));
      check_in_ball(attack->threat(), r.adversarial, b.x);
      CHECK(std::ranges::none_of(r.loss, [](float v) { return std::isnan(v); }));
    }
}

TEST_CASE("attacks leave weights and running statistics alone, bit for bit") {
  provider_tests::Forced const native("all", "native");
  NetworkClassifier model(trained());
  auto const before = all_values(trained());
  Batch const b = slice(images().all(), 0, 8);
  for (const QuickAttack& row : present()) {
    CAPTURE(row.spec);
    for (bool evaluation : {true, false}) make_attack(row.spec)->run(model, b, options_for(evaluation));
    CHECK(all_values(trained()) == before);
  }
}

TEST_CASE("batches of one image and of none are attacked") {
  provider_tests::Forced const native("all", "native");
  NetworkClassifier model(trained());
  Batch const b = images().all();
  for (const QuickAttack& row : present())
    for (bool evaluation : {true, false}) {
      CAPTURE(row.spec);
      CAPTURE(evaluation);
      auto const attack = make_attack(row.spec);
      auto const one = attack->run(model, slice(b, 3, 1), options_for(evaluation));
      CHECK(one.adversarial.shape() == Shape{1, 8, 8, 1});
      check_in_ball(attack->threat(), one.adversarial, slice(b, 3, 1).x);
      CHECK(attack->run(model, slice(b, 0, 0), options_for(evaluation)).adversarial.dim(0) == 0);
    }
}

TEST_CASE("classes that the network lacks are refused in one line") {
  provider_tests::Forced const native("all", "native");
  NetworkClassifier model(trained());
  Batch const b = slice(images().all(), 0, 4);
  Batch strangers = b;
  strangers.y = Tensor::from(std::vector<int32_t>{0, 1, 2, 0}, {4});
  for (const QuickAttack& row : present()) {
    CAPTURE(row.spec);
    CHECK_THROWS_AS(make_attack(row.spec)->run(model, strangers, options_for(true)), UsageError);
    if (!has_key(row.spec, "target")) continue;
    for (bool evaluation : {true, false}) {
      CAPTURE(evaluation);
      try {
        make_attack(with(row.spec, "target", "2"))->run(model, b, options_for(evaluation));
        FAIL_CHECK("target=2 was taken for a network of two classes");
      } catch (const UsageError& e) {
        CHECK(std::string(e.what()).find('\n') == std::string::npos);
      }
    }
  }
}

TEST_CASE("noise of the same size never fools more images than gradients do") {
  provider_tests::Forced const native("all", "native");
  NetworkClassifier model(trained());
  Batch const b = images().all();
  auto const fooled = [&](const Attack& attack) {
    auto const success = attack.run(model, b, options_for(true)).success;
    return std::accumulate(success.begin(), success.end(), int64_t{0});
  };
  int64_t compared = 0;
  for (const QuickAttack& row : present()) {
    Threat const threat = make_attack(row.spec)->threat();
    if (threat.norm != "linf" || threat.access != "white" || !(threat.eps > 0) || threat.target >= 0) continue;
    CAPTURE(row.spec);
    Iterative<Noise> const noise(Noise{.eps = static_cast<float>(threat.eps), .restarts = 3});
    CHECK(fooled(noise) <= fooled(*make_attack(row.spec)));
    ++compared;
  }
  CHECK(compared >= 3);
}
