// Ctrl-C and SIGTERM while a program has something worth keeping.
#pragma once
#include <csignal>
#include <stdexcept>
#include <string>

namespace mith {

/// The user asked for the end. run_app prints the message as one line and exits with 130.
struct Interrupted : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// While one lives, the first SIGINT or SIGTERM only sets interrupted(); a second one kills as ever.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

 private:
  struct sigaction on_interrupt_, on_terminate_;
};

bool interrupted();

}  // namespace mith
