// The native provider's convolutions on the cpu: the three passes as matrix products whose left side is gathered.
#include "kernels/host/gemm.h"

namespace mith::MITH_SPACE {

/// The taps of a filter, in scratch memory.
struct Taps {
  Tap* first;
  int64_t count = 0;
  void add(Tap tap) { first[count++] = tap; }
};

/// The input as the forward pass and the weight gradient read it: a row an output pixel, a column (tap, channel).
inline Gather input_windows(const Conv2dProblem& p, const float* x, int64_t group, Taps taps) {
  Conv2dShape const& s = p.shape;
  int64_t const cg = s.c / s.groups;
  for (int64_t kh = 0; kh < s.kh; ++kh)
    for (int64_t kw = 0; kw < s.kw; ++kw)
      taps.add({kh * s.dilation_h - s.pad_h, kw * s.dilation_w - s.pad_w, kh * s.kw + kw});
  Gather g{.source = x,
           .images = s.n,
           .height = s.h,
           .width = s.w,
           .pitch = s.c,
           .grid_h = s.oh(),
           .grid_w = s.ow(),
           .step_h = s.stride_h,
           .step_w = s.stride_w,
           .taps = taps.first,
           .tap_count = taps.count,
           .channel = group * cg,
           .channels = cg,
           .prologue = p.prologue};
  if (s.kh * s.kw == 1 && s.stride_h == 1 && s.stride_w == 1 && !s.pad_h && !s.pad_w) {  // one long line of pixels
    g.grid_w = g.width = g.rows();
    g.images = g.grid_h = g.height = 1;
  }
  return g;
}

/// The pixels of y as they lie, one line.
inline Gather output_pixels(const Conv2dShape& s, const float* y, int64_t group, int64_t pixels, const Prologue& p) {
  Gather g = plain_matrix(y, pixels, s.o / s.groups, s.o, p);
  g.channel = group * g.channels;
  return g;
}

inline void forward_group(const Conv2dProblem& p, int64_t group, const float* x, const float* w, float* y, Taps taps,
                          const HostScratch& scratch) {
  Conv2dShape const& s = p.shape;
  int64_t const cg = s.c / s.groups, og = s.o / s.groups, depth = s.kh * s.kw * cg;
  Gather const a = input_windows(p, x, group, taps);
  Right const b{w + group * og * depth, og, cg, 1, depth};
  multiply(a, b, {a.grid_h * a.grid_w, a.grid_w, 1}, Output{y, p.epilogue, s.o, group * og}, scratch);
}

/// Input pixels of one residue modulo the strides see the same taps, and with those this is a convolution of stride 1
/// over y.
inline void input_gradient_phase(const Conv2dProblem& p, int64_t group, int64_t phase_h, int64_t phase_w, float* x,
                                 const float* w, const float* y, Taps taps, const HostScratch& scratch) {
  Conv2dShape const& s = p.shape;
  if (phase_h >= s.h || phase_w >= s.w) return;
  for (int64_t kh = 0; kh < s.kh; ++kh) {
    for (int64_t kw = 0; kw < s.kw; ++kw) {
      int64_t const dh = phase_h + s.pad_h - kh * s.dilation_h, dw = phase_w + s.pad_w - kw * s.dilation_w;
      if (dh % s.stride_h == 0 && dw % s.stride_w == 0) taps.add({dh / s.stride_h, dw / s.stride_w, kh * s.kw + kw});
    }
  }
  int64_t const cg = s.c / s.groups, og = s.o / s.groups;
  Gather const a{.source = y,
                 .images = s.n,
                 .height = s.oh(),
                 .width = s.ow(),
                 .pitch = s.o,
                 .grid_h = (s.h - phase_h + s.stride_h - 1) / s.stride_h,
                 .grid_w = (s.w - phase_w + s.stride_w - 1) / s.stride_w,
                 .taps = taps.first,
                 .tap_count = taps.count,
                 .channel = group * og,
                 .channels = og,
                 .prologue = p.prologue};
  Right const b{w + group * og * s.kh * s.kw * cg, cg, cg, s.kh * s.kw * cg, 1};
  RowMap const map{s.h * s.w, s.stride_h * s.w, s.stride_w, phase_h * s.w + phase_w};
  multiply(a, b, map, Output{x, p.epilogue, s.c, group * cg}, scratch);
}

/// Adds the products of one block of output pixels to the image's gradient: columns [first, first + count) of
/// (tap, channel).
inline void scatter(const Conv2dShape& s, const Gather& image_rows, int64_t row0, int64_t row1, int64_t first,
                    int64_t count, const float* products, int64_t ld, float* gradient) {
  int64_t const cg = image_rows.channels;
  for (int64_t column = first; column < first + count; ++column) {
    Tap const tap = image_rows.taps[column / cg];
    for_each_line(image_rows, row0, row1, [&](int64_t begin, int64_t end, int64_t, int64_t i, int64_t j) {
      int64_t const h = i * s.stride_h + tap.dh;
      if (h < 0 || h >= s.h) return;
      Inside const inside(j, j + end - begin, s.stride_w, tap.dw, s.w);
      const float* from = products + (begin - row0 + inside.first - j) * ld + column - first;
      float* const line = gradient + h * s.w * cg + column % cg;
      for (int64_t k = inside.first; k < inside.last; ++k, from += ld) line[(k * s.stride_w + tap.dw) * cg] += *from;
    });
  }
}

/// For few input channels: all taps' products of an output pixel at once, added where they belong. An image a task.
inline void input_gradient_scattered(const Conv2dProblem& p, int64_t group, float* x, const float* w, const float* y,
                                     Taps taps, const HostScratch& shared) {
  Conv2dShape const& s = p.shape;
  int64_t const cg = s.c / s.groups, og = s.o / s.groups, depth = s.kh * s.kw * cg, pixels = s.oh() * s.ow();
  Gather windows = input_windows(p, nullptr, group, taps);
  Gather const all = output_pixels(s, y, group, s.n * pixels, p.prologue);
  windows.images = 1, windows.grid_h = s.oh(), windows.grid_w = s.ow();
  Panels const panels(depth);
  pack_right({w + group * og * depth, depth, 0, depth, 1}, all, panels, shared.shared);
  // Where pixels lie densely an image is one long row.
  bool const dense = s.groups == 1 && !p.epilogue.bias && !p.epilogue.row_pitch;
  int64_t const rows = dense ? 1 : s.h * s.w, columns = dense ? s.h * s.w * cg : cg;
  Output const out{x, p.epilogue, dense ? columns : s.c, group * cg};
  float* const images = shared.workers + threads() * native::worker_floats;  // one gradient for every worker
  on_workers(s.n, [&](int index, int count) {
    WorkerScratch const scratch(shared, index);
    float* const gradient = images + index * s.h * s.w * cg;
    for (int64_t image : part(s.n, index, count, 1)) {
      std::memset(gradient, 0, static_cast<size_t>(s.h * s.w * cg) * sizeof(float));
      for (int64_t row0 = 0; row0 < pixels; row0 += native::block_rows) {
        int64_t const row1 = row0 + native::block_rows < pixels ? row0 + native::block_rows : pixels;
        for (int64_t panel = 0; panel < panels.count; ++panel) {
          int const vectors = panels.width_in_vectors(panel);
          int64_t const first = panels.first_column(panel), width = vectors * lanes;
          multiply_block(all, image * pixels + row0, image * pixels + row1, shared.shared + og * first, vectors,
                         scratch, [](int64_t, int64_t) {});
          scatter(s, windows, row0, row1, first, depth - first < width ? depth - first : width, scratch.c, width,
                  gradient);
        }
      }
      for (int64_t i = 0; i < rows; ++i) finish_row(out, image * rows + i, 0, columns, gradient + i * columns);
    }
  });
}

inline void weight_gradient_group(const Conv2dProblem& p, int64_t group, const float* x, float* w, const float* y,
                                  Taps taps, const HostScratch& scratch) {
  Conv2dShape const& s = p.shape;
  int64_t const og = s.o / s.groups, depth = s.kh * s.kw * (s.c / s.groups);
  Gather const windows = input_windows(p, x, group, taps);
  Gather const pixels = output_pixels(s, y, group, windows.rows(), {});
  Output const out{w + group * og * depth, p.epilogue, depth};
  bool const flip = native::weight_gradient_transposes(s);
  multiply_transposed(flip ? windows : pixels, flip ? pixels : windows, flip, out, scratch);
}

/// The taps lie behind what native::cpu_workspace counts for the pass.
inline void run_group(const Conv2dProblem& p, int64_t group, float* x, float* w, float* y, Taps taps,
                      const HostScratch& scratch) {
  Conv2dShape const& s = p.shape;
  switch (p.pass) {
    case ConvPass::forward:
      return forward_group(p, group, x, w, y, taps, scratch);
    case ConvPass::weight_gradient:
      return weight_gradient_group(p, group, x, w, y, taps, scratch);
    case ConvPass::input_gradient:
      if (native::input_gradient_scatters(s)) return input_gradient_scattered(p, group, x, w, y, taps, scratch);
      for (int64_t h = 0; h < s.stride_h; ++h)
        for (int64_t v = 0; v < s.stride_w; ++v) input_gradient_phase(p, group, h, v, x, w, y, taps, scratch);
  }
}

inline void launch_conv2d(const Stream& stream, const char* name, const Conv2dProblem& p, void* x, void* w, void* y,
                          void* scratch) {
  LaunchScope const scope(stream, {name, p.rows() * p.columns()});
  Conv2dShape const& s = p.shape;
  static_assert(sizeof(Tap) % sizeof(float) == 0 && alignof(Tap) <= 8);
  Taps const taps{static_cast<Tap*>(scratch)};
  float* const shared = static_cast<float*>(scratch) + native::tap_floats(s);
  HostScratch const host{shared, shared + native::shared_floats(p)};
  clear_sign_bits({nullptr, p.epilogue, p.columns()}, p.rows());
  for (int64_t group = 0; group < s.groups; ++group)
    run_group(p, group, static_cast<float*>(x), static_cast<float*>(w), static_cast<float*>(y), taps, host);
}

inline void launch_conv2d_forward(const Stream& stream, Conv2dProblem p, void* x, void* w, void* y, void* scratch) {
  launch_conv2d(stream, "conv2d_forward_implicit_gemm_f32", p, x, w, y, scratch);
}
inline void launch_conv2d_dgrad(const Stream& stream, Conv2dProblem p, void* x, void* w, void* y, void* scratch) {
  launch_conv2d(stream, "conv2d_dgrad_implicit_gemm_f32", p, x, w, y, scratch);
}
inline void launch_conv2d_wgrad(const Stream& stream, Conv2dProblem p, void* x, void* w, void* y, void* scratch) {
  launch_conv2d(stream, "conv2d_wgrad_implicit_gemm_f32", p, x, w, y, scratch);
}

KERNEL(conv2d_forward_implicit_gemm_f32, launch_conv2d_forward);
KERNEL(conv2d_dgrad_implicit_gemm_f32, launch_conv2d_dgrad);
KERNEL(conv2d_wgrad_implicit_gemm_f32, launch_conv2d_wgrad);

}  // namespace mith::MITH_SPACE
