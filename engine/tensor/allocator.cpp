// Caching allocator: freed blocks wait in a list for their size class. Work on one device runs in one stream, so a
// block may be handed out again as soon as it is freed: later work is ordered behind the work that still uses it.
// The checker's device gets every tensor a block of its own, of exactly its size, so that it sees where tensors end.
#include "engine/tensor/allocator.h"

#include <bit>
#include <map>
#include <mutex>
#include <new>
#include <unordered_map>
#include <vector>

namespace mith {
namespace {

/// Eight classes a power of two: at most 12.5 % is lost to rounding.
size_t size_class(size_t bytes) {
  size_t const least = 256;
  if (bytes <= least) return least;
  size_t const step = std::bit_floor(bytes - 1) / 8;
  return step < least ? (bytes + least - 1) / least * least : (bytes + step - 1) / step * step;
}

std::string megabytes(size_t bytes) { return cat((bytes + (1 << 20) - 1) >> 20, " MiB"); }

class Pool {
 public:
  explicit Pool(Device device) : device_(device) {}

  void* allocate(size_t bytes) {
    std::lock_guard const lock(mutex_);
    size_t const size = device_ == Device::simt ? bytes : size_class(bytes);
    if (limit_ && statistics_.in_use + size > limit_) fail(size, cat("the limit of ", megabytes(limit_)));
    void* const block = take(size);
    sizes_[block] = size;
    statistics_.in_use += size;
    statistics_.peak = std::max(statistics_.peak, statistics_.in_use);
    return block;
  }

  void release(void* block) noexcept {
    if (!block) return;
    std::lock_guard const lock(mutex_);
    auto const it = sizes_.find(block);
    size_t const size = it->second;
    sizes_.erase(it);
    statistics_.in_use -= size;
    if (device_ == Device::simt) return raw_release(device_, block);
    statistics_.cached += size;
    free_[size].push_back(block);
  }

  void trim() {
    std::lock_guard const lock(mutex_);
    trim_locked();
  }

  MemoryStatistics statistics() {
    std::lock_guard const lock(mutex_);
    return statistics_;
  }

  void set_limit(size_t bytes) {
    std::lock_guard const lock(mutex_);
    limit_ = bytes;
  }

 private:
  void* take(size_t size) {
    auto const it = free_.find(size);
    if (it != free_.end() && !it->second.empty()) {
      void* const block = it->second.back();
      it->second.pop_back();
      statistics_.cached -= size;
      return block;
    }
    ++statistics_.asked;
    try {
      return raw_allocate(device_, size, OperatorScope::current());
    } catch (const std::bad_alloc&) {
      trim_locked();
    }
    try {
      return raw_allocate(device_, size, OperatorScope::current());
    } catch (const std::bad_alloc&) {
      fail(size, "the device's memory");
    }
  }

  [[noreturn]] void fail(size_t size, const std::string& what) {
    throw OutOfMemory(cat(OperatorScope::current(), ": ", megabytes(size), " more do not fit into ", what, " on ",
                          name_of(device_), " (", megabytes(statistics_.in_use), " in use, ",
                          megabytes(statistics_.cached), " cached); a smaller --batch or --size would help"));
  }

  void trim_locked() {
    for (auto& [size, blocks] : free_) {
      for (void* block : blocks) raw_release(device_, block);
      blocks.clear();
    }
    statistics_.cached = 0;
  }

  Device const device_;
  std::mutex mutex_;
  std::map<size_t, std::vector<void*>> free_;
  std::unordered_map<void*, size_t> sizes_;
  MemoryStatistics statistics_;
  size_t limit_ = 0;
};

Pool& pool(Device device) {
  // Never destroyed: tensors with static lifetime may be released after main. Still reachable, so no leak is reported.
  static Pool* const pools[] = {new Pool(Device::cpu), new Pool(Device::simt), new Pool(Device::cuda)};
  return *pools[static_cast<int>(device)];
}

thread_local const char* current_operator = "allocation";

}  // namespace

void* allocate(Device device, size_t bytes) { return pool(device).allocate(bytes); }
void release(Device device, void* block) noexcept { pool(device).release(block); }
MemoryStatistics memory_statistics(Device device) { return pool(device).statistics(); }
void set_memory_limit(Device device, size_t bytes) { pool(device).set_limit(bytes); }
void trim_memory(Device device) { pool(device).trim(); }

OperatorScope::OperatorScope(const char* name) : previous_(current_operator) { current_operator = name; }
OperatorScope::~OperatorScope() { current_operator = previous_; }
const char* OperatorScope::current() { return current_operator; }

}  // namespace mith
