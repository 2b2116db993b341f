// Which values of a graph are bf16, and the casts between those and the rest.
#include <algorithm>
#include <map>

#include "engine/frozen/graph.h"

namespace mith::frozen {
namespace {

class Narrower {
 public:
  explicit Narrower(Graph& graph) : graph_(graph) {}

  void run() {
    std::vector<Operator> wide = std::move(graph_.operators);
    graph_.operators.clear();
    for (Operator& o : wide) {
      DType const type = type_of(o);
      for (int& input : o.inputs) input = as(type, input);
      if (o.residual >= 0) o.residual = as(type, o.residual);
      at(o.output).dtype = type;
      graph_.operators.push_back(std::move(o));
    }
  }

 private:
  GraphValue& at(int value) { return graph_.values[static_cast<size_t>(value)]; }
  bool is_narrow(int value) { return at(value).dtype == DType::bf16; }

  /// Products gain by it; passes read what there is. Sums of which one side is f32 stay so: that is where a transformer
  /// adds up its layers. What has no bf16 form is f32.
  DType type_of(const Operator& o) {
    auto const narrow = [this](int value) { return is_narrow(value); };
    auto const constant = [this](int value) { return at(value).constant.defined(); };
    if (o.output == graph_.logits || o.as<LayerNorm>() || o.as<Attention>() || o.as<Eager>()) return DType::f32;
    if (o.as<Convolution>() || o.as<Dense>()) return DType::bf16;
    bool const reads = o.as<Join>() ? std::ranges::any_of(o.inputs, narrow) && std::ranges::none_of(o.inputs, constant)
                                    : std::ranges::all_of(o.inputs, narrow);
    return reads ? DType::bf16 : DType::f32;
  }

  /// The value in this type, through a cast that all its readers share.
  int as(DType type, int value) {
    GraphValue const from = at(value);
    if (from.dtype == type || from.constant.defined()) return value;
    auto const [known, added] = casts_.try_emplace(value, static_cast<int>(graph_.values.size()));
    if (added) {
      graph_.values.push_back({.shape = from.shape, .dtype = type});
      Operator cast{.what = Cast{}, .inputs = {value}, .output = known->second, .name = cat("to ", name_of(type))};
      graph_.operators.push_back(std::move(cast));
    }
    return known->second;
  }

  Graph& graph_;
  std::map<int, int> casts_;  // value -> the same in the other type
};

}  // namespace

void narrow(Graph& graph) { Narrower(graph).run(); }

}  // namespace mith::frozen
