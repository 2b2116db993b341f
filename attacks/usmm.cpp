#include "attacks/usmm.h"

#include "attacks/partners.h"
#include "kernels/launch/table.h"
#include "kernels/map/mixed_copies.h"

namespace mith {
namespace {

const Kernel<float*, const float*, const float*, const int64_t*, MixMask, MixedCopies> masked_mixes{"masked_mixes"},
    masked_mixes_back{"masked_mixes_back"};

}  // namespace

Tensor Usmm::estimate(GradientSource& source, const MomentumStep& step) const {
  Partners const partners = draw_partners(source, step, mixes, PartnerClass::other);
  int64_t const n = step.adv.dim(0);
  MixMask const mask{.low = low, .high = high, .r = r};
  return source.average(int64_t{mixes} * scales, [&](int64_t first, int64_t count) {
    MixedCopies const shape{.images = n,
                            .first = first,
                            .count = count,
                            .draws = mixes,
                            .scales = scales,
                            .per_image = step.adv.numel() / n};
    Tensor const copies = Tensor::empty(step.adv.shape().with(0, n * count), DType::f32, step.adv.device());
    masked_mixes(copies.stream(), copies.data<float>(), step.adv.data<float>(), partners.pool.data<float>(),
                 partners.rows.data<int64_t>(), mask, shape);
    Tensor const gradients = source.gradient(copies, count);
    if (usmm_grad == "chain")
      masked_mixes_back(gradients.stream(), gradients.data<float>(), step.adv.data<float>(),
                        partners.pool.data<float>(), partners.rows.data<int64_t>(), mask, shape);
    return std::vector{gradients};
  });
}

void Usmm::fields(Fields& f) {
  frame.fields(f);
  f.number("low", low, "smallest scale (L), and the only one of one", 0, 1);
  f.number("high", high, "largest scale (H)", 0, 1);
  f.integer("scales", scales, "scales, in even steps (m)", 1, 1000);
  f.integer("mixes", mixes, "partners of each image (q)", 1, 1000);
  f.number("r", r, "reach of the mask: it lies in [1 - r, 1 + r]", 0, 1);
  f.text("usmm_grad", usmm_grad,
         "copy: mean of the copies' gradients, as published; chain: times s M, by the chain rule", {"copy", "chain"});
}

namespace {

const AttackRegistry::Add usmm = register_momentum<Usmm>({
    .name = Usmm::name,
    .summary = "momentum steps on copies scaled evenly and masked by images of other classes",
    .paper = "Wang et al., Boost adversarial transferability by uniform scale and mix mask method, arXiv 2311.12051",
    .rule = "c_ij = clamp(s_i x_t M_j, 0, 1),  s_i = low + (high - low) i / (scales - 1),  M_j = 1 - r + 2 r x'_j\n"
            "g = mean over i, j of grad_c CE(f(c_ij), y)  (usmm_grad=chain: grad_x), x' clean, of another class\n"
            "m_{t+1} = mu m_t + g / mean|g|\n"
            "x_{t+1} = P(x_t + alpha sign(m_{t+1})),  P: |x_t - x|_inf <= eps, then [0, 1]\n"
            "An image without a partner of another class has M = 1.",
    .facts = {{"norm", "linf"},
              {"access", "transfer"},
              {"targeted", "yes"},
              {"draws", "partners"},
              {"cost", "steps x mixes x scales gradients"}},
});

}  // namespace
}  // namespace mith
