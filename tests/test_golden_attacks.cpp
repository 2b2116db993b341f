// The attacks against plain PyTorch: what golden/make_attacks.py stored of the golden networks. Weights and images are
// drawn here as they were drawn there; how far a result may be from PyTorch's in f64 follows from how far PyTorch's own
// in f32 is.
#include <doctest/doctest.h>

#include <cmath>

#include "attacks/attack.h"
#include "engine/ops/ops.h"
#include "kernels/launch/table.h"
#include "tests/golden_fixtures.h"

using namespace mith;
using namespace mith::golden;

namespace {

struct Case {
  const char *file, *spec;
  bool colour = true;       ///< the network "cnn_colour" of make_golden.py, else "cnn"
  bool evaluation = false;  ///< the best image instead of the last iterate
  bool inner = false;       ///< images u / 2 + 0.25 instead of u
  double room = 0.03;       ///< for perturbations, beyond rounding: 0.03 where a gradient's sign decides
  int64_t images() const { return colour ? 3 : 4; }
};

const Case cases[] = {
    {.file = "fgsm", .spec = "fgsm:eps=16/255"},
    {.file = "bim", .spec = "bim:eps=16/255,alpha=1.6/255,steps=10"},
    {.file = "pgd", .spec = "pgd:eps=0.03,alpha=0.01,steps=5,random_start=false", .colour = false},
    {.file = "mifgsm", .spec = "mifgsm:eps=16/255,alpha=1.6/255,steps=10,mu=1"},
    {.file = "nifgsm", .spec = "nifgsm:eps=16/255,alpha=1.6/255,steps=10,mu=1"},
    {.file = "tifgsm", .spec = "tifgsm:eps=16/255,alpha=1.6/255,steps=10,mu=1,kernel_size=7"},
    {.file = "sifgsm", .spec = "sifgsm:eps=24/255,alpha=2.4/255,steps=10,mu=1"},
    {.file = "apgd-ce", .spec = "apgd-ce:eps=30/255,steps=20"},
    {.file = "apgd-dlr", .spec = "apgd-dlr:eps=4/255,steps=20"},
    {.file = "apgd-dlr-2", .spec = "apgd-dlr:eps=4/255,steps=20", .colour = false},
    {.file = "deepfool", .spec = "deepfool:steps=50,overshoot=0.02", .evaluation = true, .inner = true, .room = 1e-3},
    // Adam's first step is the gradient's sign.
    {.file = "cw", .spec = "cw:search_steps=1,c=1,steps=40,rate=0.01,abort_early=false", .evaluation = true},
};

std::unique_ptr<Network> make(const Case& c) {
  NetworkOptions const options = c.colour ? NetworkOptions{.classes = 5, .channels = 3, .height = 20, .width = 33}
                                          : NetworkOptions{.classes = 2, .channels = 1, .height = 28, .width = 28};
  std::unique_ptr<Network> network = make_network("cnn:dropout=0", options);
  std::vector<float> mean{0.48f, 0.52f, 0.45f}, deviation{0.24f, 0.26f, 0.23f};
  mean.resize(static_cast<size_t>(options.channels));
  deviation.resize(static_cast<size_t>(options.channels));
  network->set_normalization("dataset", mean, deviation);
  fill(*network);
  return network;
}

Tensor images(const Case& c) {
  Tensor const drawn = golden::images(c.colour ? Shape{c.images(), 20, 33, 3} : Shape{c.images(), 28, 28, 1});
  if (!c.inner) return drawn;
  std::vector<float> pixels = drawn.to_host<float>();
  for (float& u : pixels) u = u / 2 + 0.25f;
  return Tensor::from(pixels, drawn.shape());
}

/// A network in f64 to an attack whose images are f32.
class ExactClassifier final : public Classifier {
 public:
  explicit ExactClassifier(Network& network) : network_(network) { network.cast(DType::f64); }
  int64_t classes() const override { return network_.network_options().classes; }
  Shape image_shape() const override {
    NetworkOptions const& o = network_.network_options();
    return {o.height, o.width, o.channels};
  }
  std::string name() const override { return "network in f64"; }

 protected:
  Outputs run(const Batch& b, const Cotangent& cotangent, const Want& want, const DrawKey&) override {
    Tensor const x = b.x.cast(DType::f64);
    Tape tape;
    tape.watch(x);
    Context context;
    Tensor const logits = network_(x, context);
    Outputs out;
    if (want.logits) out.logits = logits.cast(DType::f32);
    if (!want.loss && !want.input_gradient) return out;
    Tensor output = logits, weights;
    if (const Loss* const loss = std::get_if<Loss>(&cotangent)) {
      output = loss_of(logits, *loss);
      weights = Tensor::full(output.shape(), 1, DType::f64);
      if (want.loss) out.loss = output.cast(DType::f32);
    } else {
      weights = std::get<OnLogits>(cotangent).weights.cast(DType::f64);
    }
    if (want.input_gradient) out.input_gradient = tape.gradient(output, weights, x).cast(DType::f32);
    return out;
  }

