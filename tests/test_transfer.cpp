// The transfer attacks: what each becomes where its own idea is switched off, closed forms, and the frame's books.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "attacks/bim.h"
#include "attacks/fgsm.h"
#include "attacks/mifgsm.h"
#include "attacks/pgn.h"
#include "attacks/steps.h"
#include "attacks/tifgsm.h"
#include "attacks/vmifgsm.h"
#include "engine/ops/arithmetic.h"
#include "tests/attack_fixtures.h"

using namespace mith;
using fixtures::host, fixtures::images_of;

namespace {

constexpr int64_t side = 10, pixels = side * side;
const Shape image{side, side, 1};
const std::vector<std::string> here{"mifgsm", "nifgsm", "vmifgsm", "vnifgsm", "pgn", "difgsm", "tifgsm"};

// Models for images that are large enough to be resized and smoothed.
struct Linear final : fixtures::Linear {
  explicit Linear(int classes = 2) : fixtures::Linear(classes, 0.5, image) {}
};
struct Wavy final : fixtures::Wavy {
  Wavy() : fixtures::Wavy(0.5, image) {}
};
struct Constant final : fixtures::Constant {
  Constant() : fixtures::Constant(image) {}
};
struct NanGradient final : fixtures::NanGradient {
  explicit NanGradient(int first = 0) : fixtures::NanGradient(first, 0.5, image) {}
};

/// Every image attacked, the last iterate returned.
AttackOptions surrogate() {
  AttackOptions o;
  o.evaluation = false;
  o.seed = 3;
  return o;
}
template <class C>
AttackResult result_of(C config, Classifier& model, const Batch& b, const AttackOptions& options = surrogate()) {
  return Momentum<C>(config).run(model, b, options);
}
template <class C>
std::vector<float> pixels_of(C config, Classifier& model, const Batch& b, const AttackOptions& options = surrogate()) {
  return host(result_of(config, model, b, options).adversarial);
}
std::vector<float> named(const std::string& spec, Classifier& model, const Batch& b) {
  return host(make_attack(spec)->run(model, b, surrogate()).adversarial);
}
double furthest(const std::vector<float>& a, const std::vector<float>& b) {
  double most = a.size() == b.size() ? 0 : 1e300;
  for (size_t i = 0; i < a.size(); ++i)
    if (!(std::abs(double(a[i]) - double(b[i])) <= most)) most = std::abs(double(a[i]) - double(b[i]));
  return most;
}

MomentumFrame const short_steps{.eps = 0.05f, .alpha = 0.011f, .steps = 8};

}  // namespace

TEST_CASE("without momentum MI- and NI-FGSM are BIM bit for bit") {
  Wavy model;
  Batch const b = images_of(model, 20);
  MomentumFrame frame = short_steps;
  frame.mu = 0;
  auto const bim = host(Iterative<Bim>(Bim{.eps = frame.eps, .alpha = frame.alpha, .steps = frame.steps})
                            .run(model, b, surrogate())
                            .adversarial);
  CHECK(pixels_of(Mifgsm{frame}, model, b) == bim);
  CHECK(pixels_of(Nifgsm{frame}, model, b) == bim);
  CHECK(pixels_of(Mifgsm{short_steps}, model, b) != bim);
}

TEST_CASE("MI-FGSM's first step is FGSM's, and a step length of 0 stands for eps / steps") {
  CHECK(MomentumFrame{.eps = 0.1f, .steps = 7}.resolved_alpha() == 0.1f / 7);
  CHECK(MomentumFrame{.eps = 0.1f, .alpha = 0.02f, .steps = 7}.resolved_alpha() == 0.02f);
  Wavy model;
  Batch const b = images_of(model, 8, 0.3f, 0.7f);
  auto const fgsm = host(Iterative<Fgsm>(Fgsm{.eps = 0.01f}).run(model, b, surrogate()).adversarial);
  CHECK(pixels_of(Mifgsm{{.eps = 0.01f, .steps = 1}}, model, b) == fgsm);
  CHECK(pixels_of(Mifgsm{{.eps = 0.1f, .steps = 7}}, model, b) ==
        pixels_of(Mifgsm{{.eps = 0.1f, .alpha = 0.1f / 7, .steps = 7}}, model, b));
  Linear linear;
  Batch const straight = images_of(linear, 8, 0.3f, 0.7f);
  Mifgsm const short_of_the_border{{.eps = 0.1f, .alpha = 0.01f, .steps = 7}};
  for (float d : linf_distance(result_of(short_of_the_border, linear, straight).adversarial, straight.x))
    CHECK(std::abs(d - 0.07f) <= 1e-6);
}

