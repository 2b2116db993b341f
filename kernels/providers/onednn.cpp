// oneDNN behind the provider interface: the fast libraries' path on the cpu, in f32 and bf16, NHWC throughout.
//
// Primitives are built once a problem and kept. Activations, biases and residuals are used where they lie; weights
// change with every training step, so they are reordered into the primitive's own layout on every call, unless they are
// FixedWeights. Builds against oneDNN 2 and 3, whose difference (operation descriptors) is confined to
// make_description().
#ifdef MITH_HAVE_ONEDNN
#include <omp.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kernels/launch/error.h"
#include "kernels/launch/table.h"
#include "kernels/providers/fixed_weights.h"
#include "kernels/providers/winograd.h"

namespace mith {
namespace {

using dnnl::memory;
using Dims = memory::dims;
using Tag = memory::format_tag;

const dnnl::engine& cpu_engine() {
  static const dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  return engine;
}

/// oneDNN takes its thread count from OpenMP; this lends it ours.
class ThreadCount {
 public:
  ThreadCount() : previous_(omp_get_max_threads()) { omp_set_num_threads(threads()); }
  ~ThreadCount() { omp_set_num_threads(previous_); }
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;

 private:
  int previous_;
};

/// oneDNN would rather batch small products (brgconv) than convolve directly, which takes two to three times as long
/// where the lines that it writes are short: 14.8 against 4.9 ms for 512 channels at 2x2, 7.5 against 2.2 for 256 to
/// 512 at 4x4 with stride 2.
template <class Description>
Description for_lines_of(int64_t width, const Description& first) {
  constexpr int64_t short_line = 4;
  auto const batches = [](const Description& d) { return std::strstr(d.impl_info_str(), "brg") != nullptr; };
  Description d = first;
  while (width <= short_line && batches(d))
    if (!d.next_impl()) return first;
  return std::strstr(d.impl_info_str(), "ref") ? first : d;
}
constexpr int64_t long_line = 1 << 30;

/// A primitive's description from its arguments, for lines of `width`; a backward one takes its forward twin as a hint.
/// oneDNN 2 goes through an operation descriptor, which must live while implementations are tried.
template <class Primitive, class... Args>
auto make_description(int64_t width, const dnnl::primitive_attr& attributes, const Args&... args) {
#if DNNL_VERSION_MAJOR >= 3
  return for_lines_of(width, typename Primitive::primitive_desc(cpu_engine(), args..., attributes));
#else
  typename Primitive::desc const operation(args...);
  return for_lines_of(width, typename Primitive::primitive_desc(operation, attributes, cpu_engine()));
#endif
}
template <class Primitive, class Hint, class... Args>
auto make_backward_description(int64_t width, const dnnl::primitive_attr& attributes, const Hint& hint,
                               const Args&... args) {
#if DNNL_VERSION_MAJOR >= 3
  return for_lines_of(width, typename Primitive::primitive_desc(cpu_engine(), args..., hint, attributes));
#else
  typename Primitive::desc const operation(args...);
  return for_lines_of(width, typename Primitive::primitive_desc(operation, attributes, cpu_engine(), hint));
#endif
}

dnnl::primitive_attr attributes_of(const Epilogue& e, const memory::desc& result) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  dnnl::post_ops after;
  if (e.residual) after.append_binary(dnnl::algorithm::binary_add, result);
  if (e.accumulate) after.append_sum(1);
  attributes.set_post_ops(after);
  return attributes;
}

memory::data_type library_type(DType t) { return t == DType::bf16 ? memory::data_type::bf16 : memory::data_type::f32; }
template <class Layout>  // a tag or strides
memory::desc described(DType type, const Dims& dims, const Layout& layout) {
  return {dims, library_type(type), layout};
}
bool has_type(DType t) { return t == DType::f32 || t == DType::bf16; }

/// A primitive ready to run. Of {source, weights, result} the roles are the primitive's: `arguments` names them.
struct Plan {
  dnnl::primitive primitive;
  dnnl::reorder reorder;  ///< between weights and packed, towards packed unless the primitive writes the weights
  bool writes_weights = false;
  int source_argument = DNNL_ARG_SRC, weights_argument = DNNL_ARG_WEIGHTS, result_argument = DNNL_ARG_DST;
  memory::desc source, weights, result, bias;
  memory::desc packed;  ///< the weights as the primitive wants them
  int layout = 0;       ///< the number of this way of packing: plans for other batch sizes share it
  memory::desc scratchpad;
  memory::desc own_source, own_result;  ///< if it converts to and from the library's own layout (convert), else empty
  dnnl::reorder enter, copy, leave;     ///< a residual is copied to the result, and leaving adds to it
  bool converts() const { return own_source.get_size() != 0; }
  bool reorders() const { return packed != weights; }
  static size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }
  size_t packed_bytes() const { return reorders() ? aligned(packed.get_size()) : 0; }
  /// Where the library's scratchpad begins in the caller's scratch: behind the weights that are packed for this call.
  size_t packing(bool fixed_weights) const { return fixed_weights && !writes_weights ? 0 : packed_bytes(); }
  size_t own_source_at(bool fixed_weights) const { return packing(fixed_weights) + aligned(scratchpad.get_size()); }
  size_t own_result_at(bool fixed_weights) const {
    return own_source_at(fixed_weights) + aligned(own_source.get_size());
  }
  size_t workspace(bool fixed_weights) const { return own_result_at(fixed_weights) + own_result.get_size(); }
};

