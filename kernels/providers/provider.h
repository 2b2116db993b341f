// The heavy operators behind one small interface: matrix product and convolution, by whoever computes them best.
//
// A provider implements one or both of MatmulProvider and Conv2dProvider and registers itself:
//   static const ConvProviderRegistration registration{std::make_unique<MyConv>()};
// The engine calls run_matmul() and run_conv2d(); they pick a provider by the static policy below, or by what
// --provider op=name forces. Adding a provider adds a file in this folder and edits none.
//
// Layouts: activations NHWC, convolution weights OHWI (O, KH, KW, C/groups), matrices row-major. Types: all operands
// are of the problem's, but in bf16 weights (of a matrix product, b) and biases stay f32; sums are f32.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/launch/dtype.h"
#include "kernels/launch/runtime.h"

namespace mith {

enum class Activation : uint8_t { none, relu };

/// Applied to an input as it is read: activation(x * scale[c] + shift[c]). Null pointers mean identity.
struct Prologue {
  const void* scale = nullptr;
  const void* shift = nullptr;
  Activation activation = Activation::none;
  bool empty() const { return !scale && !shift && activation == Activation::none; }
};

/// Applied to a result r before it is stored in y, in this order:
///   r += bias[column]; r += residual; sign_bits <- (r > 0); r = activation(r); r *= mask bit;
///   y = accumulate ? y + r : r
/// and column_sum, column_sum_squares (f32) receive the statistics of what was stored. All pointers may be null.
/// residual has y's layout and row pitch. Bit i of sign_bits and mask_bits belongs to element i of the dense result.
struct Epilogue {
  const void* bias = nullptr;
  const void* residual = nullptr;
  Activation activation = Activation::none;
  uint8_t* sign_bits = nullptr;
  const uint8_t* mask_bits = nullptr;
  float* column_sum = nullptr;
  float* column_sum_squares = nullptr;
  bool accumulate = false;
  int64_t row_pitch = 0;  ///< elements between rows (pixels) of y when y is a channel slice; 0: dense

