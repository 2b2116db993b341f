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

/// One block at a time. A thread only notes what it asks for and suspends; everything else happens between threads, in
/// run(), where ThreadSanitizer sees one thread of the host at work.
class Block {
 public:
  void run(const Grid& grid, uint64_t seed, uint64_t launch, uint64_t number);
  void wait_at_barrier(const Where&);
  WarpResult step_together(const WarpStep&, const Where&);
  int current() const { return current_; }
  int warp_width() const { return std::min(32, count() - current_ / 32 * 32); }

 private:
  int count() const { return static_cast<int>(threads_.size()); }
  Thread& thread(int i) { return threads_[static_cast<size_t>(i)]; }
  Fiber& fiber(int i) { return *fibers_[static_cast<size_t>(i)]; }
  void suspend();
  void serve(int asking);
  void serve_barrier();
  void serve_warp(int warp, uint32_t mask);
  void make_ready(int i);
  void require_block(bool condition, const char* what);
  std::string where_they_stand() const;
  static void entry();

  const Grid* grid_ = nullptr;
  std::vector<Thread> threads_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  Ready ready_;
  int current_ = 0, alive_ = 0, waiting_ = 0;
  bool abandoned_ = false;
  // What ThreadSanitizer knows of barriers: an object by the parity of their number, because a thread that is already
  // at the next barrier must not order this one's.
  struct Warp {
    char object[2] = {};
    int steps = 0;
  };
  Warp warps_[32];
  char barriers_[2] = {}, start_ = 0, end_ = 0;
  int barriers_passed_ = 0;
};

Block block;

void Block::run(const Grid& grid, uint64_t seed, uint64_t launch, uint64_t number) {
  grid_ = &grid;
  int const n = static_cast<int>(grid.threads.count());
  while (fibers_.size() < static_cast<size_t>(n)) fibers_.push_back(std::make_unique<Fiber>(fibers_.size()));
  threads_.assign(static_cast<size_t>(n), Thread());
  ready_.clear();
  alive_ = n;
  waiting_ = 0;
  happens_before(&start_);
  for (int t = 0; t < n; ++t) {
    unsigned const i = static_cast<unsigned>(t), x = grid.threads.x, y = grid.threads.y;
    thread(t).index = {i % x, i / x % y, i / x / y};
    fiber(t).start(&Block::entry);
    ready_.push(t);
  }
  Shuffler shuffler(seed, launch, number);
  while (!ready_.empty()) {
    current_ = ready_.pop(shuffler);
    builtins.thread = thread(current_).index;
    fiber(current_).resume();
    serve(current_);
  }
  happens_after(&end_);
  require_block(alive_ == 0, "the block is stuck: its threads wait for each other");
}

void Block::entry() {
  happens_after(&block.start_);
  block.grid_->body();
  happens_before(&block.end_);
  block.thread(block.current_).state = State::returned;
  Fiber::leave();
}

/// Called on a fiber: to run(), and back when this thread may go on.
void Block::suspend() {
  Fiber::suspend();
  if (!abandoned_) return;
  happens_before(&end_);
  Fiber::leave();
}

void Block::wait_at_barrier(const Where& where) {
  Thread& self = thread(current_);
  self.where = where;
  self.state = State::at_barrier;
  char* const object = &barriers_[barriers_passed_ % 2];
  happens_before(object);
  suspend();
  happens_after(object);
}

WarpResult Block::step_together(const WarpStep& step, const Where& where) {
  Thread& self = thread(current_);
  self.step = step;
  self.where = where;
  self.state = State::in_warp_step;
  // Only __syncwarp orders memory; shuffles and votes do not.
  Warp& warp = warps_[current_ / 32];
  char* const object = step.kind == WarpStep::Kind::sync ? &warp.object[warp.steps % 2] : nullptr;
  if (object) happens_before(object);
  suspend();
  if (object) happens_after(object);
  return self.result;
}

/// A thread has suspended: lets everybody go on who waited for this.
void Block::serve(int asking) {
  Thread const& self = thread(asking);
  if (self.state == State::at_barrier) {
    ++waiting_;
    serve_barrier();
  } else if (self.state == State::in_warp_step) {
    require_block(self.step.mask >> (asking % 32) & 1, "a lane takes a step with a mask that does not name it");
    serve_warp(asking / 32, self.step.mask);
  } else {
    --alive_;
    serve_barrier();
    int const first = asking / 32 * 32, end = std::min(count(), first + 32);
    for (int t = first; t < end; ++t)
      if (thread(t).state == State::in_warp_step && thread(t).step.mask >> (asking % 32) & 1)
        serve_warp(asking / 32, thread(t).step.mask);
  }
}

void Block::make_ready(int i) {
  thread(i).state = State::ready;
  ready_.push(i);
}

void Block::serve_barrier() {
  if (waiting_ == 0 || waiting_ < alive_) return;
  const Thread* first = nullptr;
  for (Thread const& t : threads_) {
    if (t.state != State::at_barrier) continue;
    if (!first) first = &t;
    require_block(same_place(first->where, t.where),
                  "divergent barrier: threads of one block wait at different __syncthreads");
  }
  for (int t = 0; t < count(); ++t)
    if (thread(t).state == State::at_barrier) make_ready(t);
  waiting_ = 0;
  ++barriers_passed_;
}

void Block::serve_warp(int warp, uint32_t mask) {
  int const first = warp * 32, end = std::min(count(), first + 32);
  const Thread* leader = nullptr;
  uint32_t present = 0, votes = 0;
  for (int t = first; t < end; ++t) {
    Thread const& lane = thread(t);
    if (!(mask >> (t - first) & 1) || lane.state == State::returned) continue;
    if (lane.state != State::in_warp_step || lane.step.mask != mask) return;
    if (!leader) leader = &lane;
    require_block(leader->step.kind == lane.step.kind && same_place(leader->where, lane.where),
                  "lanes of one warp take different steps under one mask");
    present |= 1u << (t - first);
    if (lane.step.value[0]) votes |= 1u << (t - first);
  }
  if (!leader) return;
  if (leader->step.kind == WarpStep::Kind::sync) ++warps_[warp].steps;
  for (int t = first; t < end; ++t) {
    if (!(present >> (t - first) & 1)) continue;
    int const source = thread(t).step.source;
    bool const defined = source >= 0 && source < 32 && (present >> source & 1);
    for (int i = 0; i < 2; ++i)
      thread(t).result.value[i] = defined ? thread(first + source).step.value[i] : ~uint64_t(0);
    thread(t).result.ballot = votes;
    make_ready(t);
  }
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

/// Throws Error unless `condition` holds, after taking every thread out of the kernel that it is in the middle of.
void Block::require_block(bool condition, const char* what) {
  if (condition) return;
  Index3 const& b = builtins.block;
  std::string const message = cat(grid_->name, ", block (", b.x, ", ", b.y, ", ", b.z, ") of ", count(),
                                  " threads: ", what, " (", where_they_stand(), ")");
  abandoned_ = true;
  for (int t = 0; t < count(); ++t) {
    if (thread(t).state == State::returned) continue;
    if (thread(t).state != State::ready) fiber(t).resume();
  }
  happens_after(&end_);
  abandoned_ = false;
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
