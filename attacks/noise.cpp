#include "attacks/noise.h"

namespace mith {

void Noise::fields(Fields& f) {
  f.number("eps", eps, "radius of the ball, in pixel units", 0, 1);
  f.integer("restarts", restarts, "draws; the best of them counts", 1, 255);
  f.integer("target", target, "class to be mistaken for; -1: any other", -1, 1 << 30);
}

namespace {

const AttackRegistry::Add noise = register_iterative<Noise>({
    .name = Noise::name,
    .summary = "random signs of size eps: the control that every attack must beat",
    .paper = "the control of Athalye, Carlini & Wagner 2018 and Carlini et al. 2019",
    .rule = "x_adv = clamp(x + eps s, 0, 1),  s uniform in {-1, +1} for every pixel",
    .facts = {{"norm", "linf"}, {"access", "score"}, {"targeted", "yes"}, {"draws", "signs"}, {"cost", "no gradient"}},
});

}  // namespace
}  // namespace mith
