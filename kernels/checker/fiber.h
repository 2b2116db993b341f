// A fiber: a stack of its own that the checker enters and leaves at will. One thread of a CUDA block runs on each.
#pragma once
#include <cstddef>
#include <memory>

namespace mith::checker {

class Fiber {
 public:
  /// `colour` staggers the stacks, or a thousand of them would share one set of the cache.
  explicit Fiber(size_t colour);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// The next resume() calls `entry` at the top of an empty stack. `entry` must end with leave(), never return.
  void start(void (*entry)());
  /// Runs the fiber until it suspends or leaves.
  void resume();
  /// Called on a fiber: back to whoever resumed it.
  static void suspend();
  /// The same for the last time, until start() is called again.
  [[noreturn]] static void leave();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mith::checker
