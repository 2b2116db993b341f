// Storing results on the cpu: the epilogue, a row at a time, in vectors.
#pragma once
#include <cstring>

#include "kernels/host/tile.h"

namespace mith::MITH_SPACE {

/// Where results go: the epilogue's rows and columns; a group writes the columns from `first_column` on.
struct Output {
  float* y;
  Epilogue epilogue;
  int64_t columns;
  int64_t first_column = 0;
  int64_t pitch() const { return epilogue.row_pitch ? epilogue.row_pitch : columns; }
};

typedef int IntVector __attribute__((vector_size(lanes * 4)));

template <class V>
constexpr int width_of = sizeof(V) / sizeof(float);

template <class V>
MITH_DEVICE V load_as(const float* p) {
  V v;
  std::memcpy(&v, p, sizeof(V));
  return v;
}

/// Bits [first, first + width) of a bit array, as the low bits of a word; reads no byte outside them.
template <int width>
MITH_DEVICE unsigned read_bits(const uint8_t* bits, int64_t first) {
  unsigned word = 0;
  int64_t const low = first / 8, high = (first + width - 1) / 8;
  for (int64_t byte = low; byte <= high; ++byte) word |= static_cast<unsigned>(bits[byte]) << (8 * (byte - low));
  return word >> (first % 8);
}

/// Sets bits of an array that was cleared; a byte shared with a neighbour, who may be another worker, is set
/// atomically.
template <int width>
MITH_DEVICE void set_bits(uint8_t* bits, int64_t first, unsigned value) {
  uint8_t* byte = bits + first / 8;
  if (width % 8 == 0 && first % 8 == 0) {
    for (int i = 0; i < width / 8; ++i) byte[i] = static_cast<uint8_t>(value >> (8 * i));
    return;
  }
  for (unsigned rest = value << (first % 8); rest; rest >>= 8, ++byte) {
    if (rest & 255) __atomic_fetch_or(byte, static_cast<uint8_t>(rest & 255), __ATOMIC_RELAXED);
  }
}

MITH_DEVICE unsigned sign_bits(float v) { return v > 0; }
MITH_DEVICE unsigned sign_bits(Vector v) {
  unsigned word = 0;
  for (int i = 0; i < lanes; ++i) word |= static_cast<unsigned>(v[i] > 0) << i;
  return word;
}
MITH_DEVICE float times_bits(float v, unsigned word) { return v * static_cast<float>(word & 1); }
MITH_DEVICE Vector times_bits(Vector v, unsigned word) {
  for (int i = 0; i < lanes; ++i) v[i] *= static_cast<float>(word >> i & 1);
  return v;
}

/// The epilogue of width_of<V> neighbouring results.
template <class V>
MITH_DEVICE void finish(const Output& out, int64_t row, int64_t column, const float* results) {
  Epilogue const& e = out.epilogue;
  int64_t const dense = row * out.columns + column, at = row * out.pitch() + column;
  V v = load_as<V>(results);
  if (e.bias) v += load_as<V>(static_cast<const float*>(e.bias) + column);
  if (e.residual) v += load_as<V>(static_cast<const float*>(e.residual) + at);
  if (e.sign_bits) set_bits<width_of<V>>(e.sign_bits, dense, sign_bits(v));
  if (e.activation == Activation::relu) v = v < 0 ? V{} : v;  // NaN stays
  if (e.mask_bits) v = times_bits(v, read_bits<width_of<V>>(e.mask_bits, dense));
  if (e.accumulate) v += load_as<V>(out.y + at);
  std::memcpy(out.y + at, &v, sizeof(V));
}

/// The epilogue of `count` results of one row; `column` counts from the output's first.
MITH_DEVICE void finish_row(const Output& out, int64_t row, int64_t column, int64_t count, const float* results) {
  int64_t const first = out.first_column + column;
  int64_t c = 0;
  for (; c + lanes <= count; c += lanes) finish<Vector>(out, row, first + c, results + c);
  for (; c < count; ++c) finish<float>(out, row, first + c, results + c);
}

/// Bias and activation only, and columns that are whole vectors: a column of vectors at a time.
inline void finish_simple(const Output& out, const int64_t* row, int64_t rows, int64_t column, int64_t vectors,
                          const float* results, int64_t ld) {
  auto const* const bias = static_cast<const float*>(out.epilogue.bias);
  bool const relu = out.epilogue.activation == Activation::relu;
  for (int64_t v = 0; v < vectors; ++v) {
    int64_t const at = out.first_column + column + v * lanes;
    Vector const b = bias ? load(bias + at) : Vector{};
    for (int64_t r = 0; r < rows; ++r) {
      Vector const sum = load(results + r * ld + v * lanes) + b;
      store(out.y + row[r] * out.columns + at, relu ? (sum < 0 ? Vector{} : sum) : sum);
    }
  }
}

/// The epilogue of a block: `rows` rows of `count` results, `ld` apart; row[r] is each one's place in the output.
inline void finish_block(const Output& out, const int64_t* row, int64_t rows, int64_t column, int64_t count,
                         const float* results, int64_t ld) {
  if (out.epilogue.only_bias_and_activation() && count % lanes == 0)
    return finish_simple(out, row, rows, column, count / lanes, results, ld);
  for (int64_t r = 0; r < rows; ++r) finish_row(out, row[r], column, count, results + r * ld);
}

/// Must run once before the results of a launch are stored.
inline void clear_sign_bits(const Output& out, int64_t rows) {
  if (out.epilogue.sign_bits) std::memset(out.epilogue.sign_bits, 0, static_cast<size_t>((rows * out.columns + 7) / 8));
}

}  // namespace mith::MITH_SPACE
