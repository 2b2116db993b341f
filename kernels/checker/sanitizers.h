// What AddressSanitizer and ThreadSanitizer must be told about fibers; nothing in other builds. The checker itself is
// compiled without ThreadSanitizer's instrumentation (MITH_TSAN says that the rest has it), or its bookkeeping would
// order the threads of a block.
#pragma once
#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define MITH_NO_ASAN __attribute__((no_sanitize_address))
#else
#define MITH_NO_ASAN
#endif
#if defined(MITH_TSAN)
#include <sanitizer/tsan_interface.h>
extern "C" {
void __tsan_acquire(void* address);
void __tsan_release(void* address);
}
#endif

namespace mith::checker {

/// What came before happens_before(object) is visible after happens_after(object), as across a barrier.
inline void happens_after([[maybe_unused]] void* object) {
#if defined(MITH_TSAN)
  __tsan_acquire(object);
#endif
}
inline void happens_before([[maybe_unused]] void* object) {
#if defined(MITH_TSAN)
  __tsan_release(object);
#endif
}

inline void poison([[maybe_unused]] const void* memory, [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(memory, bytes);
#endif
}
inline void unpoison([[maybe_unused]] const void* memory, [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(memory, bytes);
#endif
}

/// memset that no sanitizer watches.
MITH_NO_ASAN inline void fill_unwatched(void* memory, unsigned char value, size_t bytes) {
#if defined(__x86_64__)
  asm volatile("rep stosb" : "+D"(memory), "+c"(bytes) : "a"(value) : "memory");
#else
  auto* const p = static_cast<volatile unsigned char*>(memory);
  for (size_t i = 0; i < bytes; ++i) p[i] = value;
#endif
}

}  // namespace mith::checker
