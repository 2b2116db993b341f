// Input gradients of convolutions as convolutions of stride 1, which providers compute best. For the three channels of
// a strided stem some libraries have nothing but reference code otherwise.
#include <algorithm>

#include "engine/frozen/graph.h"
#include "kernels/providers/native.h"

namespace mith::frozen {
namespace {

/// One direction. Input s i + a (phase a) meets the taps a + pad - s d of the outputs i + d that are there.
class Axis {
 public:
  Axis(int64_t extent, int64_t outputs, int64_t taps, int64_t stride, int64_t pad, int64_t dilation)
      : extent_(extent), outputs_(outputs), taps_(taps), stride_(stride), pad_(pad), dilation_(dilation) {}

  int64_t first() const { return stride_ == 1 ? pad_ - dilation_ * (taps_ - 1) : -((taps_ - 1 - pad_) / stride_); }
  int64_t last() const { return (stride_ - 1 + pad_) / stride_; }
  bool fits() const { return pad_ <= dilation_ * (taps_ - 1) && (stride_ == 1 || dilation_ == 1); }
  int64_t taps() const { return (last() - first()) / dilation_ + 1; }
  /// Zeros at both ends: as many as the longer one needs.
  int64_t pad() const { return std::max(-first(), blocks() + last() - outputs_); }
  int64_t shift() const { return pad() + first(); }
  /// The tap that `tap` of the turned convolution is in a phase; outside [0, taps) where it is none.
  int64_t original(int64_t phase, int64_t tap) const {
    int64_t const at = phase + pad_ - stride_ * (first() + dilation_ * tap);
    return at / dilation_;
  }
  bool has(int64_t phase, int64_t tap) const {
    int64_t const at = original(phase, tap);
    return at >= 0 && at < taps_;
  }

 private:
  int64_t blocks() const { return (extent_ + stride_ - 1) / stride_; }
  int64_t extent_, outputs_, taps_, stride_, pad_, dilation_;
};

constexpr int64_t few = 8;

bool is_pointwise(const Conv2dShape& s) {
  return s.stride_h == s.stride_w && s.stride_h > 1 && s.kh == 1 && s.kw == 1 && s.groups == 1 && s.c >= few;
}

/// Of stride 1 all but those into few channels, for which providers have a way of their own (vector lanes would be
/// padding). Strided ones only into few, where the pixels of a block fill the lanes; with many, taps that the stride
/// leaves out would double the work. Strided 1x1 filters are plain products: one pixel of a block has a gradient.
/// The native provider scatters the gradient of an image's stem with all lanes in use: 7x7 of stride 2 from 64 channels
/// to 3 at 224 px takes 40 ms so on AVX2 and 61 turned; elsewhere not measured.
bool pays(const Conv2dShape& s, DType dtype, Device device) {
  bool const measured = device == Device::cpu && isa_level() == 3 && dtype == DType::f32;
  if (measured && s.groups == 1 && native::input_gradient_scatters(s)) return false;
  bool const depthwise = s.groups == s.c && s.groups == s.o;
  if (s.stride_h == 1 && s.stride_w == 1) return depthwise || (s.groups == 1 && s.c >= few);
  return is_pointwise(s) || (s.stride_h == s.stride_w && s.groups == 1 && s.c < few && s.kh > 1 && s.kw > 1);
}

}  // namespace

Turned turned(const Conv2dShape& s, const Tensor& weight, DType dtype) {
  Axis const rows(s.h, s.oh(), s.kh, s.stride_h, s.pad_h, s.dilation_h),
      columns(s.w, s.ow(), s.kw, s.stride_w, s.pad_w, s.dilation_w);
  if (!pays(s, dtype, weight.device()) || !rows.fits() || !columns.fits()) return {};
  Turned t{.stride = s.stride_h, .shift_h = rows.shift(), .shift_w = columns.shift(), .pointwise = is_pointwise(s)};
  int64_t const inputs = s.c / s.groups, outputs = s.o / s.groups, phases = t.pointwise ? 1 : t.stride * t.stride;
  t.shape = s;
  t.shape.h = s.oh(), t.shape.w = s.ow(), t.shape.c = s.o, t.shape.o = s.c * phases;
  t.shape.kh = rows.taps(), t.shape.kw = columns.taps(), t.shape.stride_h = t.shape.stride_w = 1;
  t.shape.pad_h = rows.pad(), t.shape.pad_w = columns.pad();

  auto const from = weight.to_host<float>();
  std::vector<float> to(static_cast<size_t>(t.shape.weights()));
  auto at = to.begin();
  for (int64_t g = 0; g < s.groups; ++g)
    for (int64_t phase = 0; phase < phases; ++phase)
      for (int64_t c = 0; c < inputs; ++c)
        for (int64_t i = 0; i < t.shape.kh; ++i)
          for (int64_t j = 0; j < t.shape.kw; ++j)
            for (int64_t o = 0; o < outputs; ++o, ++at) {
              int64_t const a = phase / t.stride, b = phase % t.stride;
              if (!rows.has(a, i) || !columns.has(b, j)) continue;
              int64_t const tap = rows.original(a, i) * s.kw + columns.original(b, j);
              *at = from[static_cast<size_t>(((g * outputs + o) * s.kh * s.kw + tap) * inputs + c)];
            }
  t.weight = Tensor::from(to, {t.shape.o, t.shape.kh, t.shape.kw, outputs}, weight.device());
  return t;
}

void turn(Graph& graph) {
  for (Operator& o : graph.operators) {
    auto* const conv = o.as<Convolution>();
    if (conv) conv->turned = turned(conv->shape, conv->weight, graph.values[static_cast<size_t>(o.output)].dtype);
  }
}

}  // namespace mith::frozen
