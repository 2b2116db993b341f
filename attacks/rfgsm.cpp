#include "attacks/rfgsm.h"

namespace mith {

void Rfgsm::fields(Fields& f) {
  f.number("eps", eps, "radius of the ball, in pixel units", 0, 1);
  f.number("alpha", alpha, "length of the random sign step, in pixel units", 0, 1);
  f.integer("steps", steps, "gradient steps", 1, 1000000);
  f.number("second_step", second_step, "length of a gradient step; 0: alpha", 0, 1);
  f.integer("target", target, "class to be mistaken for; -1: any other", -1, 1 << 30);
}

void Ffgsm::fields(Fields& f) {
  f.number("eps", eps, "radius of the ball, in pixel units", 0, 1);
  f.number("alpha", alpha, "step length, in pixel units; 0: 1.25 eps", 0, 1);
  f.flag("random_start", random_start, "start at a random point of the ball instead of at the image");
  f.integer("target", target, "class to be mistaken for; -1: any other", -1, 1 << 30);
}

namespace {

const AttackRegistry::Add rfgsm = register_iterative<Rfgsm>({
    .name = Rfgsm::name,
    .summary = "a random sign step, then gradient sign steps in the ball",
    .paper = "Tramer et al., Ensemble adversarial training, ICLR 2018, section 4.1",
    .rule = "x_0 = clamp(x + alpha sign(n), 0, 1),  n ~ N(0, I)\n"
            "x_{t+1} = P(x_t + s sign(grad_x CE(f(x_t), y))),  P: |x_t - x|_inf <= eps, then [0, 1]\n"
            "s = alpha; the paper has one step with s = eps - alpha",
    .facts =
        {{"norm", "linf"}, {"access", "white"}, {"targeted", "yes"}, {"draws", "start"}, {"cost", "steps gradients"}},
});

const AttackRegistry::Add ffgsm = register_iterative<Ffgsm>({
    .name = Ffgsm::name,
    .summary = "one sign step from a random point of the ball: the attack of fast adversarial training",
    .paper = "Wong, Rice & Kolter, Fast is better than free, ICLR 2020, algorithm 3",
    .rule = "x_0 = clamp(x + U(-eps, eps), 0, 1)\n"
            "x_adv = P(x_0 + alpha sign(grad_x CE(f(x_0), y))),  P: |x_adv - x|_inf <= eps, then [0, 1]",
    .facts = {{"norm", "linf"}, {"access", "white"}, {"targeted", "yes"}, {"draws", "start"}, {"cost", "1 gradient"}},
});

}  // namespace
}  // namespace mith
