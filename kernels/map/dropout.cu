// Dropout keyed by image id and element; forward and backward are one kernel, because the mask is drawn again.
#include "kernels/launch/bytes.h"
#include "kernels/launch/divide.h"
#include "kernels/launch/launch.h"
#include "kernels/launch/philox.h"

namespace mith::MITH_SPACE {

template <class T>
__global__ void dropout(T* __restrict__ y, const T* __restrict__ x, const int64_t* __restrict__ ids, DrawKey key,
                        float p, T factor, Divider per_image, uint32_t n) {
  for (auto i : grid_stride(n)) {
    uint32_t const image = per_image.quotient(static_cast<uint32_t>(i));
    uint32_t const element = static_cast<uint32_t>(i) - image * per_image.divisor;
    T const kept = x[i] * factor;
    y[i] = uniform(key, static_cast<uint64_t>(ids[image]), element) < p ? T(0) : kept;
  }
}

template <class T>
void launch_dropout(const Stream& stream, T* y, const T* x, const int64_t* ids, DrawKey key, double p, int64_t images,
                    int64_t per_image) {
  int64_t const n = images * per_image;
  if (n == 0) return;
  launch_map(stream, {"dropout", n, bytes_of<T>(2, n)}, dropout<T>, y, x, ids, key, p, 1 / (1 - p),
             Divider(per_image, n, "dropout"), n);
}

KERNEL_FLOATS(dropout, launch_dropout);

}  // namespace mith::MITH_SPACE
