#include "attacks/fgsm.h"

namespace mith {

void Fgsm::fields(Fields& f) {
  f.number("eps", eps, "radius of the ball, in pixel units", 0, 1);
  f.integer("target", target, "class to be mistaken for; -1: any other", -1, 1 << 30);
}

void Fgm::fields(Fields& f) {
  f.number("eps", eps, "radius of the L2 ball, in pixel units", 0, 1e4);
  f.integer("target", target, "class to be mistaken for; -1: any other", -1, 1 << 30);
}

namespace {

const AttackRegistry::Add fgsm = register_iterative<Fgsm>({
    .name = Fgsm::name,
    .summary = "fast gradient sign method: one step of size eps along the sign of the gradient",
    .paper = "Goodfellow, Shlens & Szegedy, Explaining and harnessing adversarial examples, ICLR 2015",
    .rule = "x_adv = clamp(x + eps sign(grad_x CE(f(x), y)), 0, 1)",
    .facts = {{"norm", "linf"}, {"access", "white"}, {"targeted", "yes"}, {"draws", "none"}, {"cost", "1 gradient"}},
});

const AttackRegistry::Add fgm = register_iterative<Fgm>({
    .name = Fgm::name,
    .summary = "fast gradient method: one step of L2 length eps along the gradient",
    .paper = "after Goodfellow, Shlens & Szegedy, ICLR 2015; L2 form as in Miyato et al., ICLR 2017",
    .rule = "x_adv = clamp(x + eps g / |g|_2, 0, 1),  g = grad_x CE(f(x), y)\n"
            "an image whose gradient is zero stays as it is",
    .facts = {{"norm", "l2"}, {"access", "white"}, {"targeted", "yes"}, {"draws", "none"}, {"cost", "1 gradient"}},
});

}  // namespace
}  // namespace mith
