// The state of a universal attack on disk, every number to the bit.
#include <array>

#include "attacks/universal.h"
#include "engine/files/safetensors.h"

namespace mith {
namespace {

/// The counts in the order in which they are stored.
template <class U>
auto counts_of(U& u) {
  return std::array{&u.steps, &u.adam.steps, &u.fooled, &u.queries, &u.gradients, &u.nan_gradients};
}

}  // namespace

void write_universal(const std::filesystem::path& path, const Universal& u, const std::string& spec) {
  std::vector<int64_t> counts{u.finished};
  for (const int64_t* count : counts_of(u)) counts.push_back(*count);
  std::vector<double> numbers{u.objective, u.adam.rate};
  for (const CraftingPass& pass : u.passes) numbers.insert(numbers.end(), {pass.objective, pass.fooled});
  std::vector<StoredTensor> tensors{
      {"counts", Tensor::from(counts, {std::ssize(counts)}, Device::cpu)},
      {"numbers", Tensor::from(numbers, {std::ssize(numbers)}, Device::cpu)},
      {"values", u.values.to(Device::cpu)},
  };
  if (u.current.defined()) tensors.push_back({"current", u.current.to(Device::cpu)});
  if (u.adam.exp_avg.defined()) {
    tensors.push_back({"exp_avg", u.adam.exp_avg.to(Device::cpu)});
    tensors.push_back({"exp_avg_sq", u.adam.exp_avg_sq.to(Device::cpu)});
  }
  write_safetensors(path, tensors, {{"attack", spec}});
}

Universal read_universal(const std::filesystem::path& path, const std::string& spec) {
  SafetensorsFile const file = read_safetensors(path);
  auto const attack = file.metadata.find("attack");
  require(attack != file.metadata.end() && attack->second == spec, path.string(), ": not the state of ", spec);
  auto const named = [&](const char* name) {
    const Tensor* const t = file.find(name);
    require(t, path.string(), ": '", name, "' is missing");
    return *t;
  };
  Universal u;
  auto const targets = counts_of(u);
  Tensor const counts = named("counts"), numbers = named("numbers");
  require(counts.dtype() == DType::i64 && counts.numel() == std::ssize(targets) + 1 && numbers.dtype() == DType::f64 &&
              numbers.numel() >= 2 && numbers.numel() % 2 == 0,
          path.string(), ": not the state of a universal attack");
  auto const whole = counts.to_host<int64_t>();
  u.finished = whole[0] != 0;
  for (size_t i = 0; i < targets.size(); ++i) *targets[i] = whole[i + 1];
  auto const real = numbers.to_host<double>();
  u.objective = real[0];
  u.adam.rate = real[1];
  for (size_t i = 2; i < real.size(); i += 2) u.passes.push_back({.objective = real[i], .fooled = real[i + 1]});
  u.values = named("values").to(default_device());
  if (file.find("current")) u.current = named("current").to(default_device());
  if (file.find("exp_avg")) {
    u.adam.exp_avg = named("exp_avg").to(default_device());
    u.adam.exp_avg_sq = named("exp_avg_sq").to(default_device());
  }
  return u;
}

}  // namespace mith
