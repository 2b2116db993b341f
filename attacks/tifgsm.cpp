#include "attacks/tifgsm.h"

#include <algorithm>
#include <cmath>

#include "kernels/launch/table.h"

namespace mith {
namespace {

using Smooth = Kernel<float*, const float*, const float*, int64_t, int64_t, int64_t, int64_t, int64_t>;
const Smooth smooth_rows{"smooth_rows"}, smooth_columns{"smooth_columns"};

}  // namespace

int smoothing_size(int64_t side) {
  return std::max(3, 2 * static_cast<int>(std::lround((15.0 * double(side) / 299 - 1) / 2)) + 1);
}

std::vector<float> smoothing_weights(const std::string& kind, int size) {
  require(size >= 1 && size % 2 == 1, "kernel_size=", size, ": a smoothing kernel has an odd number of weights");
  std::vector<double> w;
  double sum = 0;
  for (int i = 0; i < size; ++i) {
    double const u = i - (size - 1) / 2.0, deviations = size > 1 ? 6 * u / (size - 1) : 0;
    w.push_back(kind == "uniform"  ? 1
                : kind == "linear" ? 1 - 2 * std::abs(u) / (size + 1)
                                   : std::exp(-deviations * deviations / 2));
    sum += w.back();
  }
  std::vector<float> normalised;
  normalised.reserve(w.size());
  for (double v : w) normalised.push_back(static_cast<float>(v / sum));
  return normalised;
}

Tensor smooth(const Tensor& images, const std::vector<float>& weights) {
  int64_t const size = static_cast<int64_t>(weights.size());
  Tensor const w = Tensor::from(weights, {size}, images.device());
  Tensor along = Tensor::empty_like(images), both = Tensor::empty_like(images);
  auto const pass = [&](const Smooth& kernel, Tensor& to, const Tensor& from) {
    kernel(to.stream(), to.data<float>(), from.data<float>(), w.data<float>(), size, images.dim(0), images.dim(1),
           images.dim(2), images.dim(3));
  };
  pass(smooth_rows, along, images);
  pass(smooth_columns, both, along);
  return both;
}

Tensor Tifgsm::estimate(GradientSource& source, const MomentumStep& step) const {
  Tensor const gradient =
      diversity.probability > 0 ? diversity.direction(source, step, step.adv) : source.direction(step.adv);
  int const size = kernel_size > 0 ? kernel_size : smoothing_size(std::min(step.adv.dim(1), step.adv.dim(2)));
  return smooth(gradient, smoothing_weights(kernel, size));
}

void Tifgsm::fields(Fields& f) {
  frame.fields(f);
  f.text("kernel", kernel, "shape of the smoothing kernel", {"gaussian", "uniform", "linear"});
  f.integer("kernel_size", kernel_size,
            "weights a side, an odd number; 0: the odd number nearest to 15/299 of the image, at least 3", 0, 999);
  diversity.fields(f);
}

void Tifgsm::validate() const {
  diversity.resolved_rate();
  if (kernel_size > 0) smoothing_weights(kernel, kernel_size);
}

namespace {

const AttackRegistry::Add ti = register_momentum<Tifgsm>({
    .name = Tifgsm::name,
    .summary = "MI-FGSM with smoothed gradients, as if attacked at many small shifts; with di_prob > 0 DI-TI-MI",
    .paper = "Dong et al., Evading defenses to transferable adversarial examples by translation-invariant attacks, "
             "CVPR 2019, eq. (8)",
    .rule = "g = W * grad_x CE(f(x_t), y),  W a K x K kernel, each channel for itself\n"
            "m_{t+1} = mu m_t + g / mean|g|\n"
            "x_{t+1} = P(x_t + alpha sign(m_{t+1})),  P: |x_t - x|_inf <= eps, then [0, 1]",
    .facts = {{"norm", "linf"},
              {"access", "transfer"},
              {"targeted", "yes"},
              {"draws", "none; as difgsm with di_prob > 0"},
              {"cost", "steps gradients"}},
});

}  // namespace
}  // namespace mith
