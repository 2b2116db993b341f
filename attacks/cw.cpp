#include "attacks/cw.h"

#include <algorithm>
#include <limits>

#include "attacks/minimum_norm.h"
#include "attacks/pick.h"
#include "engine/ops/arithmetic.h"
#include "kernels/launch/table.h"

namespace mith {
namespace {

const Kernel<float*, float*, const float*, int64_t, int64_t> cw_tanh_start{"cw_tanh_start"};
const Kernel<float*, float*, float*, float*, const float*, const float*, const float*, double, int64_t, int64_t*,
             int64_t, int64_t>
    cw_tanh_step{"cw_tanh_step"};
const Kernel<float*, float*, float*, const float*, const float*, const float*, double, int64_t, int64_t*, int64_t,
             int64_t>
    cw_clip_step{"cw_clip_step"};

constexpr double unset = 1e10;  ///< an upper bound of c that no success has set

/// The search for one image's c.
struct Search {
  double c, lower = 0, upper = unset;

  void narrow(bool success) {
    if (success)
      upper = std::min(upper, c);
    else
      lower = std::max(lower, c);
    c = upper < unset ? (lower + upper) / 2 : 10 * c;
  }
};

/// The images that one search step still works on.
struct Active {
  Rows rows;
  Batch clean;
  /// Where the distance is measured from: the clean image as the box can hold it, so that a pixel without a gradient
  /// stays. 1e-7 away it would not: Adam's steps do not know how small a slope is.
  Tensor origin;
  Tensor adv, w, exp_avg, exp_avg_sq;
  std::vector<double> previous;  ///< objective at the last look, for abort_early

  Active(const Batch& batch, const Rows& images, bool tanh_box)
      : rows(images), clean(select(batch, images)), previous(images.size(), std::numeric_limits<double>::infinity()) {
    adv = clean.x.clone();
    exp_avg = Tensor::zeros_like(adv);
    exp_avg_sq = Tensor::zeros_like(adv);
    origin = clean.x;
    if (!tanh_box || rows.empty()) return;
    w = Tensor::empty_like(adv);
    cw_tanh_start(adv.stream(), w.data<float>(), adv.data<float>(), clean.x.data<float>(), size(), pixels());
    origin = adv.clone();
  }
  int64_t size() const { return static_cast<int64_t>(rows.size()); }
  int64_t pixels() const { return adv.numel() / size(); }
  Batch now() const { return {adv, clean.y, clean.ids}; }

  void keep(const Rows& kept) {
    if (kept.size() == rows.size()) return;
    rows = pick(rows, kept);
    previous = pick(previous, kept);
    clean = select(clean, kept);
    for (Tensor* t : {&origin, &adv, &w, &exp_avg, &exp_avg_sq})
      if (t->defined()) *t = gather_rows(*t, kept);
  }
};

/// Whether more than a twentieth of the pixel values are exactly 0 or 1: held there, they make the distance a fortieth
/// longer.
bool many_at_ends(const Tensor& x) {
  int64_t at_ends = 0;
  for (float v : x.to_host<float>()) at_ends += v == 0 || v == 1;
  return 20 * at_ends > x.numel();
}

class Run {
 public:
  Run(const Cw& config, const char* name, Classifier& model, const Batch& batch, const AttackOptions& options)
      : config_(config),
        batch_(batch),
        books_({.attack = name, .norm = Norm::l2, .target = config.target}, model, batch, options),
        searches_(static_cast<size_t>(batch.size()), Search{.c = static_cast<double>(config.c)}) {}

  AttackResult all() {
    for (int search = 0; search < config_.search_steps; ++search) {
      // As the authors do, a long search ends with the smallest c that is known to succeed.
      if (config_.search_steps >= 10 && search == config_.search_steps - 1)
        for (Search& s : searches_) s.c = s.upper;
      auto const success = minimise(search);
      for (int64_t row : books_.open()) searches_[static_cast<size_t>(row)].narrow(success[static_cast<size_t>(row)]);
    }
    AttackResult result = books_.finish();
    if (config_.cw_box == "tanh" && many_at_ends(batch_.x))
      result.warnings.emplace_back(
          "C&W: more than a twentieth of the pixel values are exactly 0 or 1: they start where tanh is flat and hardly "
          "move; cw_box=clip moves them");
    return result;
  }

 private:
  Loss margin(const Active& a) const {
    if (config_.target < 0) return {.kind = Loss::margin, .labels = a.clean.y};
    std::vector<int32_t> const targets(a.rows.size(), static_cast<int32_t>(config_.target));
    return {.kind = Loss::margin, .labels = Tensor::from(targets, {a.size()}, a.clean.y.device()), .targeted = true};
  }