TEST_CASE("MI- and NI-FGSM follow the published update in double") {
  Wavy model;
  int64_t const n = 6;
  Batch const b = images_of(model, n);
  auto const x = host(b.x);
  for (bool nesterov : {false, true}) {
    std::vector<double> adv(x.begin(), x.end()), m(x.size(), 0);
    float const mu = 0.8f;
    for (int step = 0; step < short_steps.steps; ++step) {
      std::vector<float> at;
      for (size_t i = 0; i < adv.size(); ++i)
        at.push_back(float(adv[i] + (nesterov ? double(short_steps.alpha) * double(mu) * m[i] : 0)));
      auto const g = host(
          model.evaluate({Tensor::from(at, b.x.shape()), b.y, b.ids}, Loss{.labels = b.y}, {.input_gradient = true})
              .input_gradient);
      for (size_t first = 0; first < g.size(); first += pixels) {
        double mean = 0;
        for (size_t i = first; i < first + pixels; ++i) mean += std::abs(double(g[i])) / double(pixels);
        for (size_t i = first; i < first + pixels; ++i) {
          m[i] = double(mu) * m[i] + double(g[i]) / mean;
          double const moved = adv[i] + double(short_steps.alpha) * double((m[i] > 0) - (m[i] < 0));
          double const eps = double(short_steps.eps), origin = double(x[i]);
          adv[i] = std::clamp(std::clamp(moved, origin - eps, origin + eps), 0.0, 1.0);
        }
      }
    }
    MomentumFrame frame = short_steps;
    frame.mu = mu;
    auto const got = nesterov ? pixels_of(Nifgsm{frame}, model, b) : pixels_of(Mifgsm{frame}, model, b);
    CAPTURE(nesterov);
    CHECK(furthest(got, {adv.begin(), adv.end()}) <= 1e-6);  // eight steps in f32
  }
}

TEST_CASE("an attack whose own idea is switched off is MI-FGSM bit for bit") {
  Wavy model;
  Batch const b = images_of(model, 20);
  MomentumFrame const& frame = short_steps;
  auto const mi = pixels_of(Mifgsm{frame}, model, b);
  CHECK(pixels_of(Difgsm{frame, {.probability = 0}}, model, b) == mi);
  CHECK(pixels_of(Difgsm{frame, {.probability = 0, .mode = "enlarge"}}, model, b) == mi);
  CHECK(pixels_of(Tifgsm{.frame = frame, .kernel_size = 1}, model, b) == mi);
  CHECK(pixels_of(Vmifgsm{.frame = frame, .beta = 0}, model, b) == mi);
  CHECK(pixels_of(Vmifgsm{.frame = frame, .neighbours = 0}, model, b) == mi);
  CHECK(pixels_of(Vnifgsm{.frame = frame, .beta = 0}, model, b) == pixels_of(Nifgsm{frame}, model, b));
  CHECK(pixels_of(Pgn{.frame = frame, .zeta = 0, .gamma = 0}, model, b) == mi);
  // And it is not where the idea is on: otherwise the above proves nothing.
  for (auto const& other :
       {pixels_of(Nifgsm{frame}, model, b), pixels_of(Difgsm{frame, {.probability = 1}}, model, b),
        pixels_of(Difgsm{frame, {.probability = 1, .mode = "enlarge"}}, model, b),
        pixels_of(Tifgsm{.frame = frame}, model, b), pixels_of(Vmifgsm{.frame = frame}, model, b),
        pixels_of(Pgn{.frame = frame}, model, b), pixels_of(Pgn{.frame = frame, .zeta = 0}, model, b)})
    CHECK(furthest(other, mi) >= 0.01);
}

TEST_CASE("the first variance is zero: one step of VMI-FGSM is one of MI-FGSM") {
  Wavy model;
  Batch const b = images_of(model, 8);
  MomentumFrame frame = short_steps;
  frame.steps = 1;
  CHECK(pixels_of(Vmifgsm{.frame = frame}, model, b) == pixels_of(Mifgsm{frame}, model, b));
  frame.steps = 2;
  CHECK(pixels_of(Vmifgsm{.frame = frame}, model, b) != pixels_of(Mifgsm{frame}, model, b));
}

