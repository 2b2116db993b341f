// Modules: named parameters and buffers, children, a forward function.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "engine/autograd/tape.h"
#include "kernels/launch/philox.h"

namespace mith {

/// How a parameter looks outside, in PyTorch's and safetensors' world. The file layer executes this declaration.
struct OuterLayout {
  enum Kind : uint8_t {
    plain,                   ///< as it is
    oihw,                    ///< held as OHWI, stored as OIHW
    linear_after_flatten,    ///< columns held in HWC order, stored in CHW order
    linear_before_unflatten  ///< rows held in HWC order, stored in CHW order
  } kind = plain;
  int64_t c = 0, h = 0, w = 0;  ///< of the linear ones: what was flattened, or will be unfolded
};

/// A tensor that is trained (parameter) or only kept (buffer).
struct Parameter {
  Tensor value;
  OuterLayout layout;
  bool trainable = true;  ///< false: frozen, or a buffer
  bool buffer = false;
};

/// What a forward pass needs besides its input.
struct Context {
  bool training = false;  ///< batch statistics and dropout on
  bool update_statistics = true;
  bool fixed_statistics = false;  ///< batch norms use their running statistics while training too, and leave them alone
  Tensor ids;                     ///< i64 [n]: keys the draws of each image; needed while training
  DrawKey key;
  std::map<std::string, Tensor>* features = nullptr;  ///< filled with what feature() is told, when asked for
  uint16_t next_stream = 0;                           ///< numbers the layers that draw

  /// Logits of a head beside the network's own, which only training listens to: the loss is the main head's plus
  /// `weight` times this one's (Szegedy et al. 2015).
  struct Auxiliary {
    Tensor logits;
    double weight;
  };
  std::vector<Auxiliary> auxiliary;  ///< filled by networks that have such heads, while training

  void feature(const std::string& name, const Tensor& value) {
    if (features) (*features)[name] = value;
  }
};

struct StoredTensor;  // engine/files/safetensors.h

class Module {
 public:
  Module() = default;
  virtual ~Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  /// Runs forward() under this module's scope name.
  Tensor operator()(const Tensor& x, Context& context);

  struct Named {
    std::string name;  ///< dotted path, e.g. "layer1.0.conv1.weight"
    Parameter* parameter;
  };
  /// Parameters and buffers of this module and its children, in declaration order.
  std::vector<Named> parameters() const;
  /// Trainable ones only.
  std::vector<Named> trainable() const;
  int64_t parameter_count() const;  ///< elements of the non-buffers
  void to(Device);
  void cast(DType);
  /// Turns tensors of other origin into this module's before they are loaded: another library's names, another image
  /// size. Leaves what it does not know as it is.
  virtual void adapt(std::vector<StoredTensor>&) const {}
  /// Draws all initial values, in PyTorch's element order, each parameter from its own stream.
  void initialise(uint64_t seed);

 protected:
  virtual Tensor forward(const Tensor& x, Context&) = 0;
  virtual void initialise_own(const DrawKey&) {}
  const std::string& name() const { return name_; }  ///< within the parent

  Parameter& add_parameter(const std::string& name, const Shape& shape, OuterLayout layout = {});
  Parameter& add_buffer(const std::string& name, Tensor value);
  /// Children are members of the subclass; they are named here and live as long as it does.
  template <class M>
  M& add(const std::string& name, std::unique_ptr<M> child) {
    M& ref = *child;
    children_.push_back({name, std::move(child)});
    ref.name_ = name;
    return ref;
  }

 private:
  struct Child {
    std::string name;
    std::unique_ptr<Module> module;
  };
  void collect(const std::string& prefix, std::vector<Named>&) const;
  void initialise_tree(const std::string& prefix, uint64_t seed);
  std::string name_;
  std::vector<std::pair<std::string, std::unique_ptr<Parameter>>> own_;
  std::vector<Child> children_;
};

}  // namespace mith
