#include "kernels/checker/block.h"

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "kernels/checker/fiber.h"
#include "kernels/checker/sanitizers.h"
#include "kernels/checker/shared_memory.h"
#include "kernels/launch/error.h"

namespace mith::checker {

Builtins builtins;

namespace {

enum class State : uint8_t { ready, at_barrier, in_warp_step, returned };

struct Thread {
  State state = State::ready;
  Index3 index;
  Where where;
  WarpStep step;
  WarpResult result;
};

std::string line_of(const Where& w) {
  std::string_view const path = w.file_name();
  size_t const folder = path.rfind("kernels/");
  return cat(path.substr(folder == std::string_view::npos ? path.rfind('/') + 1 : folder), ":", w.line());
}

bool same_place(const Where& a, const Where& b) {
  return a.line() == b.line() && a.column() == b.column() && a.file_name() == b.file_name();
}

/// xorshift64*: small, and good enough to shuffle with.
class Shuffler {
 public:
  Shuffler(uint64_t seed, uint64_t launch, uint64_t block)
      : ordered_(seed == 0),
        state_(seed * 0x9E3779B97F4A7C15u + launch * 0xD1B54A32D192ED03u + block * 0x2545F4914F6CDD1Du) {
    if (state_ == 0) state_ = 1;
    for (int i = 0; i < 4; ++i) next();
  }
  size_t below(size_t n) { return ordered_ ? 0 : static_cast<size_t>((next() >> 33) % n); }

 private:
  uint64_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545F4914F6CDD1Du;
  }
  bool ordered_;
  uint64_t state_;
};

/// The threads that can run, in the order in which they became able to; a random one or the first is next.
class Ready {
 public:
  void push(int thread) { queue_.push_back(thread); }
  bool empty() const { return first_ == queue_.size(); }
  int pop(Shuffler& shuffler) {
    std::swap(queue_[first_], queue_[first_ + shuffler.below(queue_.size() - first_)]);
    int const thread = queue_[first_++];
    if (empty()) clear();
    return thread;
  }
  void clear() { queue_.clear(), first_ = 0; }

 private:
  std::vector<int> queue_;
  size_t first_ = 0;
};

class Block {
 public:
  void run(const Grid& grid, uint64_t seed, uint64_t launch, uint64_t number);
  void wait_at_barrier(const Where&);
  WarpResult step_together(const WarpStep&, const Where&);
  int current() const { return current_; }
  int warp_width() const { return std::min(32, count() - current_ / 32 * 32); }

 private:
  int count() const { return static_cast<int>(threads_.size()); }
  void suspend_as(State);
  void finish();
  void release_barrier_if_complete();
  void finish_warp_step_if_complete(int warp, uint32_t mask);
  [[noreturn]] void fail(const std::string& what);
  std::string where_they_stand() const;
  static void entry();

