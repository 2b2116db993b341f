#include "attacks/passes.h"

#include <algorithm>

#include "engine/ops/arithmetic.h"

namespace mith {

Outputs Passes::evaluate(const Batch& b, const Cotangent& cotangent, const Want& want, const DrawKey& key) const {
  int64_t const n = b.size(), at_once = batch_ > 0 ? batch_ : n;
  if (n == at_once || n == 0) return model_.evaluate(b, cotangent, want, key);
  check(want.features.empty(), model_.name(), ": features of a padded pass");
  Outputs all;
  if (want.logits) all.logits = Tensor::empty({n, model_.classes()}, DType::f32, b.x.device());
  if (want.loss) all.loss = Tensor::empty({n}, DType::f32, b.x.device());
  if (want.input_gradient) all.input_gradient = Tensor::empty_like(b.x);
  for (int64_t first = 0; first < n; first += at_once) {
    int64_t const count = std::min(at_once, n - first);
    std::vector<int64_t> rows(static_cast<size_t>(at_once));
    for (int64_t i = 0; i < at_once; ++i) rows[static_cast<size_t>(i)] = first + i % count;
    Outputs const part = model_.evaluate(count == at_once ? slice(b, first, count) : select(b, rows),
                                         select(cotangent, rows), want, key);
    auto const store = [&](Tensor& whole, const Tensor& values) {
      if (whole.defined()) whole.rows(first, count).copy_from(values.rows(0, count));
    };
    store(all.logits, part.logits);
    store(all.loss, part.loss);
    store(all.input_gradient, part.input_gradient);
  }
  return all;
}

Outputs Passes::average(const Batch& b, const Cotangent& cotangent, const Want& want, int count,
                        const std::function<DrawKey(int pass)>& key) const {
  Outputs mean = evaluate(b, cotangent, want, key(0));
  if (count == 1) return mean;
  for (int pass = 1; pass < count; ++pass) {
    Outputs const more = evaluate(b, cotangent, want, key(pass));
    auto const add = [](Tensor& sum, const Tensor& x) {
      if (sum.defined()) add_in_place(sum, x);
    };
    add(mean.logits, more.logits);
    add(mean.loss, more.loss);
    add(mean.input_gradient, more.input_gradient);
  }
  for (Tensor* t : {&mean.logits, &mean.loss, &mean.input_gradient})
    if (t->defined()) *t = scale(*t, 1.0 / count);
  return mean;
}

}  // namespace mith
