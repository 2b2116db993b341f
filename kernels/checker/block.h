// Runs a CUDA grid thread for thread: every thread of a block on a fiber, in an order drawn from a seed, blocks one
// after the other. What the threads of a block may do together (barriers, shuffles, votes) is counted here, and what
// would hang or be undefined on a GPU is reported with the lines where the threads stand.
#pragma once
#include <cstdint>
#include <functional>
#include <source_location>
#include <string>

namespace mith::checker {

struct Index3 {
  unsigned x = 0, y = 0, z = 0;
};
struct Extent3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr Extent3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  uint64_t count() const { return uint64_t(x) * y * z; }
};

/// What CUDA calls threadIdx, blockIdx, blockDim and gridDim.
struct Builtins {
  Index3 thread, block;
  Extent3 block_dim, grid_dim;
  void* dynamic_shared = nullptr;
};
extern Builtins builtins;

struct Grid {
  std::string name;  ///< the kernel's, for reports
  Extent3 blocks, threads;
  size_t dynamic_shared = 0;   ///< bytes
  std::function<void()> body;  ///< the kernel with its arguments; called once a thread
};

/// Runs the grid. Seed 0 resumes threads in their own order, any other seed in a random one that is a function of the
/// seed, the launch's number and the block. Throws Error with kernel, block and source lines if threads wait for
/// each other in vain.
void run_grid(const Grid&, uint64_t seed, uint64_t launch_number);

using Where = std::source_location;

/// __syncthreads: returns when every thread of the block that has not returned from the kernel has called it.
void sync_threads(Where where = Where::current());

/// One step that the lanes in `mask` take together; lanes that have returned from the kernel are excused.
struct WarpStep {
  enum class Kind : uint8_t { sync, exchange, vote };
  Kind kind = Kind::sync;
  uint32_t mask = 0;
  uint64_t value[2] = {0, 0};  ///< what this lane gives; a vote reads the first
  int source = 0;              ///< whose value this lane wants
};
struct WarpResult {
  uint64_t value[2] = {0, 0};  ///< all ones if the source lane did not take part: undefined on a GPU
  uint32_t ballot = 0;         ///< the lanes that voted with a value other than 0
};
WarpResult step_together(const WarpStep&, Where where);

/// This thread's lane.
int lane();
/// Lanes of this warp that exist in the block.
int warp_width();

}  // namespace mith::checker
