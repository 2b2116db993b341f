#include "attacks/pgn.h"

#include "kernels/launch/table.h"

namespace mith {
namespace {

const Kernel<float*, const float*, const float*, float, int64_t, int64_t> step_of_mean_size{"mean_size_step"};

}  // namespace

Tensor mean_size_step(const Tensor& images, const Tensor& gradient, float length) {
  check(images.shape() == gradient.shape(), "mean_size_step: images ", images.shape(), " with ", gradient.shape());
  Tensor out = Tensor::empty_like(images);
  int64_t const n = images.dim(0);
  step_of_mean_size(out.stream(), out.data<float>(), images.data<float>(), gradient.data<float>(), length, n,
                    n ? images.numel() / n : 0);
  return out;
}

Tensor Pgn::estimate(GradientSource& source, MomentumStep& step) const {
  std::vector<double> weights(static_cast<size_t>(neighbours), (1 - double(gamma)) / neighbours);
  weights.insert(weights.end(), weights.size(), double(gamma) / neighbours);
  auto const gradients = [&](int64_t first, int64_t count) {
    Tensor const near = uniform_neighbours(step, step.adv, zeta * step.eps, first, count);
    Tensor const g1 = source.gradient(near, count);
    Tensor const g2 = source.gradient(mean_size_step(near, g1, -step.alpha), count);
    return std::vector{g1, g2};
  };
  return source.average(neighbours, gradients, weights);
}

void Pgn::fields(Fields& f) {
  frame.fields(f);
  f.integer("neighbours", neighbours, "neighbours that the gradient is averaged over", 1, 1000);
  f.number("zeta", zeta, "radius of the neighbourhood, in multiples of eps", 0, 100);
  f.number("gamma", gamma, "weight of the gradient behind the descent step", 0, 1);
}

namespace {

const AttackRegistry::Add pgn = register_momentum<Pgn>({
    .name = Pgn::name,
    .summary = "penalises the gradient norm, so that the maximum is flat and other networks share it",
    .paper = "Ge et al., Boosting adversarial transferability by achieving flat local maxima, NeurIPS 2023, eq. (8), "
             "algorithm 1",
    .rule = "for i = 1..N:  n = x_t + U(-zeta eps, zeta eps),  g1 = grad CE(f(n), y)\n"
            "               g2 = grad CE(f(n - alpha g1 / mean|g1|), y)\n"
            "g = 1/N sum_i (1 - gamma) g1 + gamma g2\n"
            "m_{t+1} = mu m_t + g / mean|g|\n"
            "x_{t+1} = P(x_t + alpha sign(m_{t+1})),  P: |x_t - x|_inf <= eps, then [0, 1]",
    .facts = {{"norm", "linf"},
              {"access", "transfer"},
              {"targeted", "yes"},
              {"draws", "neighbours"},
              {"cost", "2 x steps x neighbours gradients"}},
});

}  // namespace
}  // namespace mith
