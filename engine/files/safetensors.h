// safetensors both ways. The only place that knows PyTorch's layouts: a parameter's declared OuterLayout is executed
// here.
#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "engine/nn/module.h"

namespace mith {

/// A tensor as the file has it (outer layout), on the cpu.
struct StoredTensor {
  std::string name;
  Tensor value;  ///< F32, F64, BF16 (as f32), F16 (as f32), I32, I64, U8
};

struct SafetensorsFile {
  std::map<std::string, std::string> metadata;
  std::vector<StoredTensor> tensors;
  const Tensor* find(const std::string& name) const;
};

/// Throws UsageError, naming the file, on anything that is not a well-formed safetensors file: header length, JSON,
/// overlapping or out-of-range offsets, a shape that does not match its bytes, an unknown type.
SafetensorsFile read_safetensors(const std::filesystem::path&);
void write_safetensors(const std::filesystem::path&, const std::vector<StoredTensor>&,
                       const std::map<std::string, std::string>& metadata);

/// A copy of the values in the outer layout, on the cpu, and back. The inverse throws UsageError if the shape does not
/// match.
Tensor to_outer(const Tensor& held, const OuterLayout&);
Tensor to_held(const Tensor& outer, const OuterLayout&, const Shape& held_shape);

/// Copies of all parameters and buffers of a module, in their outer layout.
std::vector<StoredTensor> state_of(const Module&);
struct LoadReport {
  std::vector<std::string> missing;     ///< of the module, not in the file (num_batches_tracked may be)
  std::vector<std::string> unexpected;  ///< in the file, not of the module
  std::vector<std::string> mismatched;  ///< "fc.weight: file [5, 128], network [3, 128]"
};
/// Copies matching tensors into the module, after it has adapted them. With `strict`, throws UsageError naming the
/// first difference, before anything is changed; NaN or infinite weights always do.
LoadReport load_state(Module&, const SafetensorsFile&, const std::string& file_name, bool strict = true);

}  // namespace mith
