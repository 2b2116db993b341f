#include "attacks/difgsm.h"

#include <algorithm>
#include <cmath>

#include "kernels/launch/table.h"

namespace mith {
namespace {

using ResizePad = Kernel<float*, const float*, const int32_t*, int64_t, int64_t, int64_t, int64_t>;
const ResizePad forward{"resize_pad_forward"}, backward{"resize_pad_backward"};

Tensor launch(const ResizePad& kernel, const Tensor& from, const Tensor& geometry) {
  check(geometry.shape() == Shape{from.dim(0), 6}, kernel.name(), ": geometry ", geometry.shape(), " for ",
        from.shape());
  Tensor to = Tensor::empty_like(from);
  kernel(to.stream(), to.data<float>(), from.data<float>(), geometry.data<int32_t>(), from.dim(0), from.dim(1),
         from.dim(2), from.dim(3));
  return to;
}

/// Uniform in {first, ..., end - 1}; first if there are none.
int32_t pick(float u, int32_t first, int32_t end) {
  return first + std::clamp(static_cast<int32_t>(u * static_cast<float>(end - first)), 0, std::max(end - first - 1, 0));
}

/// One axis: how long it is resized to, and padded to.
struct Length {
  int32_t resized, padded;
};
Length draw_length(int64_t size, double rate, bool enlarge, float u) {
  int32_t const s = static_cast<int32_t>(size);
  // A rate of 0.9 is not exact in float; without the allowance 9 of 10 pixels would become 8.
  int32_t const scaled = std::max(1, static_cast<int32_t>(std::floor(rate * double(s) + 1e-4)));
  return enlarge ? Length{pick(u, s, scaled), scaled} : Length{pick(u, scaled, s), s};
}

}  // namespace

Tensor resize_pad(const Tensor& images, const Tensor& geometry) { return launch(forward, images, geometry); }
Tensor resize_pad_adjoint(const Tensor& gradient, const Tensor& geometry) {
  return launch(backward, gradient, geometry);
}

double InputDiversity::resolved_rate() const {
  bool const enlarge = mode == "enlarge";
  if (resize_rate == 0) return enlarge ? 1.1 : 0.9;
  require(enlarge ? resize_rate >= 1 : resize_rate <= 1, "resize_rate=", resize_rate, " with di_mode=", mode,
          ": it must be ", enlarge ? "at least 1" : "at most 1");
  return double(resize_rate);
}

Tensor InputDiversity::geometry(const Tensor& images, const std::vector<int64_t>& ids, const DrawKey& key) const {
  bool const enlarge = mode == "enlarge";
  double const rate = resolved_rate();
  int64_t const h = images.dim(1), w = images.dim(2);
  std::vector<int32_t> all;
  for (int64_t id : ids) {
    auto const u = [&](uint64_t draw) { return uniform(key, static_cast<uint64_t>(id), draw); };
    Length rows{static_cast<int32_t>(h), static_cast<int32_t>(h)};
    Length columns{static_cast<int32_t>(w), static_cast<int32_t>(w)};
    if (u(0) < probability) {
      rows = draw_length(h, rate, enlarge, u(1));
      columns = draw_length(w, rate, enlarge, u(1));
    }
    int32_t const above = pick(u(2), 0, rows.padded - rows.resized);
    int32_t const left = pick(u(3), 0, columns.padded - columns.resized);
    for (int32_t v : {rows.resized, columns.resized, above, left, rows.padded, columns.padded}) all.push_back(v);
  }
  return Tensor::from(all, {images.dim(0), 6}, images.device());
}

Tensor InputDiversity::direction(GradientSource& source, const MomentumStep& step, const Tensor& images) const {
  Tensor const how = geometry(images, source.ids(), step.key);
  return resize_pad_adjoint(source.direction(resize_pad(images, how)), how);
}

void InputDiversity::fields(Fields& f) {
  f.number("di_prob", probability, "chance of an image to be resized and padded, at every step", 0, 1);
  f.number("resize_rate", resize_rate, "bound of the size, as a share of the image's; 0: 0.9 or 1.1", 0, 4);
  f.text("di_mode", mode, "shrink and pad to the image's size, or enlarge, pad and resize back", {"shrink", "enlarge"});
}

namespace {

const AttackRegistry::Add di = register_momentum<Difgsm>({
    .name = Difgsm::name,
    .summary = "MI-FGSM on diverse inputs: the network sees the image resized and padded at random",
    .paper = "Xie et al., Improving transferability of adversarial examples with input diversity, CVPR 2019, eq. (6)",
    .rule = "T(x): with probability p resized to r x r, r random, and padded with zeros; otherwise x\n"
            "g = grad_x CE(f(T(x_t)), y)\n"
            "m_{t+1} = mu m_t + g / mean|g|\n"
            "x_{t+1} = P(x_t + alpha sign(m_{t+1})),  P: |x_t - x|_inf <= eps, then [0, 1]",
    .facts = {{"norm", "linf"},
              {"access", "transfer"},
              {"targeted", "yes"},
              {"draws", "coin, size, offsets"},
              {"cost", "steps gradients"}},
});

}  // namespace
}  // namespace mith
