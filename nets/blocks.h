// What several architectures are made of.
#pragma once
#include "engine/nn/layers.h"
#include "engine/spec/spec.h"

namespace mith {

/// A square convolution without bias that keeps the size but for its stride; weights normal by fan-out (He et al.
/// 2015).
Conv2d::Options convolution(int64_t in, int64_t out, int64_t kernel, int64_t stride = 1, int64_t groups = 1);

/// A batch norm with ReLU in the same pass.
constexpr BatchNormOptions rectified{.activation = Activation::relu};

/// A 3x3 convolution with bias that keeps the size, with PyTorch's initial weights; an activation runs in its epilogue.
Conv2d::Options biased_convolution(int64_t in, int64_t out, Activation activation = Activation::none);

/// Appends to `layers` what torchvision calls a Conv2dNormActivation: a Sequential of that convolution, batch norm and,
/// unless null, an activation.
void conv_norm_activation(Sequential& layers, const Conv2d::Options& convolution, Tensor (*activation)(const Tensor&));

/// The key `head` of nets whose last layer can be replaced: widths for classifier_head().
void head_field(Fields&, std::vector<int64_t>& widths);

/// The layer that classifies: `last`, or, with widths, dense layers of these widths with ReLU and then the last, each
/// as PyTorch initialises it. Their names are those of nn.Sequential(Linear, ReLU, ..., Linear) in the layer's place:
/// 0.weight, 2.weight, ... A net declares its head last.
std::unique_ptr<Module> classifier_head(Linear::Options last, const std::vector<int64_t>& widths);

/// How most classifiers end: [n,h,w,c] -> means over each image [n,c], for the head. Tells the features "features" and
/// "penultimate".
Tensor pooled_features(const Tensor& x, Context&);

/// Images extended to the right and below, by reflection, to sides that are multiples of `multiple`.
Tensor padded_to_multiple(const Tensor& x, int64_t multiple);
/// The upper left part of images.
Tensor cropped(const Tensor& x, int64_t height, int64_t width);

/// Pixels of [0, 1] in [-1, 1], where a tanh ends, and back.
Tensor to_signed(const Tensor& x);
Tensor from_signed(const Tensor& x);

}  // namespace mith