dnnl::reorder way_between(const memory::desc& from, const memory::desc& to, const dnnl::primitive_attr& how = {}) {
  return dnnl::reorder(dnnl::reorder::primitive_desc(cpu_engine(), from, cpu_engine(), to, how));
}

/// Completes a plan whose memory descriptions are known; nullptr if the library has only reference code for it.
template <class Primitive, class Description>
std::unique_ptr<Plan> finish(std::unique_ptr<Plan> plan, const Description& description) {
  if (std::strstr(description.impl_info_str(), "ref")) return nullptr;
  plan->scratchpad = description.scratchpad_desc();
  plan->primitive = Primitive(description);
  if (plan->reorders()) {
    auto const& from = plan->writes_weights ? plan->packed : plan->weights;
    auto const& to = plan->writes_weights ? plan->weights : plan->packed;
    plan->reorder = way_between(from, to);
  }
  return plan;
}

/// Runs a problem's plan on user memory.
template <class Problem>
void execute(const Plan& plan, const Problem& problem, const void* source, void* weights, void* result, void* scratch) {
  const Epilogue& e = problem.epilogue;
  ThreadCount const lend;
  static thread_local dnnl::stream stream{cpu_engine()};
  auto const at = [](const memory::desc& desc, const void* data) {
    return memory(desc, cpu_engine(), const_cast<void*>(data));
  };
  auto* const bytes = static_cast<char*>(scratch);
  bool const fixed = problem.fixed_weights, converts = plan.converts();
  bool const packs = plan.reorders() && !plan.writes_weights;
  auto const kept = packs ? FixedWeights::find(weights, plan.layout, plan.packed.get_size()) : FixedWeights::Packed{};
  check(kept.data || !packs || !fixed, "onednn: fixed weights that no FixedWeights in use knows");
  memory given = at(plan.weights, weights);
  memory packed = plan.reorders() ? at(plan.packed, kept.data ? kept.data : bytes) : given;
  memory read = at(plan.source, source), written = at(plan.result, result);
  memory own_source = converts ? at(plan.own_source, bytes + plan.own_source_at(fixed)) : read;
  memory own_result = converts ? at(plan.own_result, bytes + plan.own_result_at(fixed)) : written;
  std::unordered_map<int, memory> arguments{
      {plan.source_argument, own_source},
      {plan.weights_argument, packed},
      {plan.result_argument, own_result},
      {DNNL_ARG_SCRATCHPAD, at(plan.scratchpad, bytes + plan.packing(fixed))},
  };
  if (e.bias) arguments.emplace(DNNL_ARG_BIAS, at(plan.bias, e.bias));
  memory residual = e.residual ? at(plan.result, e.residual) : memory();
  if (e.residual && !converts) arguments.emplace(DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, residual);
  if (packs && (!kept.data || kept.fresh)) plan.reorder.execute(stream, given, packed);
  if (converts) plan.enter.execute(stream, read, own_source);
  plan.primitive.execute(stream, arguments);
  if (converts && e.residual && e.residual != result) plan.copy.execute(stream, residual, written);
  if (converts) plan.leave.execute(stream, own_result, written);
  if (plan.reorders() && plan.writes_weights) plan.reorder.execute(stream, packed, given);
  stream.wait();
}

