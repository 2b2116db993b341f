#include "apps/common/interrupt.h"

#include <atomic>

namespace mith {
namespace {

std::atomic<bool> asked{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may touch nothing else");

void ask(int) { asked = true; }

}  // namespace

InterruptGuard::InterruptGuard() : on_interrupt_{}, on_terminate_{} {
  struct sigaction once {};
  once.sa_handler = ask;
  once.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;  // a write in progress goes on
  sigemptyset(&once.sa_mask);
  sigaction(SIGINT, &once, &on_interrupt_);
  sigaction(SIGTERM, &once, &on_terminate_);
}

InterruptGuard::~InterruptGuard() {
  sigaction(SIGINT, &on_interrupt_, nullptr);
  sigaction(SIGTERM, &on_terminate_, nullptr);
}

bool interrupted() { return asked; }

}  // namespace mith
