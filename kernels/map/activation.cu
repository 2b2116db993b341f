// Activations, forward next to backward.
#include "kernels/launch/bytes.h"
#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

template <class T>
__global__ void relu_forward(T* __restrict__ y, const T* __restrict__ x, int64_t n) {
  for (auto i : grid_stride(n)) y[i] = kmax(x[i], T(0));
}

/// The output decides: where it is positive, or NaN, the gradient passes.
template <class T>
__global__ void relu_backward(T* __restrict__ dx, const T* __restrict__ dy, const T* __restrict__ y, int64_t n) {
  for (auto i : grid_stride(n)) dx[i] = y[i] <= T(0) ? T(0) : dy[i];
}

template <class T>
void launch_relu_forward(const Stream& stream, T* y, const T* x, int64_t n) {
  launch_map(stream, {"relu_forward", n, bytes_of<T>(2, n)}, relu_forward<T>, y, x, n);
}

template <class T>
void launch_relu_backward(const Stream& stream, T* dx, const T* dy, const T* y, int64_t n) {
  launch_map(stream, {"relu_backward", n, bytes_of<T>(3, n)}, relu_backward<T>, dx, dy, y, n);
}

KERNEL_FLOATS(relu_forward, launch_relu_forward);
KERNEL_FLOATS(relu_backward, launch_relu_backward);

}  // namespace mith::MITH_SPACE
