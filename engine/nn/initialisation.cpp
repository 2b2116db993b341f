#include "engine/nn/initialisation.h"

#include "engine/files/safetensors.h"

namespace mith {

void draw_uniform(Parameter& parameter, double bound, const DrawKey& key, uint64_t which) {
  Tensor const host = parameter.value.to(Device::cpu);
  Tensor outer = to_outer(host, parameter.layout);
  float* const values = outer.data<float>();
  for (int64_t i = 0; i < outer.numel(); ++i)
    values[i] = static_cast<float>(bound * (2.0 * uniform(key, which, static_cast<uint64_t>(i)) - 1.0));
  parameter.value.copy_from(to_held(outer, parameter.layout, parameter.value.shape()));
}

void draw_normal(Parameter& parameter, double deviation, const DrawKey& key) {
  Tensor outer = to_outer(parameter.value.to(Device::cpu), parameter.layout);
  float* const values = outer.data<float>();
  for (int64_t i = 0; i < outer.numel(); ++i)
    values[i] = static_cast<float>(deviation * normal(key, 0, static_cast<uint64_t>(i)));
  parameter.value.copy_from(to_held(outer, parameter.layout, parameter.value.shape()));
}

void fill(Parameter& parameter, float value) {
  parameter.value.copy_from(Tensor::full(parameter.value.shape(), value, DType::f32, parameter.value.device()));
}

}  // namespace mith