  const Grid* grid_ = nullptr;
  std::vector<Thread> threads_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  Ready ready_;
  int current_ = 0, alive_ = 0, waiting_ = 0;
  std::string failure_;
  char barriers_[2] = {};  ///< by parity: a thread already at the next barrier must not order this one's
  int generation_ = 0;
  char start_ = 0, end_ = 0;
  struct Warp {
    char object[2] = {};
    int generation = 0;
  } warps_[32];
};

Block block;

void Block::run(const Grid& grid, uint64_t seed, uint64_t launch, uint64_t number) {
  grid_ = &grid;
  int const n = static_cast<int>(grid.threads.count());
  while (fibers_.size() < static_cast<size_t>(n)) fibers_.push_back(std::make_unique<Fiber>(fibers_.size()));
  threads_.assign(static_cast<size_t>(n), Thread());
  ready_.clear();
  failure_.clear();
  alive_ = n;
  waiting_ = 0;
  happens_before(&start_);
  for (int t = 0; t < n; ++t) {
    unsigned const i = static_cast<unsigned>(t), x = grid.threads.x, y = grid.threads.y;
    threads_[static_cast<size_t>(t)].index = {i % x, i / x % y, i / x / y};
    fibers_[static_cast<size_t>(t)]->start(&Block::entry);
    ready_.push(t);
  }
  Shuffler shuffler(seed, launch, number);
  while (!ready_.empty()) {
    current_ = ready_.pop(shuffler);
    builtins.thread = threads_[static_cast<size_t>(current_)].index;
    fibers_[static_cast<size_t>(current_)]->resume();
    if (!failure_.empty()) fail(failure_);
  }
  happens_after(&end_);
  if (alive_ > 0) fail("the block is stuck: its threads wait for each other");
}

void Block::entry() {
  happens_after(&block.start_);
  block.grid_->body();
  happens_before(&block.end_);
  block.finish();
}

void Block::suspend_as(State state) {
  threads_[static_cast<size_t>(current_)].state = state;
  Fiber::suspend();
}

void Block::finish() {
  threads_[static_cast<size_t>(current_)].state = State::returned;
  --alive_;
  release_barrier_if_complete();
  // Steps that only waited for this lane can go on without it.
  int const warp = current_ / 32, end = std::min(count(), warp * 32 + 32);
  for (int t = warp * 32; t < end; ++t) {
    Thread const& thread = threads_[static_cast<size_t>(t)];
    if (thread.state == State::in_warp_step && thread.step.mask >> (current_ % 32) & 1)
      finish_warp_step_if_complete(warp, thread.step.mask);
  }
  Fiber::leave();
}

void Block::wait_at_barrier(const Where& where) {
  threads_[static_cast<size_t>(current_)].where = where;
  char* const object = &barriers_[generation_ % 2];
  happens_before(object);
  ++waiting_;
  threads_[static_cast<size_t>(current_)].state = State::at_barrier;
  release_barrier_if_complete();
  suspend_as(threads_[static_cast<size_t>(current_)].state);
  happens_after(object);
}

void Block::release_barrier_if_complete() {
  if (waiting_ == 0 || waiting_ < alive_) return;
  const Thread* first = nullptr;
  for (int t = 0; t < count(); ++t) {
    Thread& thread = threads_[static_cast<size_t>(t)];
    if (thread.state != State::at_barrier) continue;
    if (!first) first = &thread;
    if (!same_place(first->where, thread.where)) {
      failure_ = "divergent barrier: threads of one block wait at different __syncthreads";
      return;
    }
  }
  for (int t = 0; t < count(); ++t) {
    if (threads_[static_cast<size_t>(t)].state != State::at_barrier) continue;
    threads_[static_cast<size_t>(t)].state = State::ready;
    ready_.push(t);
  }
  waiting_ = 0;
  ++generation_;
}

WarpResult Block::step_together(const WarpStep& step, const Where& where) {
  Thread& self = threads_[static_cast<size_t>(current_)];
  self.step = step;
  self.where = where;
  self.state = State::in_warp_step;
  // Only __syncwarp orders memory; shuffles and votes do not.
  Warp& warp = warps_[current_ / 32];
  char* const object = step.kind == WarpStep::Kind::sync ? &warp.object[warp.generation % 2] : nullptr;
  if (object) happens_before(object);
  if (!(step.mask >> (current_ % 32) & 1))
    failure_ = "a lane takes a step with a mask that does not name it";
  else
    finish_warp_step_if_complete(current_ / 32, step.mask);
  suspend_as(self.state);
  if (object) happens_after(object);
  return self.result;
}

void Block::finish_warp_step_if_complete(int warp, uint32_t mask) {
  int const first = warp * 32, end = std::min(count(), first + 32);
  const Thread* leader = nullptr;
  uint32_t present = 0, votes = 0;
  for (int t = first; t < end; ++t) {
    if (!(mask >> (t - first) & 1)) continue;
    Thread const& thread = threads_[static_cast<size_t>(t)];
    if (thread.state == State::returned) continue;
    if (thread.state != State::in_warp_step || thread.step.mask != mask) return;
    if (!leader) leader = &thread;
    if (leader->step.kind != thread.step.kind || !same_place(leader->where, thread.where)) {
      failure_ = "lanes of one warp take different steps under one mask";
      return;
    }
    present |= 1u << (t - first);
    if (thread.step.value[0]) votes |= 1u << (t - first);
  }
  for (int t = first; t < end; ++t) {
    if (!(present >> (t - first) & 1)) continue;
    Thread& thread = threads_[static_cast<size_t>(t)];
    int const source = thread.step.source;
    bool const takes_part = source >= 0 && source < 32 && (present >> source & 1);
    for (int i = 0; i < 2; ++i)
      thread.result.value[i] = takes_part ? threads_[static_cast<size_t>(first + source)].step.value[i] : ~uint64_t(0);
    thread.result.ballot = votes;
    thread.state = State::ready;
    ready_.push(t);
  }
  if (leader && leader->step.kind == WarpStep::Kind::sync) ++warps_[warp].generation;
}

std::string Block::where_they_stand() const {
  std::map<std::string, int> groups;
  for (Thread const& t : threads_) {
    switch (t.state) {
      case State::returned:
        ++groups["returned from the kernel"];
        break;
      case State::ready:
        ++groups["could go on"];
        break;
      case State::at_barrier:
        ++groups["at __syncthreads, " + line_of(t.where)];
        break;
      case State::in_warp_step:
        ++groups["in a warp operation, " + line_of(t.where)];
        break;
    }
  }
  std::string text;
  for (auto const& [what, threads] : groups) text += cat(text.empty() ? "" : "; ", threads, " ", what);
  return text;
}

void Block::fail(const std::string& what) {
  std::string const message =
      cat(grid_->name, ", block (", builtins.block.x, ", ", builtins.block.y, ", ", builtins.block.z, ") of ",
          grid_->threads.count(), " threads: ", what, " (", where_they_stand(), ")");
  fibers_.clear();  // some are in the middle of the kernel
  throw Error(message);
}

}  // namespace

void run_grid(const Grid& grid, uint64_t seed, uint64_t launch_number) {
  builtins.block_dim = grid.threads;
  builtins.grid_dim = grid.blocks;
  // Of exactly the asked size on the heap, so that AddressSanitizer knows its end.
  std::unique_ptr<unsigned char[]> const dynamic(new unsigned char[grid.dynamic_shared]);
  builtins.dynamic_shared = dynamic.get();
  uint64_t number = 0;
  for (unsigned z = 0; z < grid.blocks.z; ++z)
    for (unsigned y = 0; y < grid.blocks.y; ++y)
      for (unsigned x = 0; x < grid.blocks.x; ++x) {
        builtins.block = {x, y, z};
        spoil_shared_memory();
        fill_unwatched(dynamic.get(), 0xFF, grid.dynamic_shared);
        block.run(grid, seed, launch_number, number++);
      }
}

void sync_threads(Where where) { block.wait_at_barrier(where); }
WarpResult step_together(const WarpStep& step, Where where) { return block.step_together(step, where); }
int lane() { return block.current() % 32; }
int warp_width() { return block.warp_width(); }

}  // namespace mith::checker
