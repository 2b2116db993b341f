// A tensor: shared device memory, a shape and an element type. Always dense and row-major; images are NHWC.
//
// Copies of a Tensor share memory. Values are not tracked here: a tape (engine/autograd/tape.h) recognises them by
// id().
#pragma once
#include <memory>
#include <span>
#include <vector>

#include "engine/tensor/shape.h"
#include "kernels/launch/dtype.h"
#include "kernels/launch/runtime.h"

namespace mith {

/// The device on which new tensors are made, and each device's stream. One per process.
Device default_device();
void set_default_device(Device);
const Stream& stream_of(Device);

class Tensor {
 public:
  Tensor() = default;

  static Tensor empty(const Shape&, DType = DType::f32, Device = default_device());
  static Tensor zeros(const Shape&, DType = DType::f32, Device = default_device());
  /// Every element `value` (floating types only).
  static Tensor full(const Shape&, double value, DType = DType::f32, Device = default_device());
  template <class T>
  static Tensor from(std::span<const T> values, const Shape& shape, Device device = default_device()) {
    check(static_cast<int64_t>(values.size()) == shape.numel(), values.size(), " values for shape ", shape);
    return from_bytes(values.data(), shape, dtype_of<T>, device);
  }
  template <class T>
  static Tensor from(const std::vector<T>& values, const Shape& shape, Device device = default_device()) {
    return from(std::span<const T>(values), shape, device);
  }
  static Tensor empty_like(const Tensor& t) { return empty(t.shape(), t.dtype(), t.device()); }
  static Tensor zeros_like(const Tensor& t) { return zeros(t.shape(), t.dtype(), t.device()); }

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  int64_t dim(int i) const { return shape_[i]; }
  int64_t numel() const { return shape_.numel(); }
  DType dtype() const { return dtype_; }
  Device device() const;
  const Stream& stream() const { return stream_of(device()); }
  size_t bytes() const { return static_cast<size_t>(numel()) * size_of(dtype_); }
  /// Identifies the value for the tape; a view and a clone are new values.
  uint64_t id() const { return id_; }
  /// True if no other tensor shares the memory.
  bool sole_owner() const { return storage_.use_count() == 1; }

  /// Device pointers. data<T>() throws if T is not the element type.
  template <class T>
  T* data() const {
    check(dtype_ == dtype_of<T>, "tensor of ", name_of(dtype_), " read as ", name_of(dtype_of<T>));
    return static_cast<T*>(raw());
  }
  void* raw() const;

  /// The same memory under another shape with as many elements.
  Tensor view(const Shape&) const;
  /// Rows [first, first + count) of the leading dimension; shares memory.
  Tensor rows(int64_t first, int64_t count) const;
  /// What lies `offset` bytes from its beginning, under any shape and type; shares memory.
  Tensor part(size_t offset, const Shape&, DType) const;
  Tensor clone() const;
  Tensor to(Device) const;        ///< this tensor if it is already there
  Tensor cast(DType) const;       ///< between floating types; this tensor if it is of that type
  void copy_from(const Tensor&);  ///< same shape and type, any device
  void fill_zero();

  /// Host copy; waits for the device.
  template <class T>
  std::vector<T> to_host() const {
    check(dtype_ == dtype_of<T>, "tensor of ", name_of(dtype_), " read as ", name_of(dtype_of<T>));
    std::vector<T> values(static_cast<size_t>(numel()));
    to_host_bytes(values.data());
    return values;
  }
  void to_host_bytes(void* destination) const;
  static Tensor from_bytes(const void* values, const Shape&, DType, Device);

 private:
  struct Storage;
  std::shared_ptr<Storage> storage_;
  size_t offset_ = 0;  // bytes
  Shape shape_;
  DType dtype_ = DType::f32;
  uint64_t id_ = 0;
};

/// Calls f with a value of the tensor's floating element type: dispatch(x.dtype(), [&]<class T>(T) { ... }).
template <class F>
decltype(auto) dispatch(DType type, F&& f) {
  if (type == DType::f64) return f(double{});
  check(type == DType::f32, "operator needs f32 or f64, not ", name_of(type));
  return f(float{});
}

}  // namespace mith