/// Everything that a primitive is built for: type, sizes, what the epilogue has, and the thread count.
using Key = std::array<int64_t, 24>;
int64_t pieces_of(const Epilogue& e) { return (e.bias ? 1 : 0) | (e.residual ? 2 : 0) | (e.accumulate ? 4 : 0); }
Key key_of(const MatmulProblem& p) {
  return {
      static_cast<int64_t>(p.dtype), p.m,      p.n, p.k, p.batch, p.transpose_a, p.transpose_b, pieces_of(p.epilogue),
      p.epilogue.row_pitch,          threads()};
}
Key key_of(const Conv2dProblem& p) {
  Conv2dShape const& s = p.shape;
  return {static_cast<int64_t>(p.dtype),
          static_cast<int64_t>(p.pass),
          s.n,
          s.h,
          s.w,
          s.c,
          s.o,
          s.kh,
          s.kw,
          s.stride_h,
          s.stride_w,
          s.pad_h,
          s.pad_w,
          s.dilation_h,
          s.dilation_w,
          s.groups,
          pieces_of(p.epilogue),
          p.epilogue.row_pitch,
          threads()};
}

/// One number for equal ways of packing, another for every other: a square matrix and its transpose end alike.
int number_of(const Plan& plan) {
  static std::mutex mutex;
  static std::vector<std::pair<memory::desc, memory::desc>> known;
  std::lock_guard const lock(mutex);
  auto const found = std::find(known.begin(), known.end(), std::pair(plan.weights, plan.packed));
  auto const number = static_cast<int>(found - known.begin());
  if (found == known.end()) known.emplace_back(plan.weights, plan.packed);
  return number;
}

/// Plans by problem; a problem that oneDNN cannot do, or only with reference code, is remembered as nullptr.
class PlanCache {
 public:
  template <class Build>
  const Plan* find(const Key& key, Build build) {
    std::lock_guard const lock(mutex_);
    auto known = plans_.find(key);
    if (known == plans_.end()) {
      std::unique_ptr<Plan> plan;
      ThreadCount const lend;
      try {
        plan = build();
        if (plan) plan->layout = number_of(*plan);
      } catch (const dnnl::error&) {  // oneDNN has no primitive for this problem: the slot stays empty
      }
      known = plans_.emplace(key, std::move(plan)).first;
    }
    return known->second.get();
  }

 private:
  std::mutex mutex_;
  std::map<Key, std::unique_ptr<Plan>> plans_;
};

/// oneDNN's own ReLU turns NaN into zero, which would hide a network that has diverged; this pass does not.
const Kernel<float*, int64_t, int64_t, int64_t> relu_in_place{"relu_in_place"};

void activate(const Stream& stream, const Epilogue& e, void* y, int64_t rows, int64_t columns) {
  if (e.activation == Activation::none) return;
  int64_t const pitch = e.row_pitch ? e.row_pitch : columns;
  relu_in_place(stream, static_cast<float*>(y), rows, columns, pitch);
}

