#include "attacks/jsma.h"

#include <algorithm>
#include <cmath>

#include "engine/ops/arithmetic.h"
#include "kernels/launch/table.h"
#include "kernels/row/jsma.h"

namespace mith {
namespace {

const Kernel<float*, float*, const float*, const float*, const float*, const float*, float, int64_t*, int64_t>
    jsma_gradients{"jsma_gradients"};
const Kernel<float*, float*, int64_t, int64_t, int64_t> jsma_pool{"jsma_pool"};
const Kernel<float*, const float*, const float*, int64_t, int64_t> jsma_bounds{"jsma_bounds"};
const Kernel<float*, int64_t*, const float*, const float*, const float*, int64_t, int64_t> jsma_pairs{"jsma_pairs"};
const Kernel<float*, int64_t*, const float*, const int64_t*, float, int64_t, int64_t> jsma_move{"jsma_move"};

/// Weights that pick one class's logit in each row.
Tensor one_hot(const std::vector<int32_t>& classes, int64_t n_classes, Device device) {
  std::vector<float> weights(classes.size() * static_cast<size_t>(n_classes), 0);
  for (size_t i = 0; i < classes.size(); ++i)
    weights[i * static_cast<size_t>(n_classes) + static_cast<size_t>(classes[i])] = 1;
  return Tensor::from(weights, {static_cast<int64_t>(classes.size()), n_classes}, device);
}

}  // namespace

std::vector<int64_t> jsma_step(Tensor& adv, const Tensor& x, const Tensor& target, const Tensor& sum, float theta,
                               int64_t pool, Tensor& nan_count) {
  check(adv.shape() == x.shape() && target.shape() == x.shape() && sum.shape() == x.shape(), "jsma_step: images ",
        adv.shape(), " of ", x.shape(), " with gradients ", target.shape(), " and ", sum.shape());
  int64_t const n = x.dim(0), features = n > 0 ? x.numel() / n : 0;
  if (n == 0) return {};
  const Stream& stream = x.stream();
  auto const room = [&](const Shape& shape, DType type) { return Tensor::empty(shape, type, x.device()); };
  Tensor const a = room(x.shape(), DType::f32), b = room(x.shape(), DType::f32),
               bounds = room({n, jsma_bounds_size(features)}, DType::f32),
               values = room({n, jsma_chunks(features)}, DType::f32),
               pairs = room({n, jsma_chunks(features)}, DType::i64), moved = room({n}, DType::i64);
  jsma_gradients(stream, a.data<float>(), b.data<float>(), adv.data<float>(), x.data<float>(), target.data<float>(),
                 sum.data<float>(), theta, nan_count.data<int64_t>(), x.numel());
  if (pool > 0 && pool < features) jsma_pool(stream, a.data<float>(), b.data<float>(), pool, n, features);
  jsma_bounds(stream, bounds.data<float>(), a.data<float>(), b.data<float>(), n, features);
  jsma_pairs(stream, values.data<float>(), pairs.data<int64_t>(), a.data<float>(), b.data<float>(),
             bounds.data<float>(), n, features);
  jsma_move(stream, adv.data<float>(), moved.data<int64_t>(), values.data<float>(), pairs.data<int64_t>(), theta, n,
            features);
  return moved.to_host<int64_t>();
}

int64_t Jsma::most_steps(int64_t features) const {
  // Gamma is within 6e-8 of itself of the number that was meant: that 0.1f lies above 0.1 is no reason for one more
  // pair.
  return static_cast<int64_t>(std::ceil(double{gamma} * static_cast<double>(features) / 2 * (1 - 1e-7)));
}

AttackResult Jsma::run(Classifier& model, const Batch& batch, const AttackOptions& options) const {
  require(std::abs(theta) >= 1e-4f, "attack jsma: theta=", theta, " changes nothing");
  ScoreRun run(name, model, batch, options, Objective::probability, target);
  if (run.empty()) return run.finish(batch.x);
  int64_t const steps = most_steps(batch.x.numel() / batch.size()), classes = model.classes();
  std::vector<int32_t> goals;
  for (int64_t i = 0; i < run.size(); ++i)
    goals.push_back(target < 0 ? run.runner_up(i) : static_cast<int32_t>(target));

  Tensor adv = run.clean().x.clone();
  for (int64_t step = 0; !run.empty(); ++step) {
    // The logits that come with the target's gradient say whether the last pair was enough.
    auto const now = [&] { return Batch{adv, run.clean().y, run.clean().ids}; };
    bool const last = step == steps;
    Outputs out = run.passes().evaluate(now(), OnLogits{one_hot(goals, classes, adv.device())},
                                        {.logits = true, .input_gradient = !last}, run.model_key(2 * step));
    if (!last) run.count_gradients();
    auto const scores = run.judge(out.logits);
    std::vector<uint8_t> done;
    for (int64_t i = 0; i < run.size(); ++i) {
      run.accept(i, scores[static_cast<size_t>(i)]);
      done.push_back(scores[static_cast<size_t>(i)].fooled && (options.evaluation || step > 0));
    }
    auto const leave = [&] {
      if (std::count(done.begin(), done.end(), 1) == 0) return;
      auto const kept = run.leave(adv, done);
      goals = pick(goals, kept);
      adv = gather_rows(adv, kept);
      if (out.input_gradient.defined()) out.input_gradient = gather_rows(out.input_gradient, kept);
    };
    leave();
    if (last || run.empty()) break;

    Tensor const all = Tensor::full({run.size(), classes}, 1, DType::f32, adv.device());
    Outputs const sum = run.passes().evaluate(now(), OnLogits{all}, {.logits = true, .input_gradient = true},
                                              run.model_key(2 * step + 1));
    run.judge(sum.logits);
    run.count_gradients();
    auto const pairs =
        jsma_step(adv, run.clean().x, out.input_gradient, sum.input_gradient, theta, pool, run.nan_count);
    done.clear();
    for (int64_t pair : pairs) done.push_back(pair < 0);
    leave();
    run.progress(step + 1, steps);
  }
  return run.finish(adv);
}

void Jsma::fields(Fields& f) {
  f.number("theta", theta, "change of a feature, in pixel units", -1, 1);
  f.number("gamma", gamma, "share of the features that may change", 0, 1);
  f.integer("pool", pool, "search pairs among so many features of the largest a - b only; 0: all, exactly", 0, 1 << 30);
  f.integer("target", target, "class to be mistaken for; -1: any other, by way of the clean image's runner-up", -1,
            1 << 30);
}

namespace {

const AttackRegistry::Add jsma = register_score<Jsma>({
    .name = Jsma::name,
    .summary = "saliency map attack: pairs of pixel values that raise the target's logit and lower the others'",
    .paper =
        "Papernot et al., The limitations of deep learning in adversarial settings, EuroS&P 2016, algorithms 2 and "
        "3, eq. (8); on logits",
    .rule = "a = grad z_t, b = sum_{j != t} grad z_j  (two backward passes: the second for the sum over all j)\n"
            "the pair p < q that maximises -(a_p + a_q)(b_p + b_q), first factor > 0 > second (theta < 0: opposite),\n"
            "among features within [0, .99) (theta < 0: (.01, 1]) that are as they were: both += theta, limited to "
            "[0, 1]\n"
            "stop when fooled, without a pair, or after ceil(gamma D / 2) pairs; all D^2 / 2 pairs count, exactly",
    .facts = {{"norm", "l0"},
              {"access", "white"},
              {"targeted", "yes"},
              {"draws", "none"},
              {"cost", "2 gradients for each pair changed"}},
});

}  // namespace
}  // namespace mith
