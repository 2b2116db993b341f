// A step along one direction of a separable basis of images, shared by the attacks and the kernel.
#pragma once
#include <cstdint>

namespace mith {

/// step * q, q[row][j] = rows[u][row] * columns[k][j] with the tables that basis_step is given; k numbers a column
/// frequency and its channel. A step of 0 goes nowhere.
struct BasisStep {
  int32_t u = 0, k = 0;
  float step = 0;
};

/// What becomes of one image: `taken` is added to its state for good, `tried` to the candidate only.
struct BasisMove {
  BasisStep taken, tried;
};

}  // namespace mith
