#include <algorithm>
#include <map>
#include <unordered_map>

#include "engine/frozen/graph.h"
#include "engine/ops/ops.h"

namespace mith::frozen {
namespace {

/// Two images: then what differs between them shows, and so does the leading dimension of what does not.
constexpr int64_t images = traced_images;

Affine affine_of(const BatchNormNode& norm) {
  auto const weight = doubles(norm.weight), bias = doubles(norm.bias), mean = doubles(norm.mean),
             inverse_std = doubles(norm.inverse_std);
  std::vector<double> scale, shift;
  for (size_t c = 0; c < weight.size(); ++c) {
    scale.push_back(weight[c] * inverse_std[c]);
    shift.push_back(bias[c] - mean[c] * scale[c]);
  }
  return {floats(scale, norm.weight.shape(), norm.weight.device()),
          floats(shift, norm.weight.shape(), norm.weight.device())};
}

template <class N>
const N* node_as(const std::shared_ptr<const Node>& node) {
  return dynamic_cast<const N*>(node.get());
}

/// A pooling with windows of one pixel each, as vgg16 has at 224 pixels.
bool is_identity(const std::shared_ptr<const Node>& node) {
  auto const* const pool = node_as<AdaptiveAvgPool2dNode>(node);
  return pool && pool->shape.h == pool->shape.oh && pool->shape.w == pool->shape.ow;
}

class Tracer {
 public:
  explicit Tracer(Network& network) : network_(network) {}

  Graph run() {
    NetworkOptions const& o = network_.network_options();
    Tensor const x = Tensor::full({images, o.height, o.width, o.channels}, 0.5);
    Tape tape;
    tape.watch(x);
    tape.keep_constants();
    Context context;
    Tensor const logits = network_(x, context);
    check(logits.dtype() == DType::f32, network_.spec(), ": only f32 can be frozen, not ", name_of(logits.dtype()));
    check(logits.shape().rank() == 2, network_.spec(), ": only classifiers can be frozen");
    check(tape.tracks(logits), network_.spec(), ": the logits do not depend on the images");

    for (auto const& [path, parameter] : network_.parameters()) parameters_[parameter->value.id()] = true;
    constants_ = &tape.constants();
    graph_.input = value(x.id(), x.shape());
    for (auto& node : tape.take_nodes()) add(std::move(node));
    graph_.logits = numbers_.at(logits.id());
    return std::move(graph_);
  }

 private:
  int value(uint64_t id, const Shape& shape) {
    auto const [at, added] = numbers_.emplace(id, static_cast<int>(graph_.values.size()));
    if (!added) return at->second;
    check(shape.rank() > 0 && shape[0] % images == 0, network_.spec(), ": a value ", shape, " is not made of images");
    graph_.values.push_back({shape.with(0, shape[0] / images)});
    return at->second;
  }

  Tensor constant(const Value& v) const {
    auto const found = constants_->find(v.id);
    return found == constants_->end() ? Tensor() : found->second;
  }

  /// The number of an operator's input: a value of the graph, a parameter, or what is the same for every image.
  int input(const Value& v) {
    if (auto const known = numbers_.find(v.id); known != numbers_.end()) return known->second;
    Tensor t = constant(v);
    check(t.defined(), network_.spec(), ": an operator's input of ", v.shape, " comes from nowhere");
    int const number = static_cast<int>(graph_.values.size());
    numbers_[v.id] = number;
    bool const parameter = parameters_.count(v.id) != 0;
    if (!parameter) {
      check(t.shape().rank() > 0 && t.dim(0) == images, network_.spec(), ": a constant of ", t.shape(),
            " is neither a parameter nor one for each image");
      check(t.rows(0, 1).to_host<float>() == t.rows(1, 1).to_host<float>(), network_.spec(), ": a constant of ",
            t.shape(), " differs between images");
      t = t.rows(0, 1);
    }
    graph_.values.push_back({t.shape(), t, !parameter});
    return number;
  }

  void add(const std::shared_ptr<const Node>& node) {
    check(node->outputs.size() == 1, node->name(), ": cannot freeze an operator of ", node->outputs.size(), " results");
    Operator o;
    o.name = node->name();
    o.scope = node->scope;
    size_t read = 1;  // how many of the node's inputs are values of the graph; the others it holds
    if (auto const* conv = node_as<Conv2dNode>(node)) {
      o.what = Convolution{conv->shape, conv->weight, constant(conv->inputs[2])};
      o.relu = conv->activation == Activation::relu;
    } else if (auto const* dense = node_as<LinearNode>(node)) {
      o.what = Dense{dense->weight, constant(dense->inputs[2])};
      o.relu = dense->activation == Activation::relu;
    } else if (auto const* norm = node_as<BatchNormNode>(node)) {
      check(!norm->training, node->scope, ": a batch norm on batch statistics cannot be frozen");
      o.what = affine_of(*norm);
      o.relu = norm->rectified;
      if (norm->inputs.size() > 3) o.residual = input(norm->inputs[3]);
    } else if (auto const* affine = node_as<ChannelAffineNode>(node)) {
      o.what = Affine{affine->scale, affine->shift};
    } else if (node_as<ReluNode>(node)) {
      o.what = Affine{};
      o.relu = true;
    } else if (auto const* max = node_as<MaxPool2dNode>(node)) {
      o.what = MaxPool{max->shape};
    } else if (auto const* average = node_as<AvgPool2dNode>(node)) {
      o.what = AveragePool{average->shape, average->count_padding};
    } else if (node_as<GlobalAvgPool2dNode>(node)) {
      o.what = GlobalMean{};
    } else if (auto const* activation = node_as<ActivationNode>(node)) {
      o.what = Curved{activation->curve, activation->parameter};
    } else if (auto const* layer = node_as<LayerNormNode>(node)) {
      o.what = LayerNorm{layer->weight, constant(layer->inputs[2]), layer->epsilon};
    } else if (auto const* attention = node_as<SelfAttentionNode>(node)) {
      o.what = Attention{attention->heads};
    } else if (node_as<ChannelGateNode>(node)) {
      o.what = Gate{};
      read = 2;
    } else if (node_as<ReshapeNode>(node) || is_identity(node)) {
      o.what = Reshape{};
    } else if (auto const* concat = node_as<ConcatNode>(node);
               concat && concat->dim + 1 == concat->outputs[0].shape.rank()) {
      o.what = Join{};
      read = concat->inputs.size();
    } else if (node_as<AddNode>(node)) {
      o.what = Sum{};
      read = 2;
    } else {
      o.what = Eager{node};
      read = node->inputs.size();
    }
    for (size_t i = 0; i < read; ++i) o.inputs.push_back(input(node->inputs[i]));
    o.output = value(node->outputs[0].id, node->outputs[0].shape);
    graph_.operators.push_back(std::move(o));
  }

  Network& network_;
  Graph graph_;
  std::unordered_map<uint64_t, int> numbers_;  // value id -> number
  std::unordered_map<uint64_t, bool> parameters_;
  const std::unordered_map<uint64_t, Tensor>* constants_ = nullptr;
};

}  // namespace

Graph trace(Network& network) { return Tracer(network).run(); }

std::string title(const Operator& o) {
  auto const counted = [&](const char* what) { return std::ranges::find(o.fused, what) != o.fused.end(); };
  std::string title = o.name;
  for (const std::string& fused : o.fused) title += " + " + fused;
  if (o.residual >= 0 && !counted("add")) title += " + residual";
  if (o.relu && !counted("relu") && o.name != "relu") title += " + relu";
  return title;
}

}  // namespace mith::frozen
