#include "kernels/checker/memory.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <new>

#include "kernels/checker/sanitizers.h"
#include "kernels/launch/error.h"

namespace mith::checker {
namespace {

constexpr size_t arena_bytes = size_t(16) << 30, guard = 256, alignment = 256;
constexpr unsigned char guard_byte = 0xA5, fresh_byte = 0xFF;  // 0xFF in every byte is a NaN

constexpr size_t round_up(size_t v, size_t unit) { return (v + unit - 1) / unit * unit; }

struct sigaction previous_action;

}  // namespace

/// Says whose memory the host touched, then lets the fault take its course.
struct FaultHandler {
  static void handle(int signal, siginfo_t* info, void* context) {
    Arena const& arena = Arena::instance();
    char* const address = static_cast<char*>(info->si_addr);
    if (address >= arena.base_ && address < arena.base_ + arena_bytes) {
      char text[400];
      int length = std::snprintf(text, sizeof text, "simt: host code touched device memory that nobody holds\n");
      auto it = arena.live_.upper_bound(address);
      if (it != arena.live_.begin()) {
        --it;
        length = std::snprintf(text, sizeof text,
                               "simt: host code touched device memory of '%s' (%zu bytes) at byte %td: copy it with "
                               "to_host() or copy_bytes()\n",
                               it->second.label.c_str(), it->second.bytes, address - it->first);
      }
      [[maybe_unused]] auto const written = ::write(STDERR_FILENO, text, static_cast<size_t>(length));
    }
    sigaction(SIGSEGV, &previous_action, nullptr);  // the access is tried again, and meets the handler before ours
    (void)signal, (void)context;
  }
};

Arena& Arena::instance() {
  static Arena* const arena = new Arena;  // outlives static tensors; still reachable, so no leak is reported
  return *arena;
}

Arena::Arena() {
  void* const memory = mmap(nullptr, arena_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  base_ = static_cast<char*>(memory);
  struct sigaction action = {};
  action.sa_sigaction = &FaultHandler::handle;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigaction(SIGSEGV, &action, &previous_action);
}

void Arena::open() {
  if (opened_++ > 0 && used_ <= opened_bytes_) return;
  opened_bytes_ = round_up(used_, 1 << 20);
  mprotect(base_, opened_bytes_, PROT_READ | PROT_WRITE);
}

void Arena::close() {
  if (--opened_ > 0) return;
  mprotect(base_, opened_bytes_, PROT_NONE);
  opened_bytes_ = 0;
}

char* Arena::take(size_t reserved) {
  for (auto it = free_.begin(); it != free_.end(); ++it) {
    if (it->second < reserved) continue;
    char* const block = it->first;
    size_t const rest = it->second - reserved;
    free_.erase(it);
    if (rest > 0) free_[block + reserved] = rest;
    return block;
  }
  if (used_ + reserved > arena_bytes) throw std::bad_alloc();
  used_ += reserved;
  return base_ + used_ - reserved;
}

void Arena::give_back(char* block, size_t reserved) {
  auto const after = free_.find(block + reserved);
  if (after != free_.end()) {
    reserved += after->second;
    free_.erase(after);
  }
  auto before = free_.lower_bound(block);
  if (before != free_.begin() && (--before)->first + before->second == block) {
    block = before->first;
    reserved += before->second;
    free_.erase(before);
  }
  if (block + reserved == base_ + used_)
    used_ -= reserved;
  else
    free_[block] = reserved;
}

void* Arena::allocate(size_t bytes, const char* label) {
  size_t const reserved = round_up(bytes, alignment) + 2 * guard;
  char* const block = take(reserved);
  Access const access;
  unpoison(block, reserved);
  fill_unwatched(block, guard_byte, guard);
  fill_unwatched(block + guard, fresh_byte, bytes);
  fill_unwatched(block + guard + bytes, guard_byte, reserved - guard - bytes);
  poison(block, guard);
  poison(block + guard + bytes, reserved - guard - bytes);
  live_[block + guard] = {bytes, reserved, label};
  return block + guard;
}

void Arena::release(void* pointer) {
  auto const it = live_.find(static_cast<char*>(pointer));
  if (it == live_.end()) return;
  char* const block = it->first - guard;
  size_t const reserved = it->second.reserved;
  live_.erase(it);
  {
    Access const access;
    unpoison(block, reserved);
    fill_unwatched(block, fresh_byte, reserved);  // whoever still reads it gets NaN
    poison(block, reserved);
  }
  give_back(block, reserved);
}

namespace {

/// How many of `bytes` bytes are guard bytes before one is not. Whole words where it can: this runs after every launch.
MITH_NO_ASAN size_t intact(const char* memory, size_t bytes) {
  uint64_t const whole = 0x0101010101010101u * guard_byte;
  auto const* const p = reinterpret_cast<const volatile unsigned char*>(memory);
  size_t i = 0;
  while (i < bytes) {
    bool const aligned = reinterpret_cast<uintptr_t>(memory + i) % 8 == 0 && bytes - i >= 8;
    if (aligned && *reinterpret_cast<const volatile uint64_t*>(memory + i) == whole)
      i += 8;
    else if (p[i] == guard_byte)
      ++i;
    else
      break;
  }
  return i;
}

}  // namespace

std::string Arena::damage() const {
  for (auto const& [memory, allocation] : live_) {
    auto const where = [&](const char* side, size_t distance) {
      return cat("'", allocation.label, "' (", allocation.bytes, " bytes), ", distance, " bytes ", side);
    };
    size_t const behind = allocation.reserved - guard - allocation.bytes;
    size_t const before_intact = intact(memory - guard, guard),
                 behind_intact = intact(memory + allocation.bytes, behind);
    if (before_intact < guard) return where("before its start", guard - before_intact);
    if (behind_intact < behind) return where("behind its end", behind_intact);
  }
  return "";
}

}  // namespace mith::checker