TEST_CASE("on a linear model of two classes every gradient has one direction, and every attack is MI-FGSM") {
  Linear model;
  Batch const b = images_of(model, 12);
  MomentumFrame const& frame = short_steps;
  auto const mi = pixels_of(Mifgsm{frame}, model, b);
  CHECK(pixels_of(Nifgsm{frame}, model, b) == mi);
  CHECK(pixels_of(Vmifgsm{.frame = frame}, model, b) == mi);
  CHECK(pixels_of(Vnifgsm{.frame = frame}, model, b) == mi);
  for (float gamma : {0.f, 0.5f, 1.f})
    for (float zeta : {0.f, 3.f}) CHECK(pixels_of(Pgn{.frame = frame, .zeta = zeta, .gamma = gamma}, model, b) == mi);
}

TEST_CASE("PGN with gamma = 1 steps along the gradient behind the descent step alone") {
  Wavy model;
  Batch const b = images_of(model, 6);
  float const alpha = 0.02f;
  auto const got = pixels_of(
      Pgn{.frame = {.eps = 0.1f, .alpha = alpha, .steps = 1}, .neighbours = 1, .zeta = 0, .gamma = 1}, model, b);
  auto const gradient = [&](const Tensor& at) {
    return model.evaluate({at, b.y, b.ids}, Loss{.labels = b.y}, {.input_gradient = true}).input_gradient;
  };
  Tensor const behind = mean_size_step(b.x, gradient(b.x), -alpha);
  CHECK(furthest(host(behind), host(b.x)) >= alpha);  // of mean length alpha: some pixels go further
  auto const g = host(gradient(behind)), x = host(b.x);
  int64_t wrong = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    double const moved = double(x[i]) + double(alpha) * double((g[i] > 0) - (g[i] < 0));
    wrong += !(std::abs(double(got[i]) - std::clamp(moved, 0.0, 1.0)) <= 1.2e-7);
  }
  CHECK(wrong == 0);
  Constant flat;
  Batch const c = images_of(flat, 3);
  CHECK(host(mean_size_step(c.x, Tensor::zeros_like(c.x), -alpha)) == host(c.x));
}

TEST_CASE("results do not depend on how many images or copies share a pass") {
  Wavy model;
  Batch const b = images_of(model, 13);
  std::vector<int64_t> backwards(13);
  std::iota(backwards.rbegin(), backwards.rend(), int64_t{0});
  for (const std::string& name : here) {
    CAPTURE(name);
    auto const attack = make_attack(name + ":eps=0.05,steps=3");
    for (bool evaluation : {false, true}) {
      AttackOptions options = surrogate();
      options.evaluation = evaluation;
      auto const whole = host(attack->run(model, b, options).adversarial);
      Batch const turned = select(b, backwards);
      CHECK(host(gather_rows(attack->run(model, turned, options).adversarial, backwards)) == whole);
      for (int64_t batch : {1, 4, 50}) {
        options.batch = batch;
        CHECK(host(attack->run(model, b, options).adversarial) == whole);
        CHECK(host(attack->run(model, slice(b, 5, 1), options).adversarial) ==
              std::vector<float>(whole.begin() + 5 * pixels, whole.begin() + 6 * pixels));
      }
    }
  }
  // Draws follow the seed.
  AttackOptions other = surrogate();
  other.seed = 4;
  CHECK(pixels_of(Pgn{.frame = short_steps}, model, b) != pixels_of(Pgn{.frame = short_steps}, model, b, other));
  CHECK(pixels_of(Difgsm{short_steps, {}}, model, b) != pixels_of(Difgsm{short_steps, {}}, model, b, other));
}

TEST_CASE("a random model draws anew in every pass, and for every copy however many share a pass") {
  for (const std::string& name : here) {
    CAPTURE(name);
    fixtures::Drawing model(image);
    Batch const b = images_of(model, 9);
    auto const attack = make_attack(name + ":steps=3,keep_best=true");
    for (bool evaluation : {false, true}) {
      AttackOptions options = surrogate();
      options.evaluation = evaluation;
      model.drawn.clear();
      auto const whole = host(attack->run(model, b, options).adversarial);
      CHECK(model.drawn.size() >= (evaluation ? 7 : 3));
      CHECK(model.drew_anew_in_every_pass());
      options.batch = 4;
      CHECK(host(attack->run(model, b, options).adversarial) == whole);
      options.batch = 0;
      options.seed = 4;
      CHECK(host(attack->run(model, b, options).adversarial) != whole);
    }
  }
}

