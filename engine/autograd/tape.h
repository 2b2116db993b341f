// Reverse-mode differentiation on an explicit tape.
//
//   Tape tape;                                   // records operators on watched values until it goes out of scope
//   tape.watch(x);                               // an attack watches the image; training watches the parameters
//   Tensor loss = cross_entropy(net(x), y);
//   Tensor g = tape.gradient(loss, ones, x);     // only what leads to x is computed: no weight gradient, ever
//
// What is watched also decides what operators save for their backward. Nodes are plain objects with a name, attributes,
// inputs and a backward method: the frozen graph, the profiler, the summary and the teaching app walk them.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/tensor/tensor.h"

namespace mith {

/// A value as the tape sees it: enough to describe it, nothing that keeps its memory alive.
struct Value {
  uint64_t id = 0;
  Shape shape;
  DType dtype = DType::f32;
};

using Attribute = std::pair<std::string, std::string>;  ///< e.g. {"stride", "2x2"}

class Gradients;

/// One recorded operator. Subclasses are public structs in engine/ops that hold attributes and what backward needs.
class Node {
 public:
  virtual ~Node() = default;
  virtual std::string_view name() const = 0;
  virtual std::vector<Attribute> attributes() const { return {}; }
  virtual int64_t flops() const { return 0; }  ///< of the forward pass
  /// Turns the gradients of the outputs into those of the inputs that are wanted.
  virtual void backward(Gradients&) = 0;
  /// The operator once more on other values, of another batch size perhaps: what a tape recorded is a program. Throws
  /// Error for an operator that cannot.
  virtual Tensor again(const std::vector<Tensor>& values) const;

  std::vector<Value> inputs, outputs;
  std::string scope;  ///< the module path it was recorded under, e.g. "features.conv1"
};

class Tape {
 public:
  Tape();   ///< becomes this thread's recording tape
  ~Tape();  ///< the one before it continues
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  /// Records nothing more; gradients may still be asked for.
  void stop();

  /// Gradients may be asked for this value; operators on it, and on what comes of it, are recorded from now on.
  void watch(const Tensor&);
  bool tracks(const Tensor& t) const { return tracked_.count(t.id()) != 0; }

  /// Gradients of sum(output * cotangent) with respect to each wanted value; undefined tensors where none flows.
  /// Nodes free what they saved as they are passed, unless `keep`, which allows another call.
  std::vector<Tensor> gradients(const Tensor& output, const Tensor& cotangent, const std::vector<Tensor>& wanted,
                                bool keep = false);
  Tensor gradient(const Tensor& output, const Tensor& cotangent, const Tensor& wanted, bool keep = false) {
    return gradients(output, cotangent, {wanted}, keep).front();
  }
  /// Several outputs at once: pairs of output and cotangent.
  std::vector<Tensor> gradients(const std::vector<std::pair<Tensor, Tensor>>& outputs,
                                const std::vector<Tensor>& wanted, bool keep = false);

  const std::vector<std::unique_ptr<Node>>& nodes() const { return nodes_; }

  /// Hands the recorded operators over; the tape goes on empty.
  std::vector<std::unique_ptr<Node>> take_nodes() { return std::exchange(nodes_, {}); }
  /// From now on holds the inputs of operators that depend on nothing watched: weights, and what is computed from them.
  void keep_constants() { keeps_constants_ = true; }
  const std::unordered_map<uint64_t, Tensor>& constants() const { return constants_; }

  /// This thread's recording tape, or null.
  static Tape* current();
  void add(std::unique_ptr<Node>, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs);

 private:
  std::vector<std::unique_ptr<Node>> nodes_;
  std::unordered_map<uint64_t, int> tracked_;  // value id -> node that made it, -1 for watched
  bool keeps_constants_ = false;
  std::unordered_map<uint64_t, Tensor> constants_;  // by value id
  Tape* previous_;
  bool recording_ = true;
};

/// Suspends recording on this thread.
class NoTape {
 public:
  NoTape();
  ~NoTape();
  NoTape(const NoTape&) = delete;
  NoTape& operator=(const NoTape&) = delete;

 private:
  Tape* suspended_;
};

/// True if any of these values is tracked by the recording tape: then an operator must record a node.
bool tracked(std::initializer_list<const Tensor*> values);
inline bool tracked(const Tensor& t) { return t.defined() && Tape::current() && Tape::current()->tracks(t); }

/// Records a node of type N, built from `members`, if any input is tracked.
///   return record<Relu>(y, {x}, Relu{.output = y});
template <class N>
Tensor record(Tensor output, const std::vector<Tensor>& inputs, N node) {
  Tape* const tape = Tape::current();
  if (!tape) return output;
  for (const Tensor& t : inputs)
    if (t.defined() && tape->tracks(t)) {
      tape->add(std::make_unique<N>(std::move(node)), inputs, {output});
      break;
    }
  return output;
}

/// What a node's backward reads and writes.
class Gradients {
 public:
  /// Gradient of the node's output i.
  const Tensor& output(size_t i = 0) const { return outputs_[i]; }
  /// True if the gradient of input i is needed.
  bool wants(size_t i) const { return i < wants_.size() && wants_[i]; }
  /// Hands over the gradient of input i; several uses of a value add up. The tensor may be shared afterwards.
  void give(size_t i, Tensor gradient);

 private:
  friend class Tape;
  std::vector<Tensor> outputs_;
  std::vector<bool> wants_;
  std::vector<Tensor> given_;
};

/// Prefixes Node::scope while it lives; modules open one around their forward.
class ScopeName {
 public:
  explicit ScopeName(const std::string& name);
  ~ScopeName();
  ScopeName(const ScopeName&) = delete;
  ScopeName& operator=(const ScopeName&) = delete;

 private:
  size_t length_;
};

}  // namespace mith