bool epilogue_fits(DType type, const Epilogue& e) {
  if (type == DType::bf16 && e.activation != Activation::none) return false;
  bool const sum_is_alone = !e.accumulate || (!e.residual && e.activation == Activation::none);
  return sum_is_alone && !e.sign_bits && !e.mask_bits && !e.column_sum && !e.column_sum_squares;
}

/// NHWC memory, each pixel `pitch` elements after the one before.
memory::desc nhwc(DType type, int64_t n, int64_t h, int64_t w, int64_t c, int64_t pitch) {
  return described(type, {n, c, h, w}, Dims{h * w * pitch, 1, w * pitch, pitch});
}

/// Without AVX-512 oneDNN convolves faster in its own layout than in NHWC, by more than the ways there and back cost:
/// on AVX2, with batch 16, 22 ms against 29 for 128 channels at 28x28, 27 against 41 for 128 to 32 at 56x56, 383
/// against 719 for 128 at 112x112. With fewer channels there is too little arithmetic for each element that moves.
bool is_faster_converted(const Conv2dProblem& p) {
  static bool const narrow = [] {
    dnnl::cpu_isa const isa = dnnl::get_effective_cpu_isa();
    return isa == dnnl::cpu_isa::avx2 || isa == dnnl::cpu_isa::avx2_vnni;
  }();
  Conv2dShape const& s = p.shape;
  int64_t const least = 24, block = 8;
  return narrow && p.pass != ConvPass::weight_gradient && s.groups == 1 && s.kh * s.kw > 1 && s.c % block == 0 &&
         s.o % block == 0 && s.c * s.o >= least * (s.c + s.o);
}

/// Lets a plan whose other descriptions are known compute in the library's own layout.
void convert(Plan& plan, const memory::desc& own_source, const memory::desc& own_result, const Epilogue& e) {
  dnnl::primitive_attr adding;
  dnnl::post_ops sum;
  if (e.accumulate || e.residual) sum.append_sum(1);
  adding.set_post_ops(sum);
  plan.own_source = own_source, plan.own_result = own_result;
  plan.enter = way_between(plan.source, own_source);
  plan.leave = way_between(own_result, plan.result, adding);
  if (e.residual) plan.copy = way_between(plan.result, plan.result);
}

