#include <algorithm>

#include "engine/frozen/graph.h"

namespace mith::frozen {
namespace {

/// Rewrites one graph; each rule looks at an operator and at who made what it reads.
class Fuser {
 public:
  explicit Fuser(Graph& graph) : graph_(graph) {}

  void run() {
    repeat([this](size_t i) { return norm_into_convolution(i); });
    repeat([this](size_t i) { return norm_into_dense(i); });
    repeat([this](size_t i) { return sum_into_convolution(i); });
    repeat([this](size_t i) { return relu_into_maker(i); });
    for (size_t i = 0; i < graph_.operators.size(); ++i) relu_behind_pooling(i);
  }

 private:
  /// Applies a rule wherever it fits; a rule that fits removes one operator.
  template <class Rule>
  void repeat(Rule rule) {
    for (size_t i = 0; i < graph_.operators.size();)
      if (!rule(i)) ++i;
  }

  /// The place of the operator that made a value, if `reader` alone reads it and no ReLU is behind it yet; else -1.
  int only_for(int reader, int value) const {
    if (value == graph_.logits || graph_.readers(value) != std::vector<int>{reader}) return -1;
    int const maker = graph_.maker(value);
    return maker >= 0 && !at(maker).relu ? maker : -1;
  }
  /// The same if no residual is behind it either.
  int bare_for(int reader, int value) const {
    int const maker = only_for(reader, value);
    return maker >= 0 && at(maker).residual < 0 ? maker : -1;
  }
  Operator& at(int i) const { return graph_.operators[static_cast<size_t>(i)]; }

  /// Puts `first` where `second` is, whose result it now makes: between them the residual may be computed.
  bool merge(int first, size_t second, int residual) {
    Operator merged = std::move(at(first));
    Operator const& last = graph_.operators[second];
    merged.output = last.output;
    merged.relu = last.relu;
    merged.residual = residual;
    merged.fused.push_back(last.name);
    merged.fused.insert(merged.fused.end(), last.fused.begin(), last.fused.end());
    graph_.operators[second] = std::move(merged);
    graph_.operators.erase(graph_.operators.begin() + first);
    return true;
  }

  bool norm_into_convolution(size_t i) {
    Operator const& o = graph_.operators[i];
    const Affine* const norm = o.as<Affine>();
    if (!norm || !norm->scale.defined()) return false;
    int const before = bare_for(static_cast<int>(i), o.inputs[0]);
    Convolution* const conv = before < 0 ? nullptr : at(before).as<Convolution>();
    if (!conv) return false;
    auto weight = doubles(conv->weight), scale = doubles(norm->scale), bias = doubles(norm->shift);
    if (conv->bias.defined()) {
      auto const own = doubles(conv->bias);
      for (size_t c = 0; c < scale.size(); ++c) bias[c] += own[c] * scale[c];
    }
    size_t const row = weight.size() / scale.size();
    for (size_t k = 0; k < weight.size(); ++k) weight[k] *= scale[k / row];
    conv->weight = floats(weight, conv->weight.shape(), conv->weight.device());
    conv->bias = floats(bias, norm->scale.shape(), norm->scale.device());
    return merge(before, i, o.residual);
  }

  /// w (x * scale + shift) + b, where a reshape may lie between the two.
  bool norm_into_dense(size_t i) {
    Operator& o = graph_.operators[i];
    Dense* const dense = o.as<Dense>();
    if (!dense) return false;
    int before = bare_for(static_cast<int>(i), o.inputs[0]);
    int const reshape = before >= 0 && at(before).as<Reshape>() ? before : -1;
    if (reshape >= 0) before = bare_for(reshape, at(reshape).inputs[0]);
    if (before < 0) return false;
    Operator const& norm = at(before);
    const Affine* const affine = norm.as<Affine>();
    if (!affine || !affine->scale.defined()) return false;
    auto weight = doubles(dense->weight), scale = doubles(affine->scale), shift = doubles(affine->shift);
    auto bias = std::vector<double>(static_cast<size_t>(dense->weight.dim(0)));
    if (dense->bias.defined()) bias = doubles(dense->bias);
    size_t const columns = static_cast<size_t>(dense->weight.dim(1));
    for (size_t k = 0; k < weight.size(); ++k) {
      size_t const channel = k % columns % scale.size();
      bias[k / columns] += weight[k] * shift[channel];
      weight[k] *= scale[channel];
    }
    dense->weight = floats(weight, dense->weight.shape(), dense->weight.device());
    dense->bias = floats(bias, {dense->weight.dim(0)}, dense->weight.device());
    o.fused.push_back(norm.name);
    (reshape >= 0 ? at(reshape) : o).inputs[0] = norm.inputs[0];
    graph_.operators.erase(graph_.operators.begin() + before);
    return true;
  }

  bool sum_into_convolution(size_t i) {
    Operator const& o = graph_.operators[i];
    if (!o.as<Sum>() || o.inputs[0] == o.inputs[1]) return false;
    for (size_t side = 0; side < 2; ++side) {
      int const maker = bare_for(static_cast<int>(i), o.inputs[side]);
      int const other = o.inputs[1 - side];
      if (maker < 0 || graph_.values[static_cast<size_t>(other)].constant.defined()) continue;
      if (at(maker).as<Convolution>()) return merge(maker, i, other);
    }
    return false;
  }

  bool relu_into_maker(size_t i) {
    Operator const& o = graph_.operators[i];
    const Affine* const affine = o.as<Affine>();
    if (!affine || affine->scale.defined() || o.residual >= 0) return false;
    int const maker = only_for(static_cast<int>(i), o.inputs[0]);
    if (maker < 0 || (!at(maker).as<Convolution>() && !at(maker).as<Dense>() && !at(maker).as<Affine>())) return false;
    return merge(maker, i, at(maker).residual);
  }

  /// max(ReLU(x)) = ReLU(max(x)), which pooling computes on the way: no pass over x, and no signs of it to keep.
  void relu_behind_pooling(size_t i) {
    Operator& o = graph_.operators[i];
    const MaxPool* const pool = o.as<MaxPool>();
    int const maker = pool ? graph_.maker(o.inputs[0]) : -1;
    if (maker < 0 || !at(maker).relu || graph_.readers(o.inputs[0]).size() != 1 || o.inputs[0] == graph_.logits ||
        pool->shape.kernel_h * pool->shape.kernel_w > no_tap)
      return;
    if (auto const* const affine = at(maker).as<Affine>(); affine && !affine->scale.defined()) return;  // a pass anyway
    at(maker).relu = false;
    std::erase(at(maker).fused, "relu");
    o.relu = true;
  }

  Graph& graph_;
};

}  // namespace

std::vector<int> Graph::readers(int value) const {
  std::vector<int> all;
  for (size_t i = 0; i < operators.size(); ++i) {
    Operator const& o = operators[i];
    if (o.residual == value || std::ranges::find(o.inputs, value) != o.inputs.end()) all.push_back(static_cast<int>(i));
  }
  return all;
}

int Graph::maker(int value) const {
  auto const found = std::ranges::find(operators, value, &Operator::output);
  return found == operators.end() ? -1 : static_cast<int>(found - operators.begin());
}

std::vector<double> doubles(const Tensor& t) { return t.cast(DType::f64).to_host<double>(); }

Tensor floats(const std::vector<double>& values, const Shape& shape, Device device) {
  return Tensor::from(values, shape, device).cast(DType::f32);
}

void fuse(Graph& graph) { Fuser(graph).run(); }

}  // namespace mith::frozen
