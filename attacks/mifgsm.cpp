#include "attacks/mifgsm.h"

namespace mith {
namespace {

const AttackRegistry::Add mi = register_momentum<Mifgsm>({
    .name = Mifgsm::name,
    .summary = "momentum iterative FGSM: sign steps along the accumulated, normalised gradients",
    .paper = "Dong et al., Boosting adversarial attacks with momentum, CVPR 2018, eq. (6) and (7)",
    .rule = "x_0 = x,  m_0 = 0\n"
            "m_{t+1} = mu m_t + g / mean|g|,  g = grad_x CE(f(x_t), y)\n"
            "x_{t+1} = P(x_t + alpha sign(m_{t+1})),  P: |x_t - x|_inf <= eps, then [0, 1]",
    .facts =
        {{"norm", "linf"}, {"access", "transfer"}, {"targeted", "yes"}, {"draws", "none"}, {"cost", "steps gradients"}},
});

const AttackRegistry::Add ni = register_momentum<Nifgsm>({
    .name = Nifgsm::name,
    .summary = "MI-FGSM with Nesterov's look-ahead: the gradient is taken where the momentum leads",
    .paper = "Lin et al., Nesterov accelerated gradient and scale invariance for adversarial attacks, ICLR 2020, "
             "eq. (6) to (8)",
    .rule = "g = grad_x CE(f(x_t + alpha mu m_t), y)\n"
            "m_{t+1} = mu m_t + g / mean|g|\n"
            "x_{t+1} = P(x_t + alpha sign(m_{t+1})),  P: |x_t - x|_inf <= eps, then [0, 1]",
    .facts =
        {{"norm", "linf"}, {"access", "transfer"}, {"targeted", "yes"}, {"draws", "none"}, {"cost", "steps gradients"}},
});

}  // namespace
}  // namespace mith
