#include "engine/frozen/frozen.h"

#include <algorithm>
#include <bit>
#include <optional>

#include "engine/frozen/plan.h"
#include "engine/ops/ops.h"
#include "engine/tensor/allocator.h"

namespace mith {
namespace {

std::unique_ptr<frozen::Graph> graph_of(Network& network, DType precision) {
  auto graph = std::make_unique<frozen::Graph>(frozen::trace(network));
  frozen::fuse(*graph);
  if (precision == DType::bf16) frozen::narrow(*graph);
  frozen::turn(*graph);
  return graph;
}

/// The weights of all products, which providers may keep in layouts of their own.
std::vector<const void*> weights_of(const frozen::Graph& graph) {
  std::vector<const void*> all;
  for (const frozen::Operator& o : graph.operators) {
    if (auto const* conv = o.as<frozen::Convolution>()) {
      all.push_back(conv->weight.raw());
      if (conv->turned.weight.defined()) all.push_back(conv->turned.weight.raw());
    } else if (auto const* dense = o.as<frozen::Dense>()) {
      all.push_back(dense->weight.raw());
    }
  }
  return all;
}

/// Sixteen sizes a power of two: 1 to 32, 34, 36, ..., 64, 68, ... Attacks go on with the images that still stand, so
/// batches shrink one by one, and every image that fills up costs as much as another.
int64_t planned_size(int64_t images) {
  auto const n = static_cast<uint64_t>(images);
  uint64_t const step = std::max<uint64_t>(1, std::bit_floor(n - 1) / 16);
  return static_cast<int64_t>((n + step - 1) / step * step);
}

/// The images with copies of the first behind them, `count` in all.
Tensor padded(const Tensor& x, int64_t count) {
  if (x.dim(0) == count) return x;
  std::vector<int64_t> rows(static_cast<size_t>(count));
  for (int64_t i = 0; i < x.dim(0); ++i) rows[static_cast<size_t>(i)] = i;
  return gather_rows(x, rows);
}

}  // namespace

FrozenNetwork::FrozenNetwork(Network& network, const std::string& name, DType precision)
    : eager_(network, name, NetworkClassifier::fixed),
      graph_(graph_of(network, precision)),
      weights_(std::make_unique<FixedWeights>(weights_of(*graph_))) {}

FrozenNetwork::~FrozenNetwork() = default;

frozen::Plan& FrozenNetwork::plan(int64_t images) {
  auto& plan = plans_[planned_size(images)];
  if (!plan || !plan->has_scratch_for(threads())) plan = std::make_unique<frozen::Plan>(*graph_, planned_size(images));
  return *plan;
}

Outputs FrozenNetwork::run(const Batch& b, const Cotangent& cotangent, const Want& want, const DrawKey& key) {
  if (!want.features.empty() || std::holds_alternative<OnFeature>(cotangent))
    return eager_.evaluate(b, cotangent, want, key);
  NoTape const pause;
  OperatorScope const scope("frozen network");
  FixedWeights::Use const use(weights_.get());
  frozen::Plan& plan = this->plan(b.size());
  plan.record(timeline_);
  if (!arena_.defined() || arena_.bytes() < plan.arena_bytes()) {
    arena_ = Tensor();
    arena_ = Tensor::empty({static_cast<int64_t>(plan.arena_bytes())}, DType::u8, b.x.device());
  }
  Tensor const all = plan.forward(padded(b.x, plan.batch()), arena_, want.input_gradient);
  Tensor const logits = all.rows(0, b.size());

  Outputs out;
  if (want.logits) out.logits = logits;
  if (!want.loss && !want.input_gradient) return out;
  Tensor weights;
  if (auto const* const loss = std::get_if<Loss>(&cotangent)) {
    Tape tape;
    tape.watch(logits);
    Tensor const values = loss_of(logits, *loss);
    tape.stop();
    if (want.loss) out.loss = values;
    if (!want.input_gradient) return out;
    weights = tape.gradient(values, Tensor::full(values.shape(), 1, values.dtype(), values.device()), logits);
  } else if (auto const* const on_outputs = std::get_if<OnOutputs>(&cotangent)) {
    auto const given = on_outputs->weights({.logits = logits, .loss = {}, .input_gradient = {}, .features = {}});
    for (auto const& [output, w] : given) {
      require(output == "logits", name(), " has no feature '", output, "' in this pass; it has none");
      weights = w;
    }
  } else {
    weights = std::get<OnLogits>(cotangent).weights;
  }
  if (!want.input_gradient) return out;
  check(!weights.defined() || weights.shape() == logits.shape(), name(), ": a cotangent of ", weights.shape(), " for ",
        logits.shape());
  Tensor cotangents = Tensor::zeros_like(all);
  if (weights.defined()) cotangents.rows(0, b.size()).copy_from(weights);
  out.input_gradient = plan.backward(cotangents).rows(0, b.size());
  return out;
}

}  // namespace mith
