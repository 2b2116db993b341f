// What several operators share: operand checks, scratch memory for providers, column sums, the ReLU mask.
#pragma once
#include <string>
#include <vector>

#include "engine/tensor/allocator.h"
#include "engine/tensor/tensor.h"
#include "kernels/providers/provider.h"

namespace mith {

/// Throws Error naming the operator unless x has this many dimensions.
void check_rank(const char* op, const Tensor& x, int rank);
/// ... unless a and b agree in shape, element type and device.
void check_same(const char* op, const Tensor& a, const Tensor& b);
/// ... unless `operand`, e.g. "bias", has this shape and x's element type and device.
void check_operand(const char* op, const char* what, const Tensor& operand, const Shape& shape, const Tensor& x);

/// Elements before the last dimension: the rows of x seen as a matrix of its channels.
inline int64_t rows_of(const Tensor& x) { return x.dim(-1) ? x.numel() / x.dim(-1) : 0; }

/// x [..., c] -> [c]: the bias gradient. Groups of rows, then their partial sums in double.
Tensor column_sums(const Tensor& x);
/// The gradient in front of a ReLU, from the gradient behind it and its output.
Tensor relu_mask(const Tensor& gradient, const Tensor& output);

/// A new tensor like x, filled by body(pointer) with x's element type.
template <class Body>
Tensor filled(const Shape& shape, const Tensor& x, Body body) {
  Tensor y = Tensor::empty(shape, x.dtype(), x.device());
  dispatch(x.dtype(), [&](auto zero) { body(y.data<decltype(zero)>()); });
  return y;
}

/// factor * the sums over each image's pixels of x [n, ..., c], or of x * other if that is defined -> [n,c].
Tensor image_sums(const Tensor& x, const Tensor& other = {}, double factor = 1);

/// "3x3", for attributes.
inline std::string pair_text(int64_t a, int64_t b) { return std::to_string(a) + "x" + std::to_string(b); }

/// Scratch for one provider call, from the engine's allocator.
class ScratchMemory {
 public:
  explicit ScratchMemory(Device device) : device_(device) {}
  ScratchMemory(const ScratchMemory&) = delete;
  ScratchMemory& operator=(const ScratchMemory&) = delete;
  ~ScratchMemory() {
    for (void* block : blocks_) release(device_, block);
  }
  Scratch scratch() { return {&take, this}; }

 private:
  static void* take(void* self, size_t bytes) {
    auto* const memory = static_cast<ScratchMemory*>(self);
    memory->blocks_.push_back(allocate(memory->device_, bytes));
    return memory->blocks_.back();
  }
  Device device_;
  std::vector<void*> blocks_;
};

}  // namespace mith
