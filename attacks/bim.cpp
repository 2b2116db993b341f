#include "attacks/bim.h"

#include <algorithm>
#include <cmath>

namespace mith {

int Bim::resolved_steps() const {
  if (steps > 0) return steps;
  // A radius of 8/255 is not exact in float; without the allowance 10 steps would become 9.
  double const levels = 255.0 * double(eps), allowance = 1e-4;
  return std::max(1, static_cast<int>(std::floor(std::min(levels + 4, 1.25 * levels) + allowance)));
}

void Bim::fields(Fields& f) {
  f.number("eps", eps, "radius of the ball, in pixel units", 0, 1);
  f.number("alpha", alpha, "step length, in pixel units; 0: 2.5 eps / steps", 0, 1);
  f.integer("steps", steps, "steps; 0: floor(min(255 eps + 4, 1.25 * 255 eps)), at least 1", 0, 1000000);
  f.integer("target", target, "class to be mistaken for; -1: any other", -1, 1 << 30);
}

namespace {

const AttackRegistry::Add bim = register_iterative<Bim>({
    .name = Bim::name,
    .summary = "basic iterative method (I-FGSM): small sign steps from the clean image, projected after each",
    .paper = "Kurakin, Goodfellow & Bengio, Adversarial examples in the physical world, ICLR workshop 2017",
    .rule = "x_0 = x\n"
            "x_{t+1} = P(x_t + alpha sign(grad_x CE(f(x_t), y))),  P: |x_t - x|_inf <= eps, then [0, 1]",
    .facts =
        {{"norm", "linf"}, {"access", "white"}, {"targeted", "yes"}, {"draws", "none"}, {"cost", "steps gradients"}},
});

}  // namespace
}  // namespace mith
