#include "attacks/eotpgd.h"

namespace mith {

void EotPgd::fields(Fields& f) {
  f.number("eps", eps, "radius of the ball, in pixel units", 0, 1);
  f.number("alpha", alpha, "step length, in pixel units; 0: 2.5 eps / steps", 0, 1);
  f.integer("steps", steps, "steps", 1, 1000000);
  f.integer("eot", eot, "passes whose average each step follows", 1, 100000);
  f.integer("restarts", restarts, "random starts; the best of them counts", 1, 255);
  f.flag("random_start", random_start, "start at a random point of the ball instead of at the image");
  f.integer("target", target, "class to be mistaken for; -1: any other", -1, 1 << 30);
}

namespace {

const AttackRegistry::Add eotpgd = register_iterative<EotPgd>({
    .name = EotPgd::name,
    .summary = "PGD against random models: every step follows an average over passes",
    .paper = "Athalye, Carlini & Wagner, Obfuscated gradients give a false sense of security, ICML 2018, section 4.2",
    .rule = "x_0 = clamp(x + U(-eps, eps), 0, 1)\n"
            "g = (1/n) sum_k grad_x CE(f_k(x_t), y),  f_k the model with fresh draws\n"
            "x_{t+1} = P(x_t + alpha sign(g)),  P: |x_t - x|_inf <= eps, then [0, 1]",
    .facts = {{"norm", "linf"},
              {"access", "white"},
              {"targeted", "yes"},
              {"draws", "start, the model's"},
              {"cost", "steps x eot x restarts gradients"}},
});

}  // namespace
}  // namespace mith