TEST_CASE("evaluation leaves images alone that were wrong to begin with and judges the last iterate") {
  Wavy model;
  Batch b = images_of(model, 30);
  auto labels = b.y.to_host<int32_t>();
  for (size_t i = 0; i < labels.size(); i += 3) labels[i] = (labels[i] + 1) % 3;
  b.y = Tensor::from(labels, {30});
  for (const std::string& name : here) {
    CAPTURE(name);
    auto const attack = make_attack(name + ":eps=0.03,steps=5");
    AttackOptions judged = surrogate();
    judged.evaluation = true;
    auto const r = attack->run(model, b, judged);
    Outputs const anew =
        model.evaluate({r.adversarial, b.y, b.ids}, attack_loss(b, -1), {.logits = true, .loss = true});
    auto const predicted = argmax(anew.logits).to_host<int32_t>();
    auto const moved = linf_distance(r.adversarial, b.x);
    auto const everyone = named(name + ":eps=0.03,steps=5", model, b), mine = host(r.adversarial);
    for (size_t i = 0; i < 30; ++i) {
      bool const wrong = i % 3 == 0;
      CHECK(r.clean_correct[i] == !wrong);
      CHECK(bool(r.success[i]) == (!wrong && predicted[i] != labels[i]));
      if (wrong) CHECK(moved[i] == 0);
      // The same last iterate as on a surrogate, although some were fooled before.
      if (!wrong)
        CHECK(std::equal(mine.begin() + long(i * pixels), mine.begin() + long((i + 1) * pixels),
                         everyone.begin() + long(i * pixels)));
    }
    CHECK(r.loss == anew.loss.to_host<float>());
  }
}

TEST_CASE("keep_best never loses a success nor a loss to the last iterate") {
  Wavy model;
  Batch const b = images_of(model, 60);
  AttackOptions judged = surrogate();
  judged.evaluation = true;
  MomentumFrame frame{.eps = 0.08f, .alpha = 0.03f, .steps = 9};
  auto const last = result_of(Mifgsm{frame}, model, b, judged);
  frame.keep_best = true;
  auto const best = result_of(Mifgsm{frame}, model, b, judged);
  int64_t gained = 0;
  for (size_t i = 0; i < 60; ++i) {
    CHECK(best.success[i] >= last.success[i]);
    if (!best.success[i]) CHECK(best.loss[i] >= last.loss[i]);
    gained += best.success[i] > last.success[i] || best.loss[i] > last.loss[i];
  }
  CHECK(gained > 0);  // otherwise there was nothing to keep
  auto const anew = argmax(model.logits({best.adversarial, b.y, b.ids})).to_host<int32_t>();
  auto const y = b.y.to_host<int32_t>();
  for (size_t i = 0; i < 60; ++i) CHECK(bool(best.success[i]) == (anew[i] != y[i]));
}

TEST_CASE("the books count the passes that were made") {
  Wavy model;
  Batch const b = images_of(model, 8);
  AttackOptions judged = surrogate();
  judged.evaluation = true;
  struct Expected {
    std::string spec;
    int64_t gradients;
  };
  for (auto const& [spec, gradients] : {Expected{"mifgsm:steps=6", 6},
                                        {"nifgsm:steps=6", 6},
                                        {"difgsm:steps=6", 6},
                                        {"tifgsm:steps=6", 6},
                                        {"vmifgsm:steps=6,neighbours=5", 6 + 5 * 5},
                                        {"pgn:steps=6,neighbours=5", 2 * 6 * 5}}) {
    CAPTURE(spec);
    Usage const before = model.usage();
    auto const r = make_attack(spec)->run(model, b, judged);
    CHECK(r.gradients == std::vector<int64_t>(8, gradients));
    CHECK(r.queries == std::vector<int64_t>(8, gradients + 2));  // and the clean image and the result
    CHECK(model.usage().gradients - before.gradients == 8 * gradients);
    CHECK(model.usage().forwards - before.forwards == 8 * (gradients + 2));
  }
  int64_t done = 0, total = 0;
  judged.progress = [&](const AttackProgress& p) { done = p.done, total = p.total; };
  result_of(Mifgsm{{.steps = 4}}, model, b, judged);
  CHECK(done == 4);
  CHECK(total == 4);
}

