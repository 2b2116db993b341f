#include "attacks/vmifgsm.h"

#include "engine/ops/arithmetic.h"

namespace mith {
namespace {

/// The gradient at `centre` plus the variance remembered from the step before; remembers the one around `centre`.
template <class C>
Tensor variance_tuned(const C& c, GradientSource& source, MomentumStep& step, const Tensor& centre) {
  Tensor const gradient = source.gradient(centre);
  Tensor tuned = step.memory.defined() ? add(gradient, step.memory) : gradient;
  if (c.neighbours == 0 || step.iteration + 1 == step.steps) return tuned;
  step.memory = source.average(c.neighbours, [&](int64_t first, int64_t count) {
    return std::vector{source.gradient(uniform_neighbours(step, centre, c.beta * step.eps, first, count), count)};
  });
  add_in_place(step.memory, gradient, -1);
  return tuned;
}

template <class C>
void shared_fields(Fields& f, C& c) {
  c.frame.fields(f);
  f.integer("neighbours", c.neighbours, "neighbours that the variance is taken over", 0, 1000);
  f.number("beta", c.beta, "radius of the neighbourhood, in multiples of eps", 0, 100);
}

}  // namespace

Tensor Vmifgsm::estimate(GradientSource& source, MomentumStep& step) const {
  return variance_tuned(*this, source, step, step.adv);
}
Tensor Vnifgsm::estimate(GradientSource& source, MomentumStep& step) const {
  return variance_tuned(*this, source, step, look_ahead(step));
}
void Vmifgsm::fields(Fields& f) { shared_fields(f, *this); }
void Vnifgsm::fields(Fields& f) { shared_fields(f, *this); }

namespace {

const AttackRegistry::Add vmi = register_momentum<Vmifgsm>({
    .name = Vmifgsm::name,
    .summary = "MI-FGSM with variance tuning: corrected by how the gradient varied around the last iterate",
    .paper = "Wang & He, Enhancing the transferability of adversarial attacks through variance tuning, CVPR 2021, "
             "algorithm 1",
    .rule = "g = grad CE(f(x_t), y),  v_{-1} = 0\n"
            "m_{t+1} = mu m_t + (g + v_{t-1}) / mean|g + v_{t-1}|\n"
            "v_t = 1/N sum_i grad CE(f(x_t + r_i), y) - g,  r_i ~ U(-beta eps, beta eps)\n"
            "x_{t+1} = P(x_t + alpha sign(m_{t+1})),  P: |x_t - x|_inf <= eps, then [0, 1]",
    .facts = {{"norm", "linf"},
              {"access", "transfer"},
              {"targeted", "yes"},
              {"draws", "neighbours"},
              {"cost", "steps x (neighbours + 1) gradients, without the last step's neighbours"}},
});

const AttackRegistry::Add vni = register_momentum<Vnifgsm>({
    .name = Vnifgsm::name,
    .summary = "VMI-FGSM with Nesterov's look-ahead",
    .paper = "Wang & He, CVPR 2021, algorithm 1 with the look-ahead of Lin et al., ICLR 2020",
    .rule = "n_t = x_t + alpha mu m_t,  g = grad CE(f(n_t), y),  v_{-1} = 0\n"
            "m_{t+1} = mu m_t + (g + v_{t-1}) / mean|g + v_{t-1}|\n"
            "v_t = 1/N sum_i grad CE(f(n_t + r_i), y) - g,  r_i ~ U(-beta eps, beta eps)\n"
            "x_{t+1} = P(x_t + alpha sign(m_{t+1})),  P: |x_t - x|_inf <= eps, then [0, 1]",
    .facts = {{"norm", "linf"},
              {"access", "transfer"},
              {"targeted", "yes"},
              {"draws", "neighbours"},
              {"cost", "steps x (neighbours + 1) gradients, without the last step's neighbours"}},
});

}  // namespace
}  // namespace mith
