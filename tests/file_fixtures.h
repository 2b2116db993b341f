// What the tests of files share.
#pragma once
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "engine/nn/module.h"

namespace mith::test {

/// A fresh folder that goes away with the test.
struct Folder {
  std::filesystem::path path;
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "mith-test-XXXXXX").string();
    if (!mkdtemp(name.data())) throw Error("no temporary folder");
    path = name;
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::filesystem::path operator/(const char* name) const { return path / name; }
  int64_t entries() const {
    return std::distance(std::filesystem::directory_iterator(path), std::filesystem::directory_iterator());
  }
};

template <class F>
std::string usage_error(F&& f) {
  try {
    f();
  } catch (const UsageError& e) {
    return e.what();
  }
  return "no UsageError";
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

inline void put(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// Every f32 parameter and buffer, in order.
inline std::vector<std::vector<float>> values_of(const Module& module) {
  std::vector<std::vector<float>> all;
  for (auto const& [name, parameter] : module.parameters())
    if (parameter->value.dtype() == DType::f32) all.push_back(parameter->value.to_host<float>());
  return all;
}

/// Values 0, 1, 2, ... so that every element's place shows.
inline Tensor counted(const Shape& shape) {
  std::vector<float> values(static_cast<size_t>(shape.numel()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  return Tensor::from(values, shape);
}

}  // namespace mith::test
