// A network as a list of operators on values: traced from one eager pass, then simplified for a program that is asked
// for nothing but logits and input gradients.
#pragma once
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "engine/nn/network.h"
#include "kernels/map/activation.h"
#include "kernels/map/pool.h"
#include "kernels/providers/provider.h"

namespace mith::frozen {

/// The convolution of stride 1 that is the input gradient of another: of the output's gradient, by turned weights. Of a
/// strided one every output pixel holds the gradients of stride x stride input pixels, row by row, channels innermost;
/// those of the first input pixel lie in output pixel (shift_h, shift_w).
struct Turned {
  Tensor weight = {};  ///< undefined: there is none
  Conv2dShape shape = {};
  int64_t stride = 1, shift_h = 0, shift_w = 0;
  bool pointwise = false;  ///< of a filter of one: only a block's first pixel has a gradient, and is in the output
};
/// Sizes count the images of the trace; a plan puts its own in.
struct Convolution {
  Conv2dShape shape;
  Tensor weight, bias;  ///< bias may be undefined
  Turned turned = {};
};
struct Dense {
  Tensor weight, bias;
};
/// y = x * scale + shift by channel: batch norm, normalisation. Both undefined: a ReLU of its own.
struct Affine {
  Tensor scale, shift;
};
struct MaxPool {
  Pool2dShape shape;
};
struct AveragePool {
  Pool2dShape shape;
  bool count_padding = true;
};
struct GlobalMean {};  ///< of each channel over the image
/// An activation beside ReLU.
struct Curved {
  Curve curve;
  double parameter = 0;
};
/// Of each row, over its elements.
struct LayerNorm {
  Tensor weight, bias;
  double epsilon = 0;
};
struct Attention {
  int64_t heads = 1;
};
struct Gate {};     ///< y = x * gate by image and channel
struct Join {};     ///< channels side by side
struct Sum {};      ///< of two values
struct Reshape {};  ///< the same memory under another shape
struct Cast {};     ///< to the type of what it makes
/// As the tape recorded it; runs through the eager operators.
struct Eager {
  std::shared_ptr<const Node> node;
};

/// y = ReLU(operator(inputs) + residual), both if there.
struct Operator {
  std::variant<Convolution, Dense, Affine, MaxPool, AveragePool, GlobalMean, Curved, LayerNorm, Attention, Gate, Join,
               Sum, Reshape, Cast, Eager>
      what;
  std::vector<int> inputs;  ///< numbers of values
  int output = -1;
  bool relu = false;
  int residual = -1;               ///< the number of a value, or none
  std::string name, scope;         ///< as the tape has them
  std::vector<std::string> fused;  ///< what was an operator of its own before

  template <class T>
  const T* as() const {
    return std::get_if<T>(&what);
  }
  template <class T>
  T* as() {
    return std::get_if<T>(&what);
  }
};

/// "conv2d + batch_norm + residual + relu".
std::string title(const Operator&);

struct GraphValue {
  Shape shape;               ///< of one image: the leading dimension counts its rows
  Tensor constant = {};      ///< defined: does not depend on the images
  bool repeated = false;     ///< a constant that every image gets once more, as a class token; else a parameter
  DType dtype = DType::f32;  ///< f32 or bf16, and so is its gradient
};

struct Graph {
  std::vector<GraphValue> values;
  std::vector<Operator> operators;  ///< in an order that runs
  int input = -1, logits = -1;
  /// Operators that read a value, as an input or residual, in order.
  std::vector<int> readers(int value) const;
  /// The place of the operator that makes it; -1 for images and constants.
  int maker(int value) const;
};

/// A tensor's values in double, and back in f32.
std::vector<double> doubles(const Tensor&);
Tensor floats(const std::vector<double>&, const Shape&, Device);

constexpr int64_t traced_images = 2;  ///< in the one pass that is traced
/// The eval-mode network's operators from the images to the logits. Throws Error where a network cannot be traced: what
/// it computes beside the images must be the same for every image.
Graph trace(Network&);

/// Folds batch norms into the convolutions before or the dense layers behind them, lets convolutions add residuals and
/// apply ReLUs, and moves ReLUs behind max-pools.
void fuse(Graph&);

/// Lets products, and the passes between them, read and write bf16 where they have such a form, and casts at the
/// borders. What makes the logits stays f32, and so do the images up to the first product.
void narrow(Graph&);

/// The input gradient of a convolution in this type as one of stride 1; without weights where that is none, or does not
/// pay.
Turned turned(const Conv2dShape&, const Tensor& weight, DType);

/// Turns the convolutions of a graph whose values have their types.
void turn(Graph&);

}  // namespace mith::frozen