TEST_CASE("a targeted transfer attack goes for its class and leaves images of that class alone") {
  Linear model(3);
  Batch const b = images_of(model, 24);
  auto const y = b.y.to_host<int32_t>();
  AttackOptions judged = surrogate();
  judged.evaluation = true;
  for (const std::string& name : here) {
    CAPTURE(name);
    auto const r = make_attack(name + ":eps=0.5,steps=5,target=2")->run(model, b, judged);
    auto const predicted = argmax(model.logits({r.adversarial, b.y, b.ids})).to_host<int32_t>();
    auto const moved = linf_distance(r.adversarial, b.x);
    int64_t reached = 0;
    for (size_t i = 0; i < 24; ++i) {
      CHECK(bool(r.success[i]) == (y[i] != 2 && predicted[i] == 2));
      if (y[i] == 2) CHECK(moved[i] == 0);
      reached += r.success[i];
    }
    CHECK(reached > 0);
    CHECK_THROWS_AS(make_attack(name + ":target=3")->run(model, b, judged), UsageError);
  }
  Batch bad = slice(b, 0, 2);
  bad.y = Tensor::from(std::vector<int32_t>{0, 7}, {2});
  for (AttackOptions const& options : {judged, surrogate()})
    for (int64_t target : {-1, 1})
      CHECK_THROWS_AS(result_of(Mifgsm{{.target = target}}, model, bad, options), UsageError);
  CHECK_THROWS_AS(result_of(Mifgsm{}, model, {b.x, Tensor(), b.ids}), Error);
  CHECK(result_of(Mifgsm{}, model, slice(b, 0, 0)).adversarial.dim(0) == 0);
}

TEST_CASE("no gradient moves nothing, and a NaN pixel stays in place and is counted") {
  Constant flat;
  Batch const c = images_of(flat, 3);
  for (const std::string& name : here) {
    CAPTURE(name);
    CHECK(named(name, flat, c) == host(c.x));
  }
  NanGradient model;
  Batch const b = images_of(model, 4, 0.3f, 0.7f);
  auto const r = result_of(Mifgsm{{.steps = 3}}, model, b);
  CHECK(r.nan_gradients == 4 * 3);
  auto const adv = host(r.adversarial), x = host(b.x);
  for (size_t i = 0; i < 4; ++i) {
    CHECK(adv[i * pixels] == x[i * pixels]);
    CHECK(adv[i * pixels + 1] != x[i * pixels + 1]);
  }
  CHECK(result_of(Pgn{}, model, b).nan_gradients > 0);
  NanGradient late(1);  // the first step is made, and leaves its momentum
  auto const stopped = result_of(Mifgsm{{.alpha = 0.01f, .steps = 3}}, late, b);
  CHECK(stopped.nan_gradients == 4 * 2);
  auto const halfway = host(stopped.adversarial);
  for (size_t i = 0; i < 4; ++i) {
    CHECK(std::abs(std::abs(halfway[i * pixels] - x[i * pixels]) - 0.01f) <= 1e-6);
    CHECK(std::abs(std::abs(halfway[i * pixels + 1] - x[i * pixels + 1]) - 0.03f) <= 1e-6);
  }
  AttackOptions strict = surrogate();
  strict.strict = true;
  CHECK_THROWS_AS(result_of(Mifgsm{}, model, b, strict), Error);
}

TEST_CASE("smoothing kernels: published weights, of sum 1, in proportion to the image") {
  auto const half = [](const char* kind, int size) {
    auto const w = smoothing_weights(kind, size);
    CHECK(w.size() == size_t(size));
    CHECK(std::abs(std::accumulate(w.begin(), w.end(), 0.0) - 1) <= 1e-6);
    for (size_t i = 0; i < w.size(); ++i) CHECK(w[i] == w[w.size() - 1 - i]);
    return std::vector<float>(w.begin(), w.begin() + size / 2 + 1);
  };
  auto const near = [](const std::vector<float>& got, const std::vector<double>& wanted) {
    CHECK(got.size() == wanted.size());
    for (size_t i = 0; i < wanted.size(); ++i) CHECK(std::abs(double(got[i]) / wanted[i] - 1) <= 1e-5);
  };
  near(half("gaussian", 15), {.00190165, .00627515, .01723257, .03938291, .07490263, .11855449, .15616027, .17118068});
  near(half("gaussian", 3), {.01086754, .97826492});
  near(half("gaussian", 5), {.00664603, .19422555, .59825683});
  near(half("gaussian", 7), {.00443305, .05400558, .24203623, .39905028});
  near(half("uniform", 5), {0.2, 0.2, 0.2});
  near(half("linear", 3), {0.25, 0.5});
  near(half("linear", 5), {1 / 9.0, 2 / 9.0, 3 / 9.0});
  CHECK(half("gaussian", 1) == std::vector<float>{1});
  CHECK_THROWS_AS(smoothing_weights("gaussian", 4), UsageError);
  for (auto const& [pixels_a_side, size] :
       {std::pair<int64_t, int>{299, 15}, {224, 11}, {180, 9}, {64, 3}, {52, 3}, {28, 3}})
    CHECK(smoothing_size(pixels_a_side) == size);
}

