// Prologue and epilogue as kernels apply them, one element at a time. Include after kernels/launch/launch.h.
#pragma once
#include "kernels/providers/provider.h"

namespace mith::MITH_SPACE {

template <class R>
MITH_DEVICE R activate(Activation activation, R v) {
  return activation == Activation::relu ? kmax(v, R(0)) : v;
}

/// An input element of storage type T as the prologue lets the kernel see it, in R.
template <class R, class T>
MITH_DEVICE R read_through(const Prologue& p, const T* x, int64_t index, int64_t channel) {
  R v = static_cast<R>(x[index]);
  if (p.scale) v *= static_cast<R>(static_cast<const T*>(p.scale)[channel]);
  if (p.shift) v += static_cast<R>(static_cast<const T*>(p.shift)[channel]);
  return activate(p.activation, v);
}

/// Applies the epilogue to the result `r` of (row, column), stores it in y and returns the sign bit, which the caller
/// packs. Statistics are left to a pass over y.
template <class R, class T>
MITH_DEVICE bool store_through(const Epilogue& e, R r, int64_t row, int64_t column, int64_t columns, T* y) {
  int64_t const dense = row * columns + column;
  int64_t const index = row * (e.row_pitch ? e.row_pitch : columns) + column;
  if (e.bias) r += static_cast<R>(static_cast<const T*>(e.bias)[column]);
  if (e.residual) r += static_cast<R>(static_cast<const T*>(e.residual)[index]);
  bool const positive = r > 0;
  r = activate(e.activation, r);
  if (e.mask_bits) r *= static_cast<R>(e.mask_bits[dense >> 3] >> (dense & 7) & 1);
  if (e.accumulate) r += static_cast<R>(y[index]);
  y[index] = static_cast<T>(r);
  return positive;
}

}  // namespace mith::MITH_SPACE
