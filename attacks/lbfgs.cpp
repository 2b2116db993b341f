#include "attacks/lbfgs.h"

#include <algorithm>
#include <cmath>

#include "attacks/minimum_norm.h"
#include "engine/ops/arithmetic.h"
#include "kernels/launch/table.h"
#include "kernels/row/lbfgs.h"

namespace mith {
namespace {

const Kernel<float*, float*, float*, float*, float*, int32_t*, const float*, const float*, const float*, const float*,
             const uint8_t*, int64_t*, int64_t, int64_t>
    lbfgs_direction{"lbfgs_direction"};
const Kernel<float*, double*, const float*, const float*, const float*, const float*, const float*, int64_t, int64_t>
    lbfgs_trial{"lbfgs_trial"};

/// The line search over c: up after a success, which lets r shrink, and down after a failure.
struct Weight {
  double c, success = 0, failure = 0;  ///< 0: not met yet

  void narrow(bool succeeded) {
    (succeeded ? success : failure) = c;
    if (success > 0 && failure > 0)
      c = std::sqrt(success * failure);
    else
      c *= succeeded ? 10 : 0.1;
  }
};

/// One image's descent for one c.
struct Descent {
  bool going = true;
  double objective = 0, slope = 0;  ///< at the point reached; of the trial's step
  double distance = 0, length = 1;  ///< |trial - x|^2; share of the direction that is tried
};

/// Minimises for all open images at once; each has its own history, step length and end.
class Run {
 public:
  Run(const Lbfgs& config, Classifier& model, const Batch& batch, const AttackOptions& options)
      : config_(config),
        books_({.attack = Lbfgs::name, .norm = Norm::l2, .target = config.target}, model, batch, options),
        rows_(books_.open()),
        clean_(select(batch, rows_)),
        weights_(rows_.size(), Weight{.c = static_cast<double>(config.c)}) {
    auto const goals =
        config.target < 0 ? books_.rivals(rows_, 0, 1) : std::vector(rows_.size(), static_cast<int32_t>(config.target));
    goals_ = Tensor::from(goals, {size()}, batch.y.device());
  }

  AttackResult all() {
    if (rows_.empty()) return books_.finish();
    x_ = Tensor::empty_like(clean_.x);
    gradient_ = Tensor::empty_like(x_);
    direction_ = Tensor::empty_like(x_);
    loss_gradient_ = Tensor::empty_like(x_);
    Shape const history{size() * lbfgs_pairs, x_.dim(1), x_.dim(2), x_.dim(3)};
    steps_ = Tensor::empty(history, DType::f32, x_.device());
    changes_ = Tensor::empty_like(steps_);
    for (int search = 0; search < config_.search_steps; ++search) {
      auto const success = minimise(search);
      for (size_t i = 0; i < weights_.size(); ++i) weights_[i].narrow(success[i] != 0);
    }
    return books_.finish();
  }

 private:
  int64_t size() const { return static_cast<int64_t>(rows_.size()); }
  int64_t pixels() const { return x_.numel() / size(); }
  Tensor on_device(const std::vector<float>& values) const { return Tensor::from(values, {size()}, x_.device()); }

  /// One c for each image; whether the descent came to a success.
  std::vector<uint8_t> minimise(int search) {
    std::vector<uint8_t> success(rows_.size(), 0);
    std::vector<Descent> descents(rows_.size());
    std::vector<float> weight;
    for (const Weight& w : weights_) weight.push_back(static_cast<float>(w.c));
    weight_ = on_device(weight);
    trial_ = clean_.x.clone();
    count_ = Tensor::zeros({size()}, DType::i32, x_.device());
    for (int i = 0; i < config_.steps; ++i) {
      Rows going;
      for (size_t j = 0; j < descents.size(); ++j)
        if (descents[j].going) going.push_back(static_cast<int64_t>(j));
      if (going.empty()) break;
      std::vector<LbfgsPoint> const points = look(going, descents, success, books_.model_key(search, i), i == 0);
      advance(points, descents);
      books_.progress(int64_t{search} * config_.steps + i + 1, int64_t{config_.search_steps} * config_.steps);
    }
    return success;
  }

