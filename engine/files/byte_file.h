// A binary file that is read with suspicion: every length is checked against what is there.
#pragma once
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "engine/tensor/tensor.h"

namespace mith {

class ByteFile {
 public:
  /// Throws UsageError if the file cannot be opened.
  explicit ByteFile(std::filesystem::path);

  /// Throws UsageError "cannot read <file>: <why>".
  [[noreturn]] void fail(const std::string& why) const;
  /// Bytes from the current position to the end.
  uint64_t left() const { return size_ - position_; }
  /// Reads exactly so many bytes, or fails.
  void read(void* destination, uint64_t bytes);
  /// The shape, if its elements fill exactly `bytes`; fails, naming the
  /// subject, on negative or too many dimensions and on overflow.
  Shape checked_shape(const std::vector<int64_t>& dims, size_t element_size, uint64_t bytes,
                      const std::string& subject) const;
  /// A tensor on the cpu from the bytes at the current position.
  Tensor read_tensor(const Shape&, DType);

 private:
  std::filesystem::path path_;
  std::ifstream in_;
  uint64_t size_ = 0, position_ = 0;
};

}  // namespace mith
