// One operator of a plan: asks the planner for its memory, then runs in it.
#pragma once
#include <memory>

#include "engine/frozen/planner.h"

namespace mith::frozen {

/// A plan's memory while it runs.
class Memory {
 public:
  Memory(const Planner& planner, Tensor arena) : planner_(planner), arena_(std::move(arena)) {}
  Tensor images, input_gradient;  ///< of the plan's batch size
  bool backward_follows = false;  ///< whether steps must keep what their backward pass reads

  void* at(Buffer) const;
  void* address(const Place&) const;
  /// Its first element, of the type that the place has.
  template <class T = float>
  T* at(const Place& p) const {
    check(p.dtype == dtype_of<T>, "frozen: ", name_of(p.dtype), " elements read as ", name_of(dtype_of<T>));
    return static_cast<T*>(address(p));
  }
  /// A dense value as a tensor that shares its memory.
  Tensor tensor(const Place&, const Shape&) const;
  const Stream& stream() const { return arena_.stream(); }

 private:
  const Planner& planner_;
  Tensor arena_;
};

/// The least that a pass of a step computes and moves.
struct Cost {
  int64_t flops = 0, bytes = 0;
};

class Step {
 public:
  explicit Step(const Operator& o) : operator_(o) {}
  virtual ~Step() = default;
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;
  /// Asks for memory: forward in the operators' order, backward in the opposite one, if a gradient flows to the output.
  virtual void plan_forward(Planner&) = 0;
  virtual void plan_backward(Planner&) = 0;
  virtual void forward(const Memory&) = 0;
  virtual void backward(const Memory&) = 0;

  const Operator& what() const { return operator_; }
  /// Who computes it, for tables: a provider in each direction, "pass" over memory, "eager", ...
  virtual std::string by() const { return "pass"; }
  virtual bool in_place() const { return false; }  ///< nothing is computed, nothing moves
  /// Bytes kept from the forward to the backward pass, beside the values themselves.
  virtual size_t kept_bytes() const { return 0; }
  /// Of the products of a direction; passes over memory count nothing.
  virtual int64_t flops(bool /*backward*/) const { return 0; }
  bool has_backward = false;
  Cost forward_cost, backward_cost;  ///< as planned

 protected:
  const Operator& operator_;
};

std::unique_ptr<Step> make_product_step(const Operator&);  ///< convolutions, dense layers; else null
std::unique_ptr<Step> make_channel_step(const Operator&);  ///< activations, gates and means; else null
std::unique_ptr<Step> make_token_step(const Operator&);    ///< layer norms and attention; else null
std::unique_ptr<Step> make_step(const Graph&, const Operator&);

/// f(T()) for the type T of f32 or bf16 elements.
template <class F>
void with_type(DType type, F f) {
  type == DType::bf16 ? f(bf16()) : f(float());
}

/// y = x * scale + shift and, with `relu`, its positive part; `signs` may be null.
void affine_relu(const Memory&, const Place& y, void* signs, const Place& x, const Affine&, bool relu);
/// dx (+)= dy * scale where `signs`, unless null, has a bit.
void affine_relu_gradient(const Memory&, const Planner::Target& dx, const Place& dy, const void* signs,
                          const Tensor& scale = {});
/// What signs take, in bytes.
size_t bytes_of_signs(const Place&);

/// The gradient of a value that a step passes on unchanged. `from` is where the output's lies; the value's lies there
/// too, or is copied.
class PassedOn {
 public:
  void plan(Planner&, int output, const Place& from, int value, bool may_share = true);
  void run(const Memory&) const;

 private:
  Place from_;
  Planner::Target to_;
  bool copies_ = false;
};

/// The gradient of an input whose kernel writes it, and cannot add: through scratch where it must be added.
class Written {
 public:
  void plan(Planner&, int value);
  const Place& place() const { return place_; }
  void finish(const Memory&) const;

 private:
  Planner::Target target_;
  Place place_;
};

/// A step of one input whose backward kernel writes a dense gradient.
class WritingStep : public Step {
 public:
  using Step::Step;
  void plan_forward(Planner& p) final {
    x_ = p.read(operator_.inputs[0]);
    y_ = p.write(operator_.output);
    keep(p);
  }
  void plan_backward(Planner& p) final {
    dy_ = p.gradient(operator_.output);
    dx_.plan(p, operator_.inputs[0]);
    hold(p);
  }
  void backward(const Memory& m) final {
    write(m, dx_.place(), dy_);
    dx_.finish(m);
  }

 protected:
  virtual void keep(Planner&) {}  ///< asks for what the forward pass needs besides
  virtual void hold(Planner&) {}  ///< for what the backward pass reads again
  virtual void write(const Memory&, const Place& dx, const Place& dy) const = 0;
  Place x_, y_;

 private:
  Place dy_;
  Written dx_;
};

}  // namespace mith::frozen