  bool only_bias_and_activation() const {
    return !residual && !sign_bits && !mask_bits && !column_sum && !column_sum_squares && !accumulate && !row_pitch;
  }
};

/// y[m,n] = op(a)[m,k] . op(b)[k,n], row-major; with transpose_a, a is stored [k,m]; with transpose_b, b is stored
/// [n,k].
struct MatmulProblem {
  DType dtype = DType::f32;
  int64_t m = 0, n = 0, k = 0;
  int64_t batch = 1;  ///< of products whose operands lie one behind another; if several, they have no pro- or epilogue
  bool transpose_a = false, transpose_b = false;
  bool fixed_weights = false;  ///< b is known to the FixedWeights in use: no scratch is needed for its other forms
  Prologue prologue = {};      ///< on a, by its k index
  Epilogue epilogue = {};
  int64_t flops() const { return 2 * batch * m * n * k; }
};

struct Conv2dShape {
  int64_t n = 0, h = 0, w = 0, c = 0;  ///< input
  int64_t o = 0, kh = 1, kw = 1;       ///< filters
  int64_t stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, dilation_h = 1, dilation_w = 1, groups = 1;
  int64_t oh() const { return (h + 2 * pad_h - dilation_h * (kh - 1) - 1) / stride_h + 1; }
  int64_t ow() const { return (w + 2 * pad_w - dilation_w * (kw - 1) - 1) / stride_w + 1; }
  int64_t inputs() const { return n * h * w * c; }
  int64_t outputs() const { return n * oh() * ow() * o; }
  int64_t weights() const { return o * kh * kw * (c / groups); }
};

/// forward:          y = conv(x, w)      reads x, w, writes y; bias in the epilogue
/// input_gradient:   x = dconv/dx (y, w)  reads y (the output's gradient), w, writes x
/// weight_gradient:  w = dconv/dw (x, y)  reads x, y (the output's gradient), writes w (bias gradients are a reduction
///                                       elsewhere)
enum class ConvPass : uint8_t { forward, input_gradient, weight_gradient };
constexpr const char* name_of(ConvPass p) {
  return p == ConvPass::forward ? "forward" : p == ConvPass::input_gradient ? "input_gradient" : "weight_gradient";
}

struct Conv2dProblem {
  DType dtype = DType::f32;
  ConvPass pass = ConvPass::forward;
  bool fixed_weights = false;  ///< w is known to the FixedWeights in use: no scratch is needed for its other forms
  Conv2dShape shape = {};
  Prologue prologue = {};  ///< forward and weight_gradient: on x; input_gradient: on y; by channel, padding stays zero
  Epilogue epilogue = {};  ///< on what is written, seen as rows() x columns()
  int64_t flops() const { return 2 * shape.outputs() * shape.kh * shape.kw * (shape.c / shape.groups); }
  /// The innermost extent of what is written: o, c, or c / groups.
  int64_t columns() const {
    return pass == ConvPass::forward ? shape.o : pass == ConvPass::input_gradient ? shape.c : shape.c / shape.groups;
  }
  /// The others: output pixels, input pixels, or o * kh * kw.
  int64_t rows() const {
    return pass == ConvPass::forward          ? shape.n * shape.oh() * shape.ow()
           : pass == ConvPass::input_gradient ? shape.n * shape.h * shape.w
                                              : shape.o * shape.kh * shape.kw;
  }
};

struct MatmulProvider {
  virtual ~MatmulProvider() = default;
  virtual std::string_view name() const = 0;
  virtual bool supports(Device, const MatmulProblem&) const = 0;
  virtual bool batches() const { return false; }  ///< false: run() is called for each product of a batch
  virtual bool recommended(const MatmulProblem&) const { return true; }       ///< false: right, but known to be slow
  virtual size_t workspace(Device, const MatmulProblem&) const { return 0; }  ///< bytes of scratch that run() needs
  virtual void run(const Stream&, const MatmulProblem&, void* y, const void* a, const void* b, void* scratch) const = 0;
};

struct Conv2dProvider {
  virtual ~Conv2dProvider() = default;
  virtual std::string_view name() const = 0;
  virtual bool supports(Device, const Conv2dProblem&) const = 0;
  virtual bool recommended(const Conv2dProblem&) const { return true; }  ///< false: right, but known to be slow
  virtual size_t workspace(Device, const Conv2dProblem&) const { return 0; }
  /// Of x, w, y the one that the pass writes is written, the others are read.
  virtual void run(const Stream&, const Conv2dProblem&, void* x, void* w, void* y, void* scratch) const = 0;
};

struct MatmulProviderRegistration {
  explicit MatmulProviderRegistration(std::unique_ptr<MatmulProvider>);
};
struct Conv2dProviderRegistration {
  explicit Conv2dProviderRegistration(std::unique_ptr<Conv2dProvider>);
};

/// All registered providers of an operator, in the static policy's order: onednn, cudnn, cublas, native, reference.
std::vector<const MatmulProvider*> matmul_providers();
std::vector<const Conv2dProvider*> conv2d_providers();

/// --provider: op is conv2d, matmul or all; name is a provider's. Throws UsageError if there is none of that name.
/// A forced provider that does not support a problem is an error, never a silent fall-back.
void force_provider(std::string_view op, std::string_view name);
void clear_forced_providers();
/// What is forced now, for config.json: op -> name.
std::map<std::string, std::string> forced_providers();

/// The provider that run_* would use: the forced one, or the first of the policy's order that supports the problem and
/// is recommended for it, or the first that supports it.
const MatmulProvider& choose(Device, const MatmulProblem&);
const Conv2dProvider& choose(Device, const Conv2dProblem&);

/// Scratch comes from the caller, so that the engine's allocator stays in charge: allocate(context, bytes).
struct Scratch {
  void* (*allocate)(void* context, size_t bytes) = nullptr;
  void* context = nullptr;
};
void run_matmul(const Stream&, const MatmulProblem&, void* y, const void* a, const void* b, Scratch);
void run_conv2d(const Stream&, const Conv2dProblem&, void* x, void* w, void* y, Scratch);

/// "matmul f32 128x128x576 tb", for errors, traces and tables.
std::string describe(const MatmulProblem&);
std::string describe(const Conv2dProblem&);

}  // namespace mith
