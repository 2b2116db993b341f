// Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
// The same (key, image, element) gives the same draw on every device, for any batch size, order and thread count.
#pragma once
#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define MITH_ANYWHERE __host__ __device__ __forceinline__
#else
#define MITH_ANYWHERE inline __attribute__((always_inline))
#endif

namespace mith {

/// What a stream of draws is for; one number each so that no two uses share draws.
enum class Purpose : uint16_t { initialise = 1, shuffle, dropout, augment, attack_start, phantom, split, noise };

/// Names a stream of random numbers. Every draw is further keyed by an image id and an element index.
struct DrawKey {
  uint64_t seed = 0;
  uint32_t step = 0;  ///< iteration, or epoch in training
  uint16_t restart = 0;
  Purpose purpose = Purpose::initialise;
  uint16_t stream = 0;  ///< distinguishes users of one purpose: a layer's number, an attack's hash
  MITH_ANYWHERE DrawKey with(Purpose p, uint16_t s = 0) const {
    DrawKey k = *this;
    k.purpose = p;
    k.stream = s;
    return k;
  }
};

struct Philox4 {
  uint32_t v[4];
};

/// The bare generator: ten rounds over a 128-bit counter and a 64-bit key.
MITH_ANYWHERE Philox4 philox4x32(Philox4 counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    uint64_t const p0 = uint64_t(0xD2511F53u) * counter.v[0];
    uint64_t const p1 = uint64_t(0xCD9E8D57u) * counter.v[2];
    counter = {{uint32_t(p1 >> 32) ^ counter.v[1] ^ key0, uint32_t(p1), uint32_t(p0 >> 32) ^ counter.v[3] ^ key1,
                uint32_t(p0)}};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

/// 32 random bits for one element of one image. Elements count in NHWC order, weights in PyTorch's order.
MITH_ANYWHERE uint32_t random_bits(const DrawKey& key, uint64_t image, uint64_t element) {
  // Counter: element (34 bits through the lane), image, step, restart/purpose/stream; key: the seed.
  Philox4 const counter{{uint32_t(element >> 2), uint32_t(image), key.step ^ (uint32_t(image >> 32) * 0x9E3779B9u),
                         (uint32_t(key.restart) << 24) ^ (uint32_t(key.purpose) << 16) ^ uint32_t(key.stream)}};
  Philox4 const r = philox4x32(counter, uint32_t(key.seed), uint32_t(key.seed >> 32));
  // Selected, not indexed: an index would keep loops from vectorising and send r to memory on a GPU.
  uint32_t const low = element & 1 ? r.v[1] : r.v[0], high = element & 1 ? r.v[3] : r.v[2];
  return element & 2 ? high : low;
}

/// Uniform in [0, 1) with 24 random bits; exact in float.
MITH_ANYWHERE float uniform(const DrawKey& key, uint64_t image, uint64_t element) {
  return float(random_bits(key, image, element) >> 8) * (1.0f / 16777216.0f);
}

/// Standard normal by Box-Muller from elements 2k and 2k+1 of the uniform stream.
MITH_ANYWHERE float normal(const DrawKey& key, uint64_t image, uint64_t element) {
  uint64_t const pair = element & ~uint64_t(1);
  float const u1 = (float(random_bits(key, image, pair) >> 8) + 1.0f) * (1.0f / 16777216.0f);  // in (0, 1]
  float const u2 = uniform(key, image, pair + 1);
  float const radius = sqrtf(-2.0f * logf(u1)), angle = 6.283185307179586f * u2;
  return radius * ((element & 1) ? sinf(angle) : cosf(angle));
}

}  // namespace mith
