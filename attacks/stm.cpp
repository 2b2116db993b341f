#include "attacks/stm.h"

#include <algorithm>

#include "attacks/partners.h"
#include "kernels/launch/table.h"
#include "kernels/map/random_style.h"

namespace mith {
namespace {

const Kernel<float*, const int64_t*, DrawKey, StyledCopies> random_filters{"random_filters"};
const Kernel<float*, const float*, const float*, StyledCopies> random_convolution{"random_convolution"};
const Kernel<float*, float*, const float*, int64_t, int64_t, int64_t> channel_moments{"channel_moments"};
const Kernel<float*, const float*, const float*, const float*, const float*, const float*, const float*, const int64_t*,
             const int64_t*, DrawKey, float, StyledCopies>
    style_maps{"style_maps"};
const Kernel<float*, const float*, const float*, const float*, const int64_t*, DrawKey, StyleMix, StyledCopies>
    styled_copies{"styled_copies"};

/// Of each channel of each image, f32 [n,c].
struct Moments {
  Tensor mean, deviation;
};

Moments moments_of(const Tensor& x) {
  Shape const shape{x.dim(0), x.dim(3)};
  Moments m{Tensor::empty(shape, DType::f32, x.device()), Tensor::empty(shape, DType::f32, x.device())};
  channel_moments(x.stream(), m.mean.data<float>(), m.deviation.data<float>(), x.data<float>(), x.dim(0),
                  x.dim(1) * x.dim(2), x.dim(3));
  return m;
}

}  // namespace

Tensor Stm::estimate(GradientSource& source, const MomentumStep& step) const {
  Tensor const& x = step.adv;
  const int64_t* const ids = step.clean.ids.data<int64_t>();
  int64_t const all_convolved = style == "randconv" ? copies : style == "mixed" ? copies / 2 : 0;
  Partners const partners = draw_partners(source, step, copies, PartnerClass::any);
  Moments const own = moments_of(x), others = moments_of(partners.pool);
  return source.average(copies, [&](int64_t first, int64_t count) {
    StyledCopies const shape{.images = x.dim(0),
                             .first = first,
                             .count = count,
                             .copies = copies,
                             .convolved = std::clamp(all_convolved - first, int64_t{0}, count),
                             .h = x.dim(1),
                             .w = x.dim(2),
                             .c = x.dim(3)};
    int64_t const convolutions = shape.images * shape.convolved;
    Tensor const filters = Tensor::empty({convolutions, shape.filter()}, DType::f32, x.device());
    Tensor const convolved = Tensor::empty(x.shape().with(0, convolutions), DType::f32, x.device());
    random_filters(x.stream(), filters.data<float>(), ids, step.key.with(Purpose::initialise), shape);
    random_convolution(x.stream(), convolved.data<float>(), x.data<float>(), filters.data<float>(), shape);
    Moments const of_convolved = moments_of(convolved);
    Tensor const maps = Tensor::empty({shape.rows(), 2, shape.c}, DType::f32, x.device());
    style_maps(x.stream(), maps.data<float>(), own.mean.data<float>(), own.deviation.data<float>(),
               of_convolved.mean.data<float>(), of_convolved.deviation.data<float>(), others.mean.data<float>(),
               others.deviation.data<float>(), partners.rows.data<int64_t>(), ids, step.key.with(Purpose::augment),
               jitter, shape);
    Tensor const styled = Tensor::empty(x.shape().with(0, shape.rows()), DType::f32, x.device());
    styled_copies(x.stream(), styled.data<float>(), x.data<float>(), convolved.data<float>(), maps.data<float>(), ids,
                  step.key, StyleMix{.gamma = gamma, .reach = beta * step.eps}, shape);
    // With respect to the copy: the factor gamma changes no direction.
    return std::vector{source.gradient(styled, count)};
  });
}

void Stm::fields(Fields& f) {
  frame.fields(f);
  f.integer("copies", copies, "styled copies of each image", 1, 10000);
  f.number("gamma", gamma, "share of the image itself in a copy", 0, 1);
  f.number("beta", beta, "reach of the uniform noise, in radii", 0, 100);
  f.text("style", style, "how copies get their style; mixed: half of them by each",
         {"mixed", "randconv", "adain_pixel"});
  f.number("jitter", jitter, "adain_pixel: relative change of the drawn means and deviations", 0, 1);
}

namespace {

const AttackRegistry::Add stm = register_momentum<Stm>({
    .name = Stm::name,
    .summary = "STM-R: momentum steps on copies in random styles, mixed with the image, plus noise",
    .paper = "after Ge et al., Improving the transferability of adversarial examples with arbitrary style transfer, "
             "ACM MM 2023, algorithm 1; styles after Xu et al., ICLR 2021 (random convolutions) and Huang & Belongie, "
             "ICCV 2017, eq. (8)",
    .rule = "x_s = gamma x_t + (1 - gamma) style(x_t) + U(-beta eps, beta eps),  copies times\n"
            "  randconv: a 1x1 to 7x7 convolution of He-normal weights, then the image's channel means and deviations\n"
            "  adain_pixel: the image with a random clean image's channel means and deviations, jittered\n"
            "g = mean over copies of grad CE(f(x_s), y) at x_s\n"
            "m_{t+1} = mu m_t + g / mean|g|\n"
            "x_{t+1} = P(x_t + alpha sign(m_{t+1})),  P: |x_t - x|_inf <= eps, then [0, 1]",
    .facts = {{"norm", "linf"},
              {"access", "transfer"},
              {"targeted", "yes"},
              {"draws", "styles, noise"},
              {"cost", "steps x copies gradients"}},
});

}  // namespace
}  // namespace mith
