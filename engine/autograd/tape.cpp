#include "engine/autograd/tape.h"

#include <algorithm>

#include "engine/ops/arithmetic.h"

namespace mith {
namespace {

thread_local Tape* recording = nullptr;
thread_local std::string scope_path;

/// Gradients that have arrived so far, by value id.
using Arrived = std::unordered_map<uint64_t, Tensor>;

void accumulate(Arrived& arrived, uint64_t id, Tensor gradient) {
  Tensor& sum = arrived[id];
  if (!sum.defined())
    sum = std::move(gradient);
  else if (sum.sole_owner())
    add_in_place(sum, gradient);
  else {  // somebody else holds this memory: an operator that passed its gradient through
    sum = sum.clone();
    add_in_place(sum, gradient);
  }
}

Value value_of(const Tensor& t) { return t.defined() ? Value{t.id(), t.shape(), t.dtype()} : Value{}; }

}  // namespace

Tape::Tape() : previous_(recording) { recording = this; }
Tape::~Tape() { stop(); }
void Tape::stop() {
  if (std::exchange(recording_, false)) recording = previous_;
}
Tape* Tape::current() { return recording; }

NoTape::NoTape() : suspended_(recording) { recording = nullptr; }
NoTape::~NoTape() { recording = suspended_; }

ScopeName::ScopeName(const std::string& name) : length_(scope_path.size()) {
  if (!scope_path.empty() && !name.empty()) scope_path += '.';
  scope_path += name;
}
ScopeName::~ScopeName() { scope_path.resize(length_); }

bool tracked(std::initializer_list<const Tensor*> values) {
  return std::any_of(values.begin(), values.end(), [](const Tensor* t) { return tracked(*t); });
}

Tensor Node::again(const std::vector<Tensor>&) const {
  throw Error(cat(name(), " at ", scope, " cannot be run again on other values"));
}

void Tape::watch(const Tensor& t) { tracked_.emplace(t.id(), -1); }

void Tape::add(std::unique_ptr<Node> node, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs) {
  for (const Tensor& t : inputs) {
    node->inputs.push_back(value_of(t));
    if (keeps_constants_ && t.defined() && !tracks(t)) constants_.emplace(t.id(), t);
  }
  for (const Tensor& t : outputs) {
    node->outputs.push_back(value_of(t));
    tracked_[t.id()] = static_cast<int>(nodes_.size());
  }
  node->scope = scope_path;
  nodes_.push_back(std::move(node));
}

std::vector<Tensor> Tape::gradients(const Tensor& output, const Tensor& cotangent, const std::vector<Tensor>& wanted,
                                    bool keep) {
  return gradients({{output, cotangent}}, wanted, keep);
}

std::vector<Tensor> Tape::gradients(const std::vector<std::pair<Tensor, Tensor>>& outputs,
                                    const std::vector<Tensor>& wanted, bool keep) {
  NoTape const backward_is_not_recorded;
  Arrived arrived;
  for (auto const& [output, cotangent] : outputs) {
    check(output.shape() == cotangent.shape(), "cotangent ", cotangent.shape(), " for an output of ", output.shape());
    check(tracks(output), "gradient of a value that does not depend on anything watched by this tape");
    accumulate(arrived, output.id(), cotangent);
  }

  // Forward sweep: which values lead from a wanted one? Only their gradients are computed.
  std::unordered_map<uint64_t, bool> leads;
  for (const Tensor& t : wanted)
    if (tracks(t)) leads[t.id()] = true;  // of what was not watched, operators kept nothing for a gradient
  auto const leads_from_wanted = [&](const Value& v) { return leads.count(v.id) != 0; };
  for (auto const& node : nodes_)
    if (node && std::any_of(node->inputs.begin(), node->inputs.end(), leads_from_wanted))
      for (const Value& v : node->outputs) leads[v.id] = true;

  // Backward sweep, newest node first: everything a node feeds has already arrived.
  std::vector<uint64_t> kept;
  kept.reserve(wanted.size());
  for (const Tensor& t : wanted) kept.push_back(t.id());
  for (auto it = nodes_.rbegin(); it != nodes_.rend(); ++it) {
    if (!*it) continue;
    Node& node = **it;
    Gradients g;
    bool any = false;
    for (const Value& v : node.outputs) {
      auto const found = arrived.find(v.id);
      bool const here = found != arrived.end();
      any = any || (here && leads_from_wanted(v));
      g.outputs_.push_back(here ? found->second : Tensor());
      // The value's gradient is spent once its maker has it, unless it was asked for.
      if (here && std::find(kept.begin(), kept.end(), v.id) == kept.end()) arrived.erase(found);
    }
    if (any) {
      for (const Value& v : node.inputs) g.wants_.push_back(leads_from_wanted(v));
      g.given_.resize(node.inputs.size());
      node.backward(g);
      for (size_t i = 0; i < g.given_.size(); ++i)
        if (g.given_[i].defined()) accumulate(arrived, node.inputs[i].id, std::move(g.given_[i]));
    }
    if (!keep) it->reset();
  }
  if (!keep) std::erase(nodes_, nullptr);

  std::vector<Tensor> result;
  for (const Tensor& t : wanted) {
    auto const found = arrived.find(t.id());
    result.push_back(found == arrived.end() ? Tensor() : found->second);
  }
  return result;
}

void Gradients::give(size_t i, Tensor gradient) {
  check(wants(i), "a gradient was given that nobody wants");
  check(!given_[i].defined(), "the gradient of input ", i, " was given twice");
  given_[i] = std::move(gradient);
}

}  // namespace mith
