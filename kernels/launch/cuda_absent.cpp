// What the cuda device answers in a build without nvcc: there is none.
#if !defined(MITH_HAVE_CUDA)
#include "kernels/launch/cuda_device.h"
#include "kernels/launch/error.h"

namespace mith::cuda {
namespace {
[[noreturn]] void absent() { throw UsageError("this build has no CUDA: nvcc was not found when it was configured"); }
}  // namespace

int device_count() { return 0; }
std::string device_name() { return "not built"; }
void* allocate(size_t) { absent(); }
void release(void*) noexcept {}
void copy(const Stream&, void*, const void*, size_t, Copy) { absent(); }
void fill(const Stream&, void*, int, size_t) { absent(); }
void synchronize(const Stream&) { absent(); }

}  // namespace mith::cuda
#endif
