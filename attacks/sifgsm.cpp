#include "attacks/sifgsm.h"

#include <cmath>

#include "attacks/partners.h"
#include "kernels/launch/table.h"
#include "kernels/map/mixed_copies.h"

namespace mith {
namespace {

const Kernel<float*, const float*, const float*, const int64_t*, float, MixedCopies> scaled_mixes{"scaled_mixes"};

/// Mean over draws and scales i of grad_x CE(f((x + eta partner) / 2^i), y): a copy's gradient, times 2^-i.
Tensor scaled_gradient(GradientSource& source, const Tensor& images, const Partners& partners, float eta, int64_t draws,
                       int64_t scales) {
  int64_t const n = images.dim(0), copies = draws * scales;
  std::vector<double> weights;
  for (int64_t copy = 0; copy < copies; ++copy)
    weights.push_back(std::ldexp(1.0, -static_cast<int>(copy % scales)) / static_cast<double>(copies));
  bool const mixed = partners.rows.defined();
  auto const gradients = [&](int64_t first, int64_t count) {
    Tensor const mixes = Tensor::empty(images.shape().with(0, n * count), DType::f32, images.device());
    scaled_mixes(mixes.stream(), mixes.data<float>(), images.data<float>(),
                 mixed ? partners.pool.data<float>() : nullptr, mixed ? partners.rows.data<int64_t>() : nullptr, eta,
                 MixedCopies{.images = n,
                             .first = first,
                             .count = count,
                             .draws = draws,
                             .scales = scales,
                             .per_image = images.numel() / n});
    return std::vector{source.gradient(mixes, count)};
  };
  return source.average(copies, gradients, weights);
}

void copies_field(Fields& f, int& copies) {
  f.integer("copies", copies, "copies of each image, scaled by 1, 1/2, 1/4, ...", 1, 30);
}

}  // namespace

Tensor Sifgsm::estimate(GradientSource& source, const MomentumStep& step) const {
  return scaled_gradient(source, step.adv, {}, 0, 1, copies);
}

void Sifgsm::fields(Fields& f) {
  frame.fields(f);
  copies_field(f, copies);
}

Tensor Sinifgsm::estimate(GradientSource& source, const MomentumStep& step) const {
  return scaled_gradient(source, look_ahead(step), {}, 0, 1, copies);
}

void Sinifgsm::fields(Fields& f) {
  frame.fields(f);
  copies_field(f, copies);
}

Tensor Admix::estimate(GradientSource& source, const MomentumStep& step) const {
  Partners const partners = draw_partners(source, step, mixes, PartnerClass::other);
  return scaled_gradient(source, step.adv, partners, eta, mixes, scales);
}

void Admix::fields(Fields& f) {
  frame.fields(f);
  f.number("eta", eta, "share of the partner that is added", 0, 1);
  f.integer("mixes", mixes, "partners of each image (m2)", 1, 1000);
  f.integer("scales", scales, "copies of each mix, scaled by 1, 1/2, 1/4, ... (m1)", 1, 30);
}

namespace {

const AttackRegistry::Add si = register_momentum<Sifgsm>({
    .name = Sifgsm::name,
    .summary = "MI-FGSM on the mean gradient of darkened copies of the image",
    .paper = "Lin et al., Nesterov accelerated gradient and scale invariance for adversarial attacks, ICLR 2020, "
             "eq. (9)",
    .rule = "g = 1/copies sum_{i < copies} grad_x CE(f(x_t / 2^i), y)\n"
            "m_{t+1} = mu m_t + g / mean|g|\n"
            "x_{t+1} = P(x_t + alpha sign(m_{t+1})),  P: |x_t - x|_inf <= eps, then [0, 1]",
    .facts = {{"norm", "linf"},
              {"access", "transfer"},
              {"targeted", "yes"},
              {"draws", "none"},
              {"cost", "steps x copies gradients"}},
});

const AttackRegistry::Add sini = register_momentum<Sinifgsm>({
    .name = Sinifgsm::name,
    .summary = "SI-FGSM with Nesterov's look-ahead",
    .paper = "Lin et al., ICLR 2020, algorithm 1",
    .rule = "g = 1/copies sum_{i < copies} grad_x CE(f((x_t + alpha mu m_t) / 2^i), y)\n"
            "m_{t+1} = mu m_t + g / mean|g|\n"
            "x_{t+1} = P(x_t + alpha sign(m_{t+1})),  P: |x_t - x|_inf <= eps, then [0, 1]",
    .facts = {{"norm", "linf"},
              {"access", "transfer"},
              {"targeted", "yes"},
              {"draws", "none"},
              {"cost", "steps x copies gradients"}},
});

const AttackRegistry::Add admix = register_momentum<Admix>({
    .name = Admix::name,
    .summary = "SI-FGSM on images that some of another class's image was added to",
    .paper = "Wang et al., Admix: enhancing the transferability of adversarial attacks, ICCV 2021, eq. (6) and (7)",
    .rule = "g = mean over x' and i of grad_x CE(f((x_t + eta x') / 2^i), y),  x' clean, of another class\n"
            "m_{t+1} = mu m_t + g / mean|g|\n"
            "x_{t+1} = P(x_t + alpha sign(m_{t+1})),  P: |x_t - x|_inf <= eps, then [0, 1]\n"
            "An image without a partner of another class is scaled unmixed.",
    .facts = {{"norm", "linf"},
              {"access", "transfer"},
              {"targeted", "yes"},
              {"draws", "partners"},
              {"cost", "steps x mixes x scales gradients"}},
});

}  // namespace
}  // namespace mith
