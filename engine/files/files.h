// Files written so that nothing is ever left half-written: aside, synced, renamed.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "engine/tensor/tensor.h"

namespace mith {

/// Writes a file through `write` into a temporary beside it, syncs and renames; throws UsageError if the folder cannot
/// be written and Error if the disk fills; the target is untouched on any failure.
void write_atomically(const std::filesystem::path&, const std::function<void(std::ostream&)>& write);
void write_text(const std::filesystem::path&, const std::string& text);
std::string read_text(const std::filesystem::path&);  ///< UsageError naming the file if it cannot be read
/// Creates the folder (and parents) and proves that it can be written into; UsageError otherwise.
void make_writable_folder(const std::filesystem::path&);

/// numpy's .npy, version 1.0, little endian, C order; f32, f64, i32, i64, u8.
void write_npy(const std::filesystem::path&, const Tensor&);
template <class T>
void write_npy(const std::filesystem::path& path, const std::vector<T>& values, const Shape& shape) {
  write_npy(path, Tensor::from(values, shape, Device::cpu));
}
Tensor read_npy(const std::filesystem::path&);  ///< on the cpu; UsageError on anything malformed

}  // namespace mith
