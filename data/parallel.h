// Loops over images on all cores of the host.
#pragma once
#include <atomic>
#include <cstdint>
#include <exception>

#include "kernels/launch/runtime.h"

namespace mith {

/// Calls body(i) for every i in [0, n), in any order on any thread; a handful stays on this one. After the loop the
/// first exception is rethrown.
template <class Body>
void for_each_image(int64_t n, Body body) {
  std::exception_ptr error;
  std::atomic<bool> failed = false;
#pragma omp parallel for schedule(dynamic, 8) num_threads(threads()) if (n > 16)
  for (int64_t i = 0; i < n; ++i) {
    if (failed) continue;
    try {
      body(i);
    } catch (...) {
      if (!failed.exchange(true)) error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace mith
