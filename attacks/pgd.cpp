#include "attacks/pgd.h"

namespace mith {
namespace {

/// The fields that both norms share, after their radius.
template <class C>
void shared_fields(Fields& f, C& c) {
  f.integer("steps", c.steps, "steps", 1, 1000000);
  f.integer("restarts", c.restarts, "random starts; the best of them counts", 1, 255);
  f.flag("random_start", c.random_start, "start at a random point of the ball instead of at the image");
  f.integer("target", c.target, "class to be mistaken for; -1: any other", -1, 1 << 30);
}

}  // namespace

void Pgd::fields(Fields& f) {
  f.number("eps", eps, "radius of the ball, in pixel units", 0, 1);
  f.number("alpha", alpha, "step length, in pixel units; 0: 2.5 eps / steps", 0, 1);
  shared_fields(f, *this);
}

void PgdL2::fields(Fields& f) {
  f.number("eps", eps, "radius of the L2 ball, in pixel units", 0, 1e4);
  f.number("alpha", alpha, "step length; 0: 2.5 eps / steps", 0, 1e4);
  shared_fields(f, *this);
  f.text("l2_start", l2_start, "radius of the random start: u^(1/D), uniform in the ball, or u as torchattacks",
         {"uniform", "torchattacks"});
}

namespace {

const AttackRegistry::Add pgd = register_iterative<Pgd>({
    .name = Pgd::name,
    .summary = "projected gradient descent in the L-infinity ball, from a random start",
    .paper = "Madry et al., Towards deep learning models resistant to adversarial attacks, ICLR 2018, section 3",
    .rule = "x_0 = clamp(x + U(-eps, eps), 0, 1)\n"
            "x_{t+1} = P(x_t + alpha sign(grad_x CE(f(x_t), y))),  P: |x_t - x|_inf <= eps, then [0, 1]",
    .facts = {{"norm", "linf"},
              {"access", "white"},
              {"targeted", "yes"},
              {"draws", "start"},
              {"cost", "steps x restarts gradients"}},
});

const AttackRegistry::Add pgd_l2 = register_iterative<PgdL2>({
    .name = PgdL2::name,
    .summary = "projected gradient descent in the L2 ball, from a random start",
    .paper = "Madry et al., ICLR 2018, section 3, with normalised steps",
    .rule = "x_0 = clamp(x + eps u^(1/D) n / |n|_2, 0, 1),  n ~ N(0, I),  u ~ U(0, 1)\n"
            "d = x_t + alpha g / |g|_2 - x,  g = grad_x CE(f(x_t), y)\n"
            "x_{t+1} = clamp(x + d min(1, eps / |d|_2), 0, 1);  where g = 0, a random direction",
    .facts = {{"norm", "l2"},
              {"access", "white"},
              {"targeted", "yes"},
              {"draws", "start"},
              {"cost", "steps x restarts gradients"}},
});

}  // namespace
}  // namespace mith
