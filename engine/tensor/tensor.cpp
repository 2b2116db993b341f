#include "engine/tensor/tensor.h"

#include <atomic>

#include "engine/tensor/allocator.h"
#include "kernels/launch/table.h"

namespace mith {
namespace {

Device the_default_device = Device::cpu;

uint64_t next_id() {
  static std::atomic<uint64_t> counter{1};
  return counter.fetch_add(1, std::memory_order_relaxed);
}

template <class T>
const Kernel<T*, double, int64_t> fill{"fill", dtype_of<T>};
const Kernel<double*, const float*, int64_t> cast_f32_f64{"cast_f32_f64"};
const Kernel<float*, const double*, int64_t> cast_f64_f32{"cast_f64_f32"};
const Kernel<bf16*, const float*, int64_t> cast_f32_bf16{"cast_f32_bf16"};
const Kernel<float*, const bf16*, int64_t> cast_bf16_f32{"cast_bf16_f32"};

}  // namespace

Device default_device() { return the_default_device; }

void set_default_device(Device device) {
  require(available(device), "device ", name_of(device), " is not available here");
  the_default_device = device;
}

const Stream& stream_of(Device device) {
  static const Stream streams[] = {{Device::cpu}, {Device::simt}, {Device::cuda}};
  return streams[static_cast<int>(device)];
}

struct Tensor::Storage {
  Storage(Device d, size_t bytes) : device(d), memory(allocate(d, bytes)) {}
  ~Storage() { release(device, memory); }
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  Device device;
  void* memory;
};

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) {
  Tensor t;
  t.shape_ = shape;
  t.dtype_ = dtype;
  t.id_ = next_id();
  t.storage_ = std::make_shared<Storage>(device, t.bytes());
  return t;
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
  t.fill_zero();
  return t;
}

Tensor Tensor::full(const Shape& shape, double value, DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
  dispatch(dtype, [&](auto zero) {
    using T = decltype(zero);
    fill<T>(t.stream(), t.data<T>(), value, t.numel());
  });
  return t;
}

Tensor Tensor::from_bytes(const void* values, const Shape& shape, DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
  copy_bytes(t.stream(), t.raw(), values, t.bytes(), Copy::host_to_device);
  return t;
}

Device Tensor::device() const {
  check(defined(), "device of an undefined tensor");
  return storage_->device;
}

void* Tensor::raw() const {
  check(defined(), "data of an undefined tensor");
  return static_cast<char*>(storage_->memory) + offset_;
}

Tensor Tensor::view(const Shape& shape) const {
  check(shape.numel() == numel(), "view of ", shape_, " as ", shape);
  Tensor t = *this;
  t.shape_ = shape;
  t.id_ = next_id();
  return t;
}

Tensor Tensor::rows(int64_t first, int64_t count) const {
  check(shape_.rank() > 0 && first >= 0 && count >= 0 && first + count <= shape_[0], "rows ", first, " to ",
        first + count, " of ", shape_);
  Tensor t = *this;
  size_t const row = shape_[0] ? bytes() / static_cast<size_t>(shape_[0]) : 0;
  t.offset_ += static_cast<size_t>(first) * row;
  t.shape_ = shape_.with(0, count);
  t.id_ = next_id();
  return t;
}

Tensor Tensor::part(size_t offset, const Shape& shape, DType type) const {
  Tensor t = *this;
  t.offset_ += offset;
  t.shape_ = shape;
  t.dtype_ = type;
  t.id_ = next_id();
  check(offset + t.bytes() <= bytes(), "part of ", t.bytes(), " bytes from ", offset, " of a tensor of ", bytes());
  return t;
}

Tensor Tensor::clone() const {
  Tensor t = empty_like(*this);
  t.copy_from(*this);
  return t;
}

Tensor Tensor::to(Device target) const {
  if (device() == target) return *this;
  Tensor t = empty(shape_, dtype_, target);
  t.copy_from(*this);
  return t;
}

Tensor Tensor::cast(DType target) const {
  if (dtype_ == target) return *this;
  Tensor t = empty(shape_, target, device());
  if (dtype_ == DType::f32 && target == DType::f64)
    cast_f32_f64(stream(), t.data<double>(), data<float>(), numel());
  else if (dtype_ == DType::f64 && target == DType::f32)
    cast_f64_f32(stream(), t.data<float>(), data<double>(), numel());
  else if (dtype_ == DType::f32 && target == DType::bf16)
    cast_f32_bf16(stream(), t.data<bf16>(), data<float>(), numel());
  else if (dtype_ == DType::bf16 && target == DType::f32)
    cast_bf16_f32(stream(), t.data<float>(), data<bf16>(), numel());
  else
    throw Error(cat("no cast from ", name_of(dtype_), " to ", name_of(target)));
  return t;
}

void Tensor::copy_from(const Tensor& source) {
  check(shape_ == source.shape_ && dtype_ == source.dtype_, "copy of ", source.shape_, " ", name_of(source.dtype_),
        " into ", shape_, " ", name_of(dtype_));
  Device const to = device(), from = source.device();
  if (to == from)
    copy_bytes(stream(), raw(), source.raw(), bytes(), Copy::device_to_device);
  else if (from == Device::cpu)
    copy_bytes(stream(), raw(), source.raw(), bytes(), Copy::host_to_device);
  else if (to == Device::cpu)
    copy_bytes(source.stream(), raw(), source.raw(), bytes(), Copy::device_to_host);
  else
    copy_from(source.to(Device::cpu));
}

void Tensor::fill_zero() { fill_bytes(stream(), raw(), 0, bytes()); }

void Tensor::to_host_bytes(void* destination) const {
  copy_bytes(stream(), destination, raw(), bytes(), Copy::device_to_host);
}

}  // namespace mith