std::unique_ptr<Plan> plan_conv2d(const Conv2dProblem& p) {
  Conv2dShape const& s = p.shape;
  int64_t const pitch = p.epilogue.row_pitch;
  bool const forward = p.pass == ConvPass::forward, to_input = p.pass == ConvPass::input_gradient;
  auto const x = nhwc(p.dtype, s.n, s.h, s.w, s.c, to_input && pitch ? pitch : s.c);
  auto const y = nhwc(p.dtype, s.n, s.oh(), s.ow(), s.o, forward && pitch ? pitch : s.o);
  int64_t const og = s.o / s.groups, cg = s.c / s.groups;
  Dims const weight_dims = s.groups > 1 ? Dims{s.groups, og, cg, s.kh, s.kw} : Dims{s.o, s.c, s.kh, s.kw};
  auto const any_weights = described(p.dtype, weight_dims, Tag::any);
  Dims const strides{s.stride_h, s.stride_w}, dilations{s.dilation_h - 1, s.dilation_w - 1};
  // Padding below and to the right is what the output's size leaves.
  Dims const before{s.pad_h, s.pad_w};
  Dims const after{(s.oh() - 1) * s.stride_h + s.dilation_h * (s.kh - 1) + 1 - s.h - s.pad_h,
                   (s.ow() - 1) * s.stride_w + s.dilation_w * (s.kw - 1) + 1 - s.w - s.pad_w};

  auto plan = std::make_unique<Plan>();
  plan->weights = described(DType::f32, weight_dims, s.groups > 1 ? Tag::gohwi : Tag::ohwi);
  bool const converts = is_faster_converted(p);
  auto const in = converts ? described(p.dtype, x.dims(), Tag::any) : x;
  auto const out = converts ? described(p.dtype, y.dims(), Tag::any) : y;
  auto const direct = dnnl::algorithm::convolution_direct;
  auto const forward_description = [&](const Epilogue& e, dnnl::prop_kind kind) {
    plan->bias = e.bias ? described(DType::f32, {s.o}, Tag::a) : memory::desc();
    return make_description<dnnl::convolution_forward>(s.ow(), attributes_of(converts ? Epilogue{} : e, y), kind,
                                                       direct, in, any_weights, plan->bias, out, strides, dilations,
                                                       before, after);
  };
  if (forward) {
    auto const d = forward_description(p.epilogue, dnnl::prop_kind::forward_inference);
    plan->source = x, plan->result = y, plan->packed = d.weights_desc();
    if (converts) convert(*plan, d.src_desc(), d.dst_desc(), p.epilogue);
    return finish<dnnl::convolution_forward>(std::move(plan), d);
  }
  auto const hint = forward_description({}, dnnl::prop_kind::forward_training);
  auto const attributes = attributes_of({}, x);
  if (to_input) {
    auto const d = make_backward_description<dnnl::convolution_backward_data>(
        s.w, attributes, hint, direct, in, any_weights, out, strides, dilations, before, after);
    plan->source = y, plan->result = x, plan->packed = d.weights_desc();
    if (converts) convert(*plan, d.diff_dst_desc(), d.diff_src_desc(), p.epilogue);
    plan->source_argument = DNNL_ARG_DIFF_DST, plan->result_argument = DNNL_ARG_DIFF_SRC;
    return finish<dnnl::convolution_backward_data>(std::move(plan), d);
  }
  auto const d = make_backward_description<dnnl::convolution_backward_weights>(
      long_line, attributes, hint, direct, x, any_weights, y, strides, dilations, before, after);
  plan->source = x, plan->result = y, plan->packed = d.diff_weights_desc();
  plan->writes_weights = true, plan->weights_argument = DNNL_ARG_DIFF_WEIGHTS,
  plan->result_argument = DNNL_ARG_DIFF_DST;
  return finish<dnnl::convolution_backward_weights>(std::move(plan), d);
}

class OnednnConv2d final : public Conv2dProvider {
 public:
  std::string_view name() const override { return "onednn"; }
  bool supports(Device device, const Conv2dProblem& p) const override {
    if (device != Device::cpu || !has_type(p.dtype) || !p.prologue.empty() || !epilogue_fits(p.dtype, p.epilogue))
      return false;
    // Without AVX-512 oneDNN 2.6 adds a residual to grouped sums wrongly: a tenth of such shapes on AVX2.
    if (p.epilogue.residual && p.shape.groups > 1) return false;
    // oneDNN has no epilogues in backward.
    bool const plain =
        p.epilogue.only_bias_and_activation() && !p.epilogue.bias && p.epilogue.activation == Activation::none;
    if (p.pass != ConvPass::forward && !plain) return false;
    return plan(p) != nullptr;
  }
  bool recommended(const Conv2dProblem& p) const override {
    // Twice its speed for 64 to 512 channels at 28 to 7 pixels on AVX2; elsewhere not measured.
    if (winograd::takes(p) && isa_level() == 3) return false;
    // With few input channels its input gradient is slow: 28x28x1 <- 32 of batch 64 takes 2.2 ms on one core against
    // 0.76 natively, 28x28x3 <- 32 takes 4.1 against 2.2, a 7x7 stem at 112x112x3 11.6 against 4.7. Everywhere else
    // (forward and weight gradient of one channel included, at 0.48 against 0.61 ms and 0.35 against 0.73) it is ahead.
    // A depthwise one has few channels a group, and many groups: stride 2 from 14x14x96 of batch 64 takes 0.18 ms on
    // two cores against 4.9 natively.
    bool const depthwise = p.shape.groups > 1 && p.shape.groups == p.shape.c;
    if (p.pass == ConvPass::input_gradient) return depthwise || !native::input_gradient_scatters(p.shape);
    // Over sums as short as a first layer's the pass for the ReLU costs more than oneDNN gains: 0.66 against 0.60 ms.
    int64_t const depth = p.shape.weights() / p.shape.o;
    bool const short_relu = p.epilogue.activation != Activation::none && depth <= 32 && p.shape.groups == 1;
    return p.pass != ConvPass::forward || !short_relu;
  }
  size_t workspace(Device, const Conv2dProblem& p) const override { return plan(p)->workspace(p.fixed_weights); }
  void run(const Stream& stream, const Conv2dProblem& p, void* x, void* w, void* y, void* scratch) const override {
    bool const to_input = p.pass == ConvPass::input_gradient;
    execute(*plan(p), p, to_input ? y : x, w, to_input ? x : y, scratch);
    activate(stream, p.epilogue, y, p.rows(), p.columns());
  }

