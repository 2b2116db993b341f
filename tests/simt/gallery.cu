// Wrong kernels, each beside its correct twin. test_simt.py runs them on the checker, plain and under the sanitizers,
// and expects the mistake to be named with the lines marked "here: <name>".
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "kernels/launch/launch.h"

namespace mith::MITH_SPACE {

constexpr int threads = 64;

/// y[i] = x[n - 1 - i], through shared memory.
template <bool right>
__global__ void reverse(float* y, const float* x) {
  __shared__ float held[threads];
  int const i = static_cast<int>(threadIdx.x);
  held[i] = x[i];  // here: missing_barrier write
  if (right) __syncthreads();
  y[i] = held[threads - 1 - i];  // here: missing_barrier read
}

/// Only some of the threads come to the first barrier.
template <bool right>
__global__ void divergent(float* y, const float* x) {
  __shared__ float held[threads];
  int const i = static_cast<int>(threadIdx.x);
  held[i] = x[i];
  if (right) {
    __syncthreads();
  } else if (i < 40) {
    __syncthreads();  // here: divergent_barrier one
  } else {
    __syncthreads();  // here: divergent_barrier other
  }
  y[i] = held[threads - 1 - i];
}

/// Some threads wait for the block, the others for their warp.
template <bool right>
__global__ void stuck(float* y, const float* x) {
  int const i = static_cast<int>(threadIdx.x);
  float v = x[threads - 1 - i];
  if (!right && i >= 33)
    v = __shfl_sync(0xffffffffu, v, i % 32);  // here: stuck warp
  else
    __syncthreads();  // here: stuck barrier
  y[i] = v;
}

/// Thread n - 1 writes one element too far.
template <bool right>
__global__ void out_of_bounds(float* y, const float* x) {
  __shared__ float held[threads];
  int const i = static_cast<int>(threadIdx.x);
  held[right ? i : i + 1] = x[i];  // here: shared_out_of_bounds
  __syncthreads();
  y[i] = held[threads - 1 - i];
}

/// The same in dynamic shared memory.
template <bool right>
__global__ void dynamic_out_of_bounds(float* y, const float* x) {
  DYNAMIC_SHARED(float, held);
  int const i = static_cast<int>(threadIdx.x);
  held[right ? i : i + 1] = x[i];  // here: dynamic_out_of_bounds
  __syncthreads();
  y[i] = held[threads - 1 - i];
}

/// A tensor's end is overrun.
template <bool right>
__global__ void overrun(float* y, const float* x) {
  int const i = static_cast<int>(threadIdx.x);
  y[right ? i : i + 1] = x[threads - 1 - i];  // here: tensor_overrun
  if (!right && i == 0) y[0] = x[threads - 1];
}

/// The last element of the shared array is read but never written.
template <bool right>
__global__ void uninitialised(float* y, const float* x) {
  __shared__ float held[threads];
  int const i = static_cast<int>(threadIdx.x);
  if (right || i > 0) held[i] = x[i];
  __syncthreads();
  y[i] = held[threads - 1 - i];
}

/// Neighbours exchange within a warp, which was safe while warps ran in lockstep.
template <bool right>
__global__ void warp_synchronous(float* y, const float* x) {
  __shared__ volatile float held[threads];
  int const i = static_cast<int>(threadIdx.x);
  held[i] = x[i];  // here: warp_synchronous write
  if (right) __syncwarp();
  float const other = held[i ^ 31];  // here: warp_synchronous read
  if (right) __syncwarp();
  held[i] = other;
  __syncthreads();
  y[i] = held[(i + 32) % threads];
}

/// y[0] = the sum of x, with the number of warps written down as a constant.
template <bool right>
__global__ void block_size(float* y, const float* x) {
  __shared__ float partial[32];
  int const i = static_cast<int>(threadIdx.x);
  float v = 0;
  for (int j = i; j < threads; j += static_cast<int>(blockDim.x)) v += x[j];
  int const lanes = static_cast<int>(blockDim.x) < 32 ? static_cast<int>(blockDim.x) : 32;
  unsigned const mask = 0xffffffffu >> (32 - lanes);
  for (int offset = 16; offset > 0; offset /= 2) {
    float const other = __shfl_down_sync(mask, v, static_cast<unsigned>(offset));
    if (i % 32 + offset < lanes) v += other;
  }
  if (i % 32 == 0) partial[i / 32] = v;
  __syncthreads();
  if (i > 0) return;
  int const warps = right ? static_cast<int>(blockDim.x + 31) / 32 : 2;  // here: block_size
  float sum = 0;
  for (int w = 0; w < warps; ++w) sum += partial[w];
  y[0] = sum;
}

/// Lanes leave early, the others still vote, exchange in groups of eight and meet at a barrier: all of it legal.
__global__ void legal(float* y, const float* x) {
  int const i = static_cast<int>(threadIdx.x);
  if (i >= 40) return;
  unsigned const mask = i < 32 ? 0xffffffffu : 0xffu;
  unsigned const even = __ballot_sync(mask, i % 2 == 0);
  float const group = __shfl_xor_sync(mask, x[i], 7, 8);
  float const first = __shfl_sync(mask, x[i], 0, 8);
  float const before = __shfl_up_sync(mask, x[i], 1, 8);
  __syncthreads();
  bool const all = __all_sync(mask, i < 40) && __any_sync(mask, i % 32 == 5) && even == (0x55555555u & mask);
  y[i] = all ? group + 100 * first + 10000 * before : -1;
}

template <bool right>
std::vector<float> run(void (*kernel)(float*, const float*), unsigned block = threads, size_t dynamic = 0) {
  Stream const stream{Device::simt};
  std::vector<float> values(threads);
  for (int i = 0; i < threads; ++i) values[static_cast<size_t>(i)] = static_cast<float>(i + 1);
  size_t const bytes = threads * sizeof(float);
  auto* const x = static_cast<float*>(raw_allocate(Device::simt, bytes, "the gallery's x"));
  auto* const y = static_cast<float*>(raw_allocate(Device::simt, bytes, "the gallery's y"));
  copy_bytes(stream, x, values.data(), bytes, Copy::host_to_device);
  launch_tile(stream, {"gallery_kernel", threads}, dim3(1), dim3(block), dynamic, kernel, y, x);
  copy_bytes(stream, values.data(), y, bytes, Copy::device_to_host);
  raw_release(Device::simt, x);
  raw_release(Device::simt, y);
  synchronize(stream);
  return values;
}

/// Empty if y is x reversed, else what is wrong.
std::string reversed(const std::vector<float>& y) {
  int wrong = 0;
  for (int i = 0; i < threads; ++i) wrong += !(y[static_cast<size_t>(i)] == static_cast<float>(threads - i));
  return wrong ? cat(wrong, " of ", threads, " elements are wrong") : "";
}

template <bool right>
std::string sums_at_every_block_size() {
  std::string wrong;
  for (unsigned block : {1u, 32u, 64u, 96u, 256u, 1024u})
    if (!(run<right>(block_size<right>, block)[0] == threads * (threads + 1) / 2)) wrong += cat(" ", block);
  return wrong.empty() ? "" : "wrong at block sizes" + wrong;
}

/// Host code reads device memory instead of copying it.
template <bool right>
std::string host_read() {
  Stream const stream{Device::simt};
  auto* const x = static_cast<volatile float*>(raw_allocate(Device::simt, 16, "the gallery's weights"));
  float value = 0;
  if (right)
    copy_bytes(stream, &value, const_cast<float*>(x), sizeof value, Copy::device_to_host);
  else
    value = x[2];  // here: host_read
  raw_release(Device::simt, const_cast<float*>(x));
  synchronize(stream);
  return value == value ? "device memory was not NaN" : "";
}

std::string legal_result() {
  std::vector<float> const y = run<true>(legal);
  for (int i = 0; i < 40; ++i) {
    int const group = i / 8 * 8, before = i % 8 ? i - 1 : i;
    float const expected = float(group + 7 - i % 8 + 1) + 100 * float(group + 1) + 10000 * float(before + 1);
    if (!(y[static_cast<size_t>(i)] == expected)) return cat("element ", i, " is ", y[static_cast<size_t>(i)]);
  }
  return "";
}

template <bool right>
std::map<std::string, std::function<std::string()>> cases() {
  return {
      {"missing_barrier", [] { return reversed(run<right>(reverse<right>)); }},
      {"divergent_barrier", [] { return reversed(run<right>(divergent<right>)); }},
      {"stuck", [] { return reversed(run<right>(stuck<right>)); }},
      {"shared_out_of_bounds", [] { return reversed(run<right>(out_of_bounds<right>)); }},
      {"dynamic_out_of_bounds",
       [] { return reversed(run<right>(dynamic_out_of_bounds<right>, threads, threads * sizeof(float))); }},
      {"tensor_overrun", [] { return reversed(run<right>(overrun<right>)); }},
      {"uninitialised", [] { return reversed(run<right>(uninitialised<right>)); }},
      {"warp_synchronous", [] { return reversed(run<right>(warp_synchronous<right>)); }},
      {"block_size", [] { return sums_at_every_block_size<right>(); }},
      {"host_read", [] { return host_read<right>(); }},
      {"legal", [] { return legal_result(); }},
  };
}

}  // namespace mith::MITH_SPACE

/// gallery NAME right|wrong FIRST_SEED SEEDS: prints a line for every seed that failed; exit code 1 if any did.
int main(int argc, char** argv) {
  if (argc != 5) return std::fprintf(stderr, "usage: gallery NAME right|wrong FIRST_SEED SEEDS\n"), 2;
  using namespace mith;
  auto const all = std::strcmp(argv[2], "right") == 0 ? simt::cases<true>() : simt::cases<false>();
  if (std::strcmp(argv[1], "list") == 0) {
    for (auto const& [name, run] : all) std::printf("%s\n", name.c_str());
    return 0;
  }
  auto const found = all.find(argv[1]);
  if (found == all.end()) return std::fprintf(stderr, "no kernel named %s\n", argv[1]), 2;
  int failures = 0;
  uint64_t const first = std::strtoull(argv[3], nullptr, 10), count = std::strtoull(argv[4], nullptr, 10);
  for (uint64_t seed = first; seed < first + count; ++seed) {
    std::string what;
    try {
      checker::set_seed(seed);
      what = found->second();
    } catch (const Error& e) {
      what = e.what();
    }
    if (what.empty()) continue;
    std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed), what.c_str());
    ++failures;
  }
  return failures > 0;
}
