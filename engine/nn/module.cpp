#include "engine/nn/module.h"

namespace mith {
namespace {

/// FNV-1a of a module's path: every module draws from a stream of its own, wherever it stands in the network.
uint32_t stream_number(const std::string& path) {
  uint32_t hash = 2166136261u;
  for (char c : path) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return hash;
}

std::string join(const std::string& prefix, const std::string& name) {
  return prefix.empty() ? name : prefix + "." + name;
}

}  // namespace

Tensor Module::operator()(const Tensor& x, Context& context) {
  ScopeName const scope(name_);
  return forward(x, context);
}

Parameter& Module::add_parameter(const std::string& name, const Shape& shape, OuterLayout layout) {
  own_.emplace_back(name, std::make_unique<Parameter>(Parameter{Tensor::zeros(shape), layout, true, false}));
  return *own_.back().second;
}

Parameter& Module::add_buffer(const std::string& name, Tensor value) {
  own_.emplace_back(name, std::make_unique<Parameter>(Parameter{std::move(value), {}, false, true}));
  return *own_.back().second;
}

void Module::collect(const std::string& prefix, std::vector<Named>& all) const {
  for (auto const& [name, parameter] : own_) all.push_back({join(prefix, name), parameter.get()});
  for (auto const& child : children_) child.module->collect(join(prefix, child.name), all);
}

std::vector<Module::Named> Module::parameters() const {
  std::vector<Named> all;
  collect("", all);
  return all;
}

std::vector<Module::Named> Module::trainable() const {
  std::vector<Named> all = parameters();
  std::erase_if(all, [](const Named& n) { return n.parameter->buffer || !n.parameter->trainable; });
  return all;
}

int64_t Module::parameter_count() const {
  int64_t count = 0;
  for (auto const& [name, parameter] : parameters())
    if (!parameter->buffer) count += parameter->value.numel();
  return count;
}

void Module::to(Device device) {
  for (auto const& [name, parameter] : parameters()) parameter->value = parameter->value.to(device);
}

void Module::cast(DType dtype) {
  for (auto const& [name, parameter] : parameters())
    if (parameter->value.dtype() == DType::f32 || parameter->value.dtype() == DType::f64)
      parameter->value = parameter->value.cast(dtype);
}

void Module::initialise(uint64_t seed) { initialise_tree("", seed); }

void Module::initialise_tree(const std::string& prefix, uint64_t seed) {
  initialise_own(DrawKey{.seed = seed, .step = stream_number(prefix), .purpose = Purpose::initialise});
  for (auto const& child : children_) child.module->initialise_tree(join(prefix, child.name), seed);
}

}  // namespace mith
