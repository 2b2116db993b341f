// A module's parameters and buffers as PyTorch lays them out, and back.
#include <algorithm>
#include <cmath>
#include <set>

#include "engine/files/safetensors.h"

namespace mith {
namespace {

/// [outer, a, b] to [outer, b, a], elements of any size.
void swap_inner(const char* from, char* to, int64_t outer, int64_t a, int64_t b, size_t element) {
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < a; ++i)
      for (int64_t j = 0; j < b; ++j)
        std::copy_n(from + ((o * a + i) * b + j) * static_cast<int64_t>(element), element,
                    to + ((o * b + j) * a + i) * static_cast<int64_t>(element));
}

/// All layouts differ from PyTorch's by one transposition: held [outer, space, channels, inner], stored [outer,
/// channels, space, inner].
struct Transposition {
  int64_t outer, space, channels, inner = 1;
};

Transposition transposition(const Shape& held, const OuterLayout& layout) {
  if (layout.kind == OuterLayout::oihw) {
    check(held.rank() == 4, "an oihw parameter has four dimensions, not ", held);
    return {held[0], held[1] * held[2], held[3]};
  }
  if (layout.kind == OuterLayout::linear_before_unflatten) {
    check(held.rank() >= 1 && held[0] == layout.c * layout.h * layout.w, "a linear layer before an unfolded [",
          layout.h, ", ", layout.w, ", ", layout.c, "] has no parameter of shape ", held);
    return {1, layout.h * layout.w, layout.c, held.rank() == 1 ? 1 : held[1]};
  }
  check(held.rank() == 2 && held[1] == layout.c * layout.h * layout.w, "a linear layer after a flattened [", layout.h,
        ", ", layout.w, ", ", layout.c, "] has no weight of shape ", held);
  return {held[0], layout.h * layout.w, layout.c};
}

Shape outer_shape(const Shape& held, const OuterLayout& layout) {
  if (layout.kind != OuterLayout::oihw) return held;
  check(held.rank() == 4, "an oihw parameter has four dimensions, not ", held);
  return {held[0], held[3], held[1], held[2]};
}

bool is_floating(DType type) { return type == DType::f32 || type == DType::f64; }

bool all_finite(const Tensor& value) {
  return dispatch(value.dtype(), [&](auto zero) {
    using T = decltype(zero);
    std::span<const T> const values(value.data<T>(), static_cast<size_t>(value.numel()));
    return std::ranges::all_of(values, [](T v) { return std::isfinite(v); });
  });
}

bool all_at_least_zero(const Tensor& value) {
  return std::ranges::all_of(value.to_host<float>(), [](float v) { return v >= 0; });
}

/// PyTorch counts batches in a scalar that only momentum=None reads: no file needs it.
bool may_be_missing(const std::string& name) { return name.ends_with("num_batches_tracked"); }

/// "fc.weight: file [5, 128], network [3, 128]", or "" if the tensor fits.
std::string mismatch(const std::string& name, const Tensor& stored, const Parameter& parameter) {
  Shape const expected = outer_shape(parameter.value.shape(), parameter.layout);
  if (stored.shape() != expected) return cat(name, ": file ", stored.shape(), ", network ", expected);
  DType const has = stored.dtype(), wants = parameter.value.dtype();
  bool const converts = has == wants || (is_floating(has) && is_floating(wants));
  return converts ? "" : cat(name, ": file ", name_of(has), ", network ", name_of(wants));
}

struct Pending {
  Parameter* parameter;
  Tensor value;
};

/// A network's names may have several spellings (Module::adapt): which of two tensors is meant would be a guess.
void refuse_doubles(const std::vector<StoredTensor>& tensors, const std::string& file) {
  std::set<std::string> names;
  for (const StoredTensor& tensor : tensors)
    require(names.insert(tensor.name).second, file, " has ", tensor.name, " twice");
}

void refuse_differences(const LoadReport& report, const std::string& file) {
  if (!report.mismatched.empty())
    throw UsageError(cat(file, " does not fit this network: ", report.mismatched.front()));
  if (!report.missing.empty())
    throw UsageError(cat(file, " does not fit this network: it has no ", report.missing.front()));
  if (!report.unexpected.empty())
    throw UsageError(cat(file, " does not fit this network, which has no ", report.unexpected.front()));
}

}  // namespace

Tensor to_outer(const Tensor& held, const OuterLayout& layout) {
  Tensor const source = held.to(Device::cpu);
  if (layout.kind == OuterLayout::plain) return source.clone();
  Transposition const t = transposition(held.shape(), layout);
  Tensor outer = Tensor::empty(outer_shape(held.shape(), layout), held.dtype(), Device::cpu);
  swap_inner(static_cast<const char*>(source.raw()), static_cast<char*>(outer.raw()), t.outer, t.space, t.channels,
             size_of(held.dtype()) * static_cast<size_t>(t.inner));
  return outer;
}

Tensor to_held(const Tensor& outer, const OuterLayout& layout, const Shape& held_shape) {
  Shape const expected = outer_shape(held_shape, layout);
  require(outer.shape() == expected, "weights of shape ", outer.shape(), " where ", expected, " is needed");
  Tensor source = outer.to(Device::cpu);
  if (layout.kind == OuterLayout::plain) return source;
  Transposition const t = transposition(held_shape, layout);
  Tensor held = Tensor::empty(held_shape, outer.dtype(), Device::cpu);
  swap_inner(static_cast<const char*>(source.raw()), static_cast<char*>(held.raw()), t.outer, t.channels, t.space,
             size_of(outer.dtype()) * static_cast<size_t>(t.inner));
  return held;
}

std::vector<StoredTensor> state_of(const Module& module) {
  std::vector<StoredTensor> state;
  for (auto const& [name, parameter] : module.parameters())
    state.push_back({name, to_outer(parameter->value, parameter->layout)});
  return state;
}

LoadReport load_state(Module& module, const SafetensorsFile& source, const std::string& file_name, bool strict) {
  SafetensorsFile file = source;
  module.adapt(file.tensors);
  refuse_doubles(file.tensors, file_name);
  LoadReport report;
  std::vector<Pending> pending;
  std::set<std::string> known;
  for (auto const& [name, parameter] : module.parameters()) {
    known.insert(name);
    const Tensor* const stored = file.find(name);
    if (!stored) {
      if (!may_be_missing(name)) report.missing.push_back(name);
      continue;
    }
    std::string const difference = mismatch(name, *stored, *parameter);
    if (!difference.empty()) {
      report.mismatched.push_back(difference);
      continue;
    }
    Tensor value = *stored;
    if (is_floating(value.dtype())) {
      value = value.cast(parameter->value.dtype());
      require(all_finite(value), file_name, ": ", name, " holds NaN or infinite values");
      require(!name.ends_with("running_var") || all_at_least_zero(value), file_name, ": ", name,
              " holds negative variances");
    }
    pending.push_back({parameter, to_held(value, parameter->layout, parameter->value.shape())});
  }
  for (const StoredTensor& tensor : file.tensors)
    if (!known.contains(tensor.name) && !may_be_missing(tensor.name)) report.unexpected.push_back(tensor.name);
  if (strict) refuse_differences(report, file_name);
  for (Pending& p : pending) p.parameter->value.copy_from(p.value);
  return report;
}

}  // namespace mith