 private:
  const Plan* plan(const Conv2dProblem& p) const {
    return plans_.find(key_of(p), [&] { return plan_conv2d(p); });
  }
  mutable PlanCache plans_;
};

std::unique_ptr<Plan> plan_matmul(const MatmulProblem& p) {
  int64_t const pitch = p.epilogue.row_pitch ? p.epilogue.row_pitch : p.n;
  auto plan = std::make_unique<Plan>();
  auto const matrices = [&](DType type, int64_t rows, int64_t columns, bool transposed, int64_t row_pitch) {
    Dims dims{rows, columns}, strides = transposed ? Dims{1, rows} : Dims{row_pitch, 1};
    if (p.batch != 1) dims.insert(dims.begin(), p.batch), strides.insert(strides.begin(), rows * columns);
    return described(type, dims, strides);
  };
  plan->source = matrices(p.dtype, p.m, p.k, p.transpose_a, p.k);
  plan->weights = matrices(DType::f32, p.k, p.n, p.transpose_b, p.n);
  plan->result = matrices(p.dtype, p.m, p.n, false, pitch);
  plan->bias = p.epilogue.bias ? described(DType::f32, {1, p.n}, Dims{p.n, 1}) : memory::desc();
  // f32 weights are read where they lie; in bf16 they are another form anyway, which may as well be blocked.
  auto const weights = p.dtype == DType::f32 ? plan->weights : described(p.dtype, plan->weights.dims(), Tag::any);
  auto const attributes = attributes_of(p.epilogue, plan->result);
  auto const d = make_description<dnnl::matmul>(long_line, attributes, plan->source, weights, plan->bias, plan->result);
  plan->packed = d.weights_desc();
  return finish<dnnl::matmul>(std::move(plan), d);
}

class OnednnMatmul final : public MatmulProvider {
 public:
  std::string_view name() const override { return "onednn"; }
  bool supports(Device device, const MatmulProblem& p) const override {
    return device == Device::cpu && has_type(p.dtype) && p.prologue.empty() && epilogue_fits(p.dtype, p.epilogue) &&
           plan(p) != nullptr;
  }
  bool batches() const override { return true; }
  size_t workspace(Device, const MatmulProblem& p) const override { return plan(p)->workspace(p.fixed_weights); }
  void run(const Stream& stream, const MatmulProblem& p, void* y, const void* a, const void* b,
           void* scratch) const override {
    execute(*plan(p), p, a, const_cast<void*>(b), y, scratch);
    activate(stream, p.epilogue, y, p.m, p.n);
  }

 private:
  const Plan* plan(const MatmulProblem& p) const {
    return plans_.find(key_of(p), [&] { return plan_matmul(p); });
  }
  mutable PlanCache plans_;
};

const MatmulProviderRegistration matmul_registration{std::make_unique<OnednnMatmul>()};
const Conv2dProviderRegistration conv2d_registration{std::make_unique<OnednnConv2d>()};

}  // namespace
}  // namespace mith
#endif
