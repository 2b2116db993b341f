#include "attacks/tpgd.h"

namespace mith {

void Tpgd::fields(Fields& f) {
  f.number("eps", eps, "radius of the ball, in pixel units", 0, 1);
  f.number("alpha", alpha, "step length, in pixel units; 0: 2.5 eps / steps", 0, 1);
  f.integer("steps", steps, "steps", 1, 1000000);
  f.integer("restarts", restarts, "random starts; the best of them counts", 1, 255);
  f.number("jitter", jitter, "deviation of the random start, in pixel units", 0, 1);
}

namespace {

const AttackRegistry::Add tpgd = register_iterative<Tpgd>({
    .name = Tpgd::name,
    .summary = "PGD on the divergence from the clean prediction: the inner attack of TRADES, without labels",
    .paper = "Zhang et al., Theoretically principled trade-off between robustness and accuracy, ICML 2019, algorithm 1",
    .rule = "x_0 = P(x + jitter N(0, I))\n"
            "x_{t+1} = P(x_t + alpha sign(grad_{x_t} KL(p(x) || p(x_t)))),  p = softmax(f), p(x) constant\n"
            "P: |x_t - x|_inf <= eps, then [0, 1]",
    .facts = {{"norm", "linf"},
              {"access", "white"},
              {"targeted", "no"},
              {"draws", "start"},
              {"cost", "steps x restarts gradients"}},
});

}  // namespace
}  // namespace mith
