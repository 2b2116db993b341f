// A frozen network for one batch size: its steps, and the arena that they share.
#pragma once
#include <chrono>
#include <memory>
#include <vector>

#include "engine/frozen/step.h"

namespace mith::frozen {

/// When steps ran, for tables and traces.
struct Timeline {
  struct Span {
    const Step* step;
    bool backward;
    double begin, end;  ///< seconds since the origin
  };
  std::chrono::steady_clock::time_point origin = std::chrono::steady_clock::now();
  std::vector<Span> spans;
};

class Plan {
 public:
  Plan(const Graph&, int64_t batch);
  int64_t batch() const { return planner_.batch(); }
  const std::vector<std::unique_ptr<Step>>& steps() const { return steps_; }
  size_t arena_bytes() const { return arena_bytes_; }
  /// Providers' scratch is for so many threads of the cpu device.
  bool has_scratch_for(int threads) const { return threads <= threads_; }

  /// Logits [batch,k] of images [batch,h,w,c]. `arena` holds at least arena_bytes(), and must be left alone until
  /// backward() has run, if that is to follow.
  Tensor forward(const Tensor& images, const Tensor& arena, bool backward_follows);
  /// The gradient [batch,h,w,c] of sum(logits * cotangent), once after each forward pass.
  Tensor backward(const Tensor& cotangent);

  /// Null: steps are not noted.
  void record(Timeline* timeline) { timeline_ = timeline; }

 private:
  Cost cost_of(const Step&, bool backward) const;  ///< of the step that is being planned
  void run(Step&, bool backward);

  const Graph& graph_;
  int const threads_ = threads();
  Planner planner_;
  std::vector<std::unique_ptr<Step>> steps_;
  size_t arena_bytes_ = 0;
  Place logits_, logits_gradient_;
  bool has_gradient_ = false;
  std::unique_ptr<Memory> memory_;
  Timeline* timeline_ = nullptr;
};

}  // namespace mith::frozen
