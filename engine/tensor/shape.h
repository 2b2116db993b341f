// Shapes: up to six dimensions, by value.
#pragma once
#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "kernels/launch/error.h"

namespace mith {

class Shape {
 public:
  static constexpr int most = 6;
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(std::span(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const int64_t> dims) {
    check(dims.size() <= most, "a shape has at most ", most, " dimensions, not ", dims.size());
    for (int64_t d : dims) {
      check(d >= 0, "negative dimension ", d);
      dims_[rank_++] = d;
    }
  }
  int rank() const { return rank_; }
  /// Dimension i; negative counts from the end.
  int64_t operator[](int i) const { return dims_[i < 0 ? rank_ + i : i]; }
  int64_t numel() const {
    int64_t n = 1;
    for (int i = 0; i < rank_; ++i) n *= dims_[i];
    return n;
  }
  /// The same shape with dimension i replaced.
  Shape with(int i, int64_t value) const {
    Shape s = *this;
    s.dims_[i < 0 ? rank_ + i : i] = value;
    return s;
  }
  std::span<const int64_t> dims() const { return {dims_.data(), static_cast<size_t>(rank_)}; }
  bool operator==(const Shape& o) const {
    return rank_ == o.rank_ && std::equal(dims_.begin(), dims_.begin() + rank_, o.dims_.begin());
  }
  std::string str() const {  ///< "[2, 28, 28, 1]"
    std::string s = "[";
    for (int i = 0; i < rank_; ++i) s += (i ? ", " : "") + std::to_string(dims_[i]);
    return s + "]";
  }

 private:
  std::array<int64_t, most> dims_{};
  int rank_ = 0;
};

inline std::ostream& operator<<(std::ostream& out, const Shape& s) { return out << s.str(); }

}  // namespace mith