  /// One search step; whether it succeeded, for every image of the batch.
  std::vector<uint8_t> minimise(int search) {
    std::vector<uint8_t> success(searches_.size(), 0);
    Active a(batch_, books_.open(), config_.cw_box == "tanh");
    int const look = std::max(config_.steps / 10, 1);
    for (int i = 0; i < config_.steps && !a.rows.empty(); ++i) {
      Outputs out = books_.passes().evaluate(a.now(), margin(a), {.logits = true, .loss = true, .input_gradient = true},
                                             books_.model_key(search, i));
      books_.count(a.rows, 1, 1);
      // The image that the network has just seen is the candidate, before it moves. Its margin is that by which the
      // attack leads: -A.
      auto const lead = out.loss.to_host<float>(), distance = distances(Norm::l2, a.adv, a.clean.x);
      auto fooled = books_.fooled(a.rows, out.logits);
      std::vector<float> weight;
      Rows kept;
      for (size_t j = 0; j < a.rows.size(); ++j) {
        size_t const row = static_cast<size_t>(a.rows[j]);
        fooled[j] = fooled[j] && lead[j] >= config_.kappa;
        success[row] |= fooled[j];
        double const c = searches_[row].c, hinge = std::max(0.0, static_cast<double>(config_.kappa - lead[j]));
        weight.push_back(hinge > 0 ? static_cast<float>(c) : 0.0f);
        if (!stuck(a.previous[j], square(static_cast<double>(distance[j])) + c * hinge, i % look == 0))
          kept.push_back(static_cast<int64_t>(j));
      }
      books_.enter(a.rows, a.adv, fooled, distance);
      if (kept.size() < a.rows.size()) {
        out.input_gradient = gather_rows(out.input_gradient, kept);
        weight = pick(weight, kept);
        a.keep(kept);
      }
      if (!a.rows.empty()) step(a, out.input_gradient, weight, i + 1);
      books_.progress(int64_t{search} * config_.steps + i + 1, int64_t{config_.search_steps} * config_.steps);
    }
    return success;
  }

  /// Whether an image's objective has stopped falling since the last look.
  bool stuck(double& previous, double objective, bool look) const {
    if (!config_.abort_early || !look) return false;
    bool const stays = objective > 0.9999 * previous;
    previous = objective;
    return stays;
  }

  void step(Active& a, const Tensor& gradient, const std::vector<float>& weights, int64_t t) {
    Tensor const weight = Tensor::from(weights, {a.size()}, a.adv.device());
    int64_t* const bad = books_.nan_count().data<int64_t>();
    auto const rate = static_cast<double>(config_.rate);
    if (a.w.defined())
      cw_tanh_step(a.adv.stream(), a.w.data<float>(), a.exp_avg.data<float>(), a.exp_avg_sq.data<float>(),
                   a.adv.data<float>(), a.origin.data<float>(), gradient.data<float>(), weight.data<float>(), rate, t,
                   bad, a.size(), a.pixels());
    else
      cw_clip_step(a.adv.stream(), a.exp_avg.data<float>(), a.exp_avg_sq.data<float>(), a.adv.data<float>(),
                   a.origin.data<float>(), gradient.data<float>(), weight.data<float>(), rate, t, bad, a.size(),
                   a.pixels());
  }

  static double square(double v) { return v * v; }

  const Cw& config_;
  const Batch& batch_;
  NearestSuccess books_;
  std::vector<Search> searches_;
};

}  // namespace

AttackResult Cw::run_as(const char* called, Classifier& model, const Batch& batch, const AttackOptions& options) const {
  return Run(*this, called, model, batch, options).all();
}

void Cw::fields(Fields& f) {
  f.integer("search_steps", search_steps, "values of c that are tried for each image", 1, 100);
  f.integer("steps", steps, "steps of Adam for each c", 1, 1000000);
  f.number("rate", rate, "Adam's learning rate", 0, 10);
  f.number("c", c, "the first weight of misclassification against distance", 1e-20, 1e9);
  f.number("kappa", kappa, "margin, in logits, by which the network is to be wrong", 0, 1e6);
  f.flag("abort_early", abort_early, "leave an image that has not gained 0.01 % in a tenth of the steps");
  f.text("cw_box", cw_box, "what keeps pixels in [0, 1]: tanh, as published, or clip, which also moves black borders",
         {"tanh", "clip"});
  f.integer("target", target, "class to be mistaken for; -1: any other", -1, 1 << 30);
}

namespace {

constexpr const char* rule =
    "x_adv = (tanh w + 1) / 2,  w_0 = atanh(0.999999 (2 x - 1));  cw_box=clip: x_adv itself, clipped to [0, 1]\n"
    "Adam on |x_adv - x|_2^2 + c max(0, A + kappa)\n"
    "A = z_y - max_{i != y} z_i;  with a target A = max_{i != t} z_i - z_t\n"
    "c by bisection for each image: smaller after a success, tenfold until the first; the nearest success counts";

const AttackRegistry::Add cw = register_minimum_norm<Cw>({
    .name = Cw::name,
    .summary = "the smallest L2 change, by Adam with a search for the weight of misclassification",
    .paper = "Carlini & Wagner, Towards evaluating the robustness of neural networks, S&P 2017, section V-A and VI-A",
    .rule = rule,
    .facts = {{"norm", "l2"},
              {"access", "white"},
              {"targeted", "yes"},
              {"draws", "none"},
              {"cost", "search_steps x steps gradients at most: 90000"}},
});

const AttackRegistry::Add cw_fast = register_minimum_norm<CwFast>({
    .name = CwFast::name,
    .summary = "cw with five searches of 500 steps",
    .paper = "Carlini & Wagner, S&P 2017; the constants are this project's",
    .rule = rule,
    .facts = {{"norm", "l2"},
              {"access", "white"},
              {"targeted", "yes"},
              {"draws", "none"},
              {"cost", "search_steps x steps gradients at most: 2500"}},
});

}  // namespace
}  // namespace mith
