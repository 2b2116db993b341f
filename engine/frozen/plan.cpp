#include "engine/frozen/plan.h"

#include "kernels/launch/table.h"

namespace mith::frozen {
namespace {

template <class T>
const Kernel<T*, const T*, int64_t, int64_t, int64_t, int64_t> copy_slice{"copy_slice", dtype_of<T>};

using Clock = std::chrono::steady_clock;

/// Of the form in which they are read.
int64_t weight_bytes(const Graph& graph, const Operator& o) {
  auto const* const conv = o.as<Convolution>();
  auto const* const dense = o.as<Dense>();
  if (!conv && !dense) return 0;
  DType const type = graph.values[static_cast<size_t>(o.inputs[0])].dtype;
  return (conv ? conv->weight : dense->weight).numel() * static_cast<int64_t>(size_of(type));
}

}  // namespace

Plan::Plan(const Graph& graph, int64_t batch) : graph_(graph), planner_(graph, batch) {
  for (const Operator& o : graph.operators) {
    steps_.push_back(make_step(graph, o));
    steps_.back()->plan_forward(planner_);
    steps_.back()->forward_cost = cost_of(*steps_.back(), false);
    planner_.next_step();
  }
  logits_ = planner_.read(graph.logits);
  logits_gradient_ = planner_.target(graph.logits).place;
  planner_.next_step();
  for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) {
    (*step)->has_backward = planner_.flows((*step)->what().output);
    if ((*step)->has_backward) (*step)->plan_backward(planner_);
    if ((*step)->has_backward) (*step)->backward_cost = cost_of(**step, true);
    planner_.next_step();
  }
  has_gradient_ = planner_.flows(graph.input);
  arena_bytes_ = planner_.finish();
}

Cost Plan::cost_of(const Step& step, bool backward) const {
  if (step.in_place()) return {};
  return {step.flops(backward), planner_.bytes_moved() + weight_bytes(graph_, step.what())};
}

void Plan::run(Step& step, bool backward) {
  auto const now = [&] { return std::chrono::duration<double>(Clock::now() - timeline_->origin).count(); };
  double const begin = timeline_ ? now() : 0;
  backward ? step.backward(*memory_) : step.forward(*memory_);
  if (!timeline_) return;
  synchronize(memory_->stream());
  timeline_->spans.push_back({&step, backward, begin, now()});
}

Tensor Plan::forward(const Tensor& images, const Tensor& arena, bool backward_follows) {
  check(arena.bytes() >= arena_bytes_, "frozen: an arena of ", arena.bytes(), " bytes, not ", arena_bytes_);
  memory_ = std::make_unique<Memory>(planner_, arena);
  Memory& m = *memory_;
  m.images = images;
  m.backward_follows = backward_follows;
  for (auto const& [value, place] : planner_.constants()) {
    Tensor const& constant = graph_.values[static_cast<size_t>(value)].constant;
    copy_slice<float>(m.stream(), m.at(place), constant.data<float>(), constant.numel(), 0, batch(), constant.numel());
  }
  for (auto const& step : steps_) run(*step, false);
  Tensor logits = m.tensor(logits_, {logits_.rows, logits_.columns}).clone();
  if (!backward_follows) memory_.reset();
  return logits;
}

Tensor Plan::backward(const Tensor& cotangent) {
  check(memory_ != nullptr, "frozen: a backward pass without a forward pass");
  Memory& m = *memory_;
  m.input_gradient = has_gradient_ ? Tensor::empty_like(m.images) : Tensor::zeros_like(m.images);
  m.tensor(logits_gradient_, cotangent.shape()).copy_from(cotangent);
  for (auto step = steps_.rbegin(); step != steps_.rend(); ++step)
    if ((*step)->has_backward) run(**step, true);
  Tensor gradient = m.input_gradient;
  memory_.reset();
  return gradient;
}

}  // namespace mith::frozen
