#include "attacks/deepfool.h"

#include <algorithm>
#include <cmath>

#include "attacks/minimum_norm.h"
#include "attacks/pick.h"
#include "engine/ops/arithmetic.h"
#include "kernels/launch/table.h"

namespace mith {
namespace {

using Step = Kernel<float*, float*, const float*, const float*, const int64_t*, const float*, float, int64_t, int64_t>;
const Step deepfool_step_l2{"deepfool_step_l2"}, deepfool_step_linf{"deepfool_step_linf"};

/// The images that are not fooled yet.
struct Active {
  Rows rows;
  Batch clean;
  Tensor adv, total;  ///< the image, and the sum of its steps

  Batch now() const { return {adv, clean.y, clean.ids}; }

  void keep(const Rows& kept) {
    if (kept.size() == rows.size()) return;
    rows = pick(rows, kept);
    clean = select(clean, kept);
    adv = gather_rows(adv, kept);
    total = gather_rows(total, kept);
  }
};

void step(Active& a, const ClassGradients& g, const NearestBoundary& nearest, Norm norm, float overshoot) {
  int64_t const n = a.adv.dim(0);
  std::vector<float> factors;
  for (size_t i = 0; i < nearest.gap.size(); ++i) {
    double const gap = std::abs(static_cast<double>(nearest.gap[i])), length = static_cast<double>(nearest.length[i]);
    factors.push_back(length > 0 ? static_cast<float>((gap + 1e-4) / (norm == Norm::l2 ? length * length : length))
                                 : 0.0f);
  }
  Tensor const chosen = Tensor::from(nearest.chosen, {n}, a.adv.device()),
               factor = Tensor::from(factors, {n}, a.adv.device());
  const Step& kernel = norm == Norm::l2 ? deepfool_step_l2 : deepfool_step_linf;
  kernel(a.adv.stream(), a.total.data<float>(), a.adv.data<float>(), a.clean.x.data<float>(), g.gradients.data<float>(),
         chosen.data<int64_t>(), factor.data<float>(), overshoot, n, a.adv.numel() / n);
}

}  // namespace

AttackResult DeepFool::run(Classifier& model, const Batch& batch, const AttackOptions& options) const {
  Norm const measure = norm_named(norm);
  NearestSuccess books({.attack = name, .norm = measure}, model, batch, options);
  Active a{.rows = books.open(), .clean = select(batch, books.open()), .adv = {}, .total = {}};
  a.adv = a.clean.x.clone();
  a.total = Tensor::zeros_like(a.adv);
  int64_t const m = std::min<int64_t>(candidates, model.classes()) - 1;
  for (int i = 0; i < steps && !a.rows.empty(); ++i) {
    ClassGradients const g =
        class_gradients(books.passes(), a.now(), books.rivals(a.rows, 0, m), books.model_key(0, i));
    step(a, g, nearest_boundary(measure, g, a.rows.size(), books.nan_count()), measure, overshoot);
    auto const fooled = books.fooled(a.rows, books.passes().logits(a.now(), books.model_key(0, i, 1)));
    books.count(a.rows, m + 1, m);
    books.enter(a.rows, a.adv, fooled, distances(measure, a.adv, a.clean.x));
    Rows kept;
    for (size_t j = 0; j < fooled.size(); ++j)
      if (!fooled[j]) kept.push_back(static_cast<int64_t>(j));
    a.keep(kept);
    books.progress(i + 1, steps);
  }
  return books.finish();
}

void DeepFool::fields(Fields& f) {
  f.text("norm", norm, "norm that steps are shortest in", {"l2", "linf"});
  f.integer("steps", steps, "steps at most; an image stops as soon as it fools", 1, 1000000);
  f.number("overshoot", overshoot, "share by which the steps' sum is lengthened, to cross the boundary", 0, 10);
  f.integer("candidates", candidates, "classes of the largest clean logits that are looked at, the label among them", 2,
            1000000);
}

namespace {

const AttackRegistry::Add deepfool = register_minimum_norm<DeepFool>({
    .name = DeepFool::name,
    .summary = "the nearest boundary of the linearised network, step by step",
    .paper = "Moosavi-Dezfooli, Fawzi & Frossard, DeepFool, CVPR 2016, algorithm 2",
    .rule = "w_k = grad (z_k - z_y),  f_k = z_k - z_y at x_i;  l = argmin_k |f_k| / |w_k|_q\n"
            "r_i = (|f_l| + 1e-4) / |w_l|_2^2 w_l;  in L-infinity (|f_l| + 1e-4) / |w_l|_1 sign(w_l)\n"
            "x_{i+1} = clamp(x + (1 + overshoot) (r_0 + ... + r_i), 0, 1), until it is taken for another class",
    .facts = {{"norm", "l2, linf"},
              {"access", "white"},
              {"targeted", "no"},
              {"draws", "none"},
              {"cost", "steps x (candidates - 1) gradients at most"}},
});

}  // namespace
}  // namespace mith
