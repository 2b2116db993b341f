// Caching, stream-ordered device memory with an optional limit.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "kernels/launch/error.h"
#include "kernels/launch/runtime.h"

namespace mith {

/// Thrown when a device or the limit has no room; the message names the operator, the request, what is held, and what
/// would help.
struct OutOfMemory : Error {
  using Error::Error;
};

struct MemoryStatistics {
  size_t in_use = 0;  ///< bytes handed out
  size_t cached = 0;  ///< bytes kept for reuse
  size_t peak = 0;    ///< highest in_use so far
  size_t asked = 0;   ///< how often the device had to give memory: nothing cached would do
};

void* allocate(Device, size_t bytes);
void release(Device, void*) noexcept;
MemoryStatistics memory_statistics(Device);
/// Refuses allocations that would bring in_use above `bytes`; 0 lifts the limit.
void set_memory_limit(Device, size_t bytes);
/// Gives cached blocks back to the device.
void trim_memory(Device);

/// Names the operator that is running, for the error message; nests.
class OperatorScope {
 public:
  explicit OperatorScope(const char* name);
  ~OperatorScope();
  OperatorScope(const OperatorScope&) = delete;
  OperatorScope& operator=(const OperatorScope&) = delete;
  static const char* current();

 private:
  const char* previous_;
};

}  // namespace mith