 private:
  Network& network_;
};

SafetensorsFile golden_file(const Case& c) { return read_safetensors(path(cat("attacks/", c.file, ".safetensors"))); }

Batch batch(const Case& c, const SafetensorsFile& file) {
  Tensor const x = images(c);
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < x.dim(0); ++i) ids.push_back(i);
  return {x, stored(file, "labels").to(x.device()), Tensor::from(ids, {x.dim(0)})};
}

std::vector<double> difference(std::vector<double> a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) a[i] -= b[i];
  return a;
}

/// Share of the pixels that are not within 1e-5, which is far below any step.
double share_apart(const std::vector<double>& a, const std::vector<double>& b) {
  int64_t apart = 0;
  for (double d : difference(a, b)) apart += !(std::abs(d) <= 1e-5);
  return static_cast<double>(apart) / static_cast<double>(a.size());
}

/// The first n images are at most twice as far from PyTorch's f64 as PyTorch's f32 is, and room for a few signs of
/// gradients that are zero up to rounding: a thousandth of the pixels, which moves a perturbation by the root of that
/// (Case::room; DeepFool follows gradients as they are, which rounding hardly moves).
/// Another attack's result differs in a tenth of the pixels and more (make_attacks.py: check_apart).
void check_case(const Case& c, Classifier& model, Network& exact, int64_t n) {
  CAPTURE(std::string(c.file));
  SafetensorsFile const file = golden_file(c);
  Batch const b = slice(batch(c, file), 0, n);
  AttackResult const result = make_attack(c.spec)->run(model, b, {.evaluation = c.evaluation});
  auto const rounding = values_of(stored(file, "f32"));
  auto const found = values_of(result.adversarial), expected = values_of(stored(file, "adversarial").rows(0, n)),
             clean = values_of(b.x);
  CHECK(share_apart(found, expected) <= 2 * rounding[0] + 1e-3);
  CHECK(relative_distance(difference(found, clean), difference(expected, clean)) <= 2 * rounding[1] + c.room);

  Forced const reference("reference");
  Context context;
  Tensor const logits = exact(result.adversarial.cast(DType::f64), context);
  auto const wanted = values_of(stored(file, "logits").rows(0, n));
  CHECK(largest_difference(values_of(logits), wanted) <= (2 * rounding[2] + 1e-3) * largest(wanted));
}

}  // namespace

TEST_CASE("golden: attacks on a network in f64 are PyTorch's") {
  for (const Case& c : cases) {
    auto const network = make(c);
    ExactClassifier exact(*network);
    Forced const reference("reference");  // check_case ends it
    check_case(c, exact, *network, 1);
  }
}

TEST_CASE("golden: attacks through every provider in f32 are PyTorch's") {
  for (const std::string& provider : f32_providers()) {
    if (provider == "reference") continue;  // the slowest; it has been believed in f64
    CAPTURE(provider);
    for (const Case& c : cases) {
      auto const network = make(c), exact = make(c);
      exact->cast(DType::f64);
      NetworkClassifier model(*network);
      Forced const forced(provider);
      check_case(c, model, *exact, c.images());
    }
  }
}

TEST_CASE("golden: FAB's projections on a hyperplane and the box are those found by sorting") {
  using Projection =
      Kernel<float*, const float*, const float*, const int64_t*, const float*, float, float, int64_t, int64_t>;
  SafetensorsFile const file = read_safetensors(path("attacks/fab_projection.safetensors"));
  Tensor const x = stored(file, "x").cast(DType::f32).to(default_device()),
               w = stored(file, "w").cast(DType::f32).to(default_device());
  auto const clean = values_of(stored(file, "x")), weights = values_of(stored(file, "w")),
             b = values_of(stored(file, "b"));
  size_t const n = b.size(), size = clean.size() / n;
  std::vector<int64_t> rows;
  std::vector<float> gap;  // <w, x> - b
  for (size_t i = 0; i < n; ++i) {
    double at = -b[i];
    for (size_t j = i * size; j < (i + 1) * size; ++j) at += weights[j] * clean[j];
    rows.push_back(static_cast<int64_t>(i));
    gap.push_back(static_cast<float>(at));
  }
  Tensor const chosen = Tensor::from(rows, {x.dim(0)}), gaps = Tensor::from(gap, {x.dim(0)});
  for (const char* norm : {"l1", "l2", "linf"}) {
    CAPTURE(norm);
    Projection const project(cat("fab_projection_", norm).c_str());
    // The current image is the clean one: whatever share each has, the step leads to the projection of both.
    Tensor found = x.clone();
    project(found.stream(), found.data<float>(), x.data<float>(), w.data<float>(), chosen.data<int64_t>(),
            gaps.data<float>(), 1.0f, 0.1f, x.dim(0), x.dim(1));
    // x, w and the gap are rounded to f32: 1e-7 of sums of 45 terms, over slopes that are no smaller than 1e-2.
    CHECK(largest_difference(values_of(found), values_of(stored(file, norm))) <= 1e-5);
  }
}
