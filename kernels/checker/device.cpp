#include "kernels/checker/device.h"

#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "kernels/checker/memory.h"
#include "kernels/checker/sanitizers.h"
#include "kernels/launch/error.h"

namespace mith::checker {
namespace {

/// More work than this is not held back: what is to be freed waits in the queue too.
constexpr size_t most_queued = 256;

struct Queue {
  std::recursive_mutex mutex;  ///< host threads may share the device
  std::deque<std::function<void()>> work;
  uint64_t launches = 0;
};

Queue& queue() {
  static auto* const the_queue = new Queue;  // tensors with static lifetime may be released after main
  return *the_queue;
}

using Lock = std::lock_guard<std::recursive_mutex>;

void enqueue(std::function<void()> work) {
  Lock const lock(queue().mutex);
  queue().work.push_back(std::move(work));
  if (queue().work.size() > most_queued) synchronize();
}

uint64_t seed_of_environment() {
  const char* const text = std::getenv("MITH_SIMT_SEED");
  return text ? std::strtoull(text, nullptr, 10) : 0;
}

uint64_t& the_seed() {
  static uint64_t value = seed_of_environment();
  return value;
}

/// What cudaLaunchKernel would refuse.
void validate(const Grid& g) {
  check(g.threads.count() >= 1 && g.threads.count() <= 1024 && g.threads.z <= 64, g.name, ": a block of ", g.threads.x,
        " x ", g.threads.y, " x ", g.threads.z, " threads is none that CUDA runs");
  check(g.blocks.count() >= 1 && g.blocks.x <= 0x7FFFFFFF && g.blocks.y <= 65535 && g.blocks.z <= 65535, g.name,
        ": a grid of ", g.blocks.x, " x ", g.blocks.y, " x ", g.blocks.z, " blocks is none that CUDA runs");
  check(g.dynamic_shared <= (227 << 10), g.name, ": ", g.dynamic_shared, " bytes of shared memory are too many");
}

}  // namespace

void* allocate(size_t bytes, const char* label) {
  Lock const lock(queue().mutex);
  return Arena::instance().allocate(bytes, label);
}

void release(void* memory) {
  Lock const lock(queue().mutex);  // not enqueue(), which may run a kernel, which may throw
  if (memory) queue().work.push_back([memory] { Arena::instance().release(memory); });
}

void launch(Grid grid) {
  validate(grid);
  uint64_t const number = queue().launches++;
  enqueue([grid = std::move(grid), number] {
    run_grid(grid, seed(), number);
    std::string const damage = Arena::instance().damage();
    check(damage.empty(), grid.name, " wrote outside its tensors: ", damage);
  });
}

void copy(void* destination, const void* source, size_t bytes, Copy kind) {
  if (kind == Copy::device_to_host) {
    Lock const lock(queue().mutex);
    synchronize();
    Arena::Access const access;
    std::memcpy(destination, source, bytes);
  } else if (kind == Copy::host_to_device) {
    auto const* const first = static_cast<const char*>(source);
    auto held = std::make_shared<std::vector<char>>(first, first + bytes);
    enqueue([=] { std::memcpy(destination, held->data(), bytes); });
  } else {
    enqueue([=] { std::memmove(destination, source, bytes); });
  }
}

void fill(void* destination, int byte, size_t bytes) {
  enqueue([=] { std::memset(destination, byte, bytes); });
}

void synchronize() {
  Lock const lock(queue().mutex);
  if (queue().work.empty()) return;
  Arena::Access const access;
  while (!queue().work.empty()) {
    std::function<void()> const work = std::move(queue().work.front());
    queue().work.pop_front();
    work();
  }
}

uint64_t seed() { return the_seed(); }
void set_seed(uint64_t value) {
  synchronize();
  the_seed() = value;
}

std::string describe() { return cat("checker: every CUDA thread a fiber, seed ", seed()); }

}  // namespace mith::checker