TEST_CASE("input diversity draws sizes and offsets from their whole range, an image at a time") {
  int64_t const n = 4000;
  std::vector<int64_t> ids(static_cast<size_t>(n));
  std::iota(ids.begin(), ids.end(), int64_t{0});
  DrawKey const key{.seed = 1, .purpose = Purpose::noise};
  for (const char* mode : {"shrink", "enlarge"}) {
    CAPTURE(mode);
    bool const enlarge = std::string(mode) == "enlarge";
    InputDiversity const diversity{.probability = 0.25f, .mode = mode};
    int32_t const low = enlarge ? 40 : 36, high = enlarge ? 43 : 39, padded = enlarge ? 44 : 40;
    auto const g = diversity.geometry(Tensor::zeros({n, 40, 40, 1}), ids, key).to_host<int32_t>();
    int64_t changed = 0, smallest = 0, largest = 0, last_offset = 0;
    for (size_t i = 0; i < size_t(n); ++i) {
      const int32_t* const of = g.data() + 6 * i;
      if (of[4] == 40 && of[0] == 40 && of[2] == 0) continue;
      ++changed;
      CHECK(of[0] == of[1]);
      CHECK((of[0] >= low && of[0] <= high));
      CHECK(of[4] == padded);
      for (int offset : {of[2], of[3]}) CHECK((offset >= 0 && offset < padded - of[0]));
      smallest += of[0] == low, largest += of[0] == high;
      last_offset += of[0] == low && of[2] == padded - low - 1;
    }
    CHECK(std::abs(double(changed) - 1000) <= 5 * std::sqrt(4000 * 0.25 * 0.75));
    CHECK(std::abs(double(smallest) - 250) <= 5 * 16);
    CHECK(std::abs(double(largest) - 250) <= 5 * 16);
    CHECK(std::abs(double(last_offset) - 62) <= 5 * 8);
    // An image's draw knows nothing of the others.
    auto const alone = diversity.geometry(Tensor::zeros({1, 40, 40, 1}), {17}, key).to_host<int32_t>();
    CHECK(std::equal(alone.begin(), alone.end(), g.begin() + 6 * 17));
  }
  // Too small to be resized: left as it is.
  auto const tiny = InputDiversity{.probability = 1, .mode = "enlarge"}.geometry(Tensor::zeros({1, 4, 4, 1}), {1}, key);
  CHECK(tiny.to_host<int32_t>() == std::vector<int32_t>{4, 4, 0, 0, 4, 4});
}

TEST_CASE("fields that do not go together are refused before there is a network") {
  CHECK_THROWS_AS(make_attack("difgsm:resize_rate=1.2"), UsageError);
  CHECK_THROWS_AS(make_attack("difgsm:resize_rate=0.8,di_mode=enlarge"), UsageError);
  CHECK_THROWS_AS(make_attack("tifgsm:resize_rate=1.2"), UsageError);
  CHECK_THROWS_AS(make_attack("tifgsm:kernel_size=4"), UsageError);
  CHECK_NOTHROW(make_attack("tifgsm:kernel_size=5,resize_rate=1.2,di_mode=enlarge"));
}

TEST_CASE("the transfer attacks' specs are complete") {
  CHECK(make_attack("vmifgsm:eps=0.03,neighbours=5")->spec() ==
        "vmifgsm:eps=0.03,alpha=0,steps=10,mu=1,target=-1,keep_best=false,neighbours=5,beta=1.5");
  CHECK(make_attack("difgsm")->spec() ==
        "difgsm:eps=16/255,alpha=0,steps=10,mu=1,target=-1,keep_best=false,di_prob=0.5,resize_rate=0,di_mode=shrink");
  for (const std::string& name : here) {
    CHECK(make_attack(name)->threat().norm == "linf");
    Entry const& entry = AttackRegistry::find(name, "attack").entry;
    for (const char* fact : {"norm", "access", "targeted", "draws", "cost"}) CHECK_FALSE(entry.fact(fact).empty());
  }
}