  /// Passes the trial points and decides what each means (Armijo's rule along the projected path).
  std::vector<LbfgsPoint> look(const Rows& going, std::vector<Descent>& descents, std::vector<uint8_t>& success,
                               const DrawKey& key, bool first) {
    Rows rows;
    for (int64_t j : going) rows.push_back(rows_[static_cast<size_t>(j)]);
    Batch b = select(clean_, going);
    Tensor const clean = b.x;
    b.x = gather_rows(trial_, going);
    Loss const loss{.labels = gather_rows(goals_, going), .targeted = true};
    Outputs const out = books_.passes().evaluate(b, loss, {.logits = true, .loss = true, .input_gradient = true}, key);
    books_.count(rows, 1, 1);
    auto const fooled = books_.fooled(rows, out.logits);
    books_.enter(rows, b.x, fooled, distances(Norm::l2, b.x, clean));
    scatter_rows(loss_gradient_, out.input_gradient, going);

    auto const gain = out.loss.to_host<float>();
    std::vector<LbfgsPoint> points(rows_.size(), LbfgsPoint::refused);
    for (size_t j = 0; j < going.size(); ++j) {
      size_t const at = static_cast<size_t>(going[j]);
      Descent& d = descents[at];
      double const objective = weights_[at].c * d.distance - static_cast<double>(gain[j]);
      if (first || objective <= d.objective + 1e-4 * d.slope) {
        points[at] = first ? LbfgsPoint::first : LbfgsPoint::accepted;
        success[at] |= fooled[j];  // what a refused trial overshoots into says nothing about this c's minimum
        // f32 knows the objective to about this much of it.
        if (!first && d.objective - objective <= 1e-6 * std::abs(objective)) d.going = false;
        d.objective = objective;
        d.length = 1;
      } else {
        d.length /= 2;
        if (d.length < 1e-4) d.going = false;
      }
    }
    return points;
  }

  /// New directions where a point was accepted, and the next trial points.
  void advance(const std::vector<LbfgsPoint>& points, std::vector<Descent>& descents) {
    std::vector<uint8_t> bytes;
    std::vector<float> lengths;
    for (size_t j = 0; j < points.size(); ++j) {
      bytes.push_back(static_cast<uint8_t>(points[j]));
      lengths.push_back(descents[j].going ? static_cast<float>(descents[j].length) : 0.0f);
    }
    Tensor const point = Tensor::from(bytes, {size()}, x_.device()), length = on_device(lengths),
                 measured = Tensor::zeros({size(), 2}, DType::f64, x_.device());
    lbfgs_direction(x_.stream(), x_.data<float>(), gradient_.data<float>(), direction_.data<float>(),
                    steps_.data<float>(), changes_.data<float>(), count_.data<int32_t>(), trial_.data<float>(),
                    loss_gradient_.data<float>(), clean_.x.data<float>(), weight_.data<float>(), point.data<uint8_t>(),
                    books_.nan_count().data<int64_t>(), size(), pixels());
    lbfgs_trial(x_.stream(), trial_.data<float>(), measured.data<double>(), x_.data<float>(), gradient_.data<float>(),
                direction_.data<float>(), clean_.x.data<float>(), length.data<float>(), size(), pixels());
    auto const measures = measured.to_host<double>();
    for (size_t j = 0; j < descents.size(); ++j) {
      descents[j].slope = measures[2 * j];
      descents[j].distance = measures[2 * j + 1];
      if (!(descents[j].slope < 0)) descents[j].going = false;  // nowhere to go: a minimum
    }
  }

  const Lbfgs& config_;
  NearestSuccess books_;
  Rows rows_;
  Batch clean_;
  std::vector<Weight> weights_;
  Tensor goals_;
  Tensor x_, gradient_, direction_, loss_gradient_, trial_, steps_, changes_, count_, weight_;
};

}  // namespace

AttackResult Lbfgs::run(Classifier& model, const Batch& batch, const AttackOptions& options) const {
  return Run(*this, model, batch, options).all();
}

void Lbfgs::fields(Fields& f) {
  f.integer("search_steps", search_steps, "values of c that are tried for each image", 1, 100);
  f.integer("steps", steps, "points at most that are passed for each c", 1, 1000000);
  f.number("c", c, "the first weight of the squared distance against the cross-entropy", 1e-10, 1e10);
  f.integer("target", target, "class to be mistaken for; -1: any other, by way of the likeliest", -1, 1 << 30);
}

namespace {

const AttackRegistry::Add lbfgs = register_minimum_norm<Lbfgs>({
    .name = Lbfgs::name,
    .summary = "the smallest L2 change, by L-BFGS in the box with a line search for the weight of distance",
    .paper = "Szegedy et al., Intriguing properties of neural networks, ICLR 2014, section 4.1",
    .rule = "min_r c |r|_2^2 + CE(f(x + r), t),  x + r in [0, 1]^D;  without a target t is the runner-up class\n"
            "x_{k+1} = clamp(x_k - s H_k g_k, 0, 1),  H_k from the last 8 steps, s by halving (Armijo)\n"
            "c for each image: tenfold after a success, a tenth after a failure, then geometric bisection",
    .facts = {{"norm", "l2"},
              {"access", "white"},
              {"targeted", "yes"},
              {"draws", "none"},
              {"cost", "search_steps x steps gradients at most: 900"}},
});

}  // namespace
}  // namespace mith
