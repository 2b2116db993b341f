// The simt device: memory that host code cannot read, and work that runs when somebody waits for it.
//
//   MITH_SIMT_SEED=n   resumes threads in a random order that depends on n; 0, the default, in their own order
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "kernels/checker/block.h"
#include "kernels/launch/runtime.h"

namespace mith::checker {

/// Memory between guard bands, filled with NaN, without access outside kernels and copies: host code that touches it
/// ends the program with a message that names `label`. Throws std::bad_alloc beyond the arena's 16 GiB.
void* allocate(size_t bytes, const char* label);
/// Takes effect in the queue's order: kernels queued before may still use the memory.
void release(void*);

/// Queues a kernel. Throws Error at once if the grid is none that CUDA would launch.
void launch(Grid);
/// Copies queue too; the bytes of a host source are taken at once. A copy to the host waits for everything before it.
void copy(void* destination, const void* source, size_t bytes, Copy);
void fill(void* destination, int byte, size_t bytes);
/// Runs what is queued. Throws Error for what a kernel did wrong: waiting in vain, or writing outside every allocation.
void synchronize();

uint64_t seed();
void set_seed(uint64_t);
/// "simt, seed 3".
std::string describe();

}  // namespace mith::checker
