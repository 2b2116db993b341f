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

void Arena::protect(int access) const {
  if (used_ > 0) mprotect(base_, round_up(used_, 4096), access);
}

void Arena::open() {
  if (opened_++ == 0) protect(PROT_READ | PROT_WRITE);
}

void Arena::close() {
  if (--opened_ == 0) protect(PROT_NONE);
}

void* Arena::allocate(size_t bytes, const char* label) {
  size_t const reserved = round_up(bytes, alignment) + 2 * guard;
  auto& spare = free_[reserved];
  char* block;
  if (!spare.empty()) {
    block = spare.back();
    spare.pop_back();
  } else {
    if (used_ + reserved > arena_bytes) throw std::bad_alloc();
    block = base_ + used_;
    if (opened_)
      close(), used_ += reserved, open();  // the protected part grows
    else
      used_ += reserved;
  }
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
  {
    Access const access;
    unpoison(block, reserved);
    fill_unwatched(block, fresh_byte, reserved);  // whoever still reads it gets NaN
    poison(block, reserved);
  }
  live_.erase(it);
  free_[reserved].push_back(block);
}

MITH_NO_ASAN std::string Arena::damage() const {
  for (auto const& [memory, allocation] : live_) {
    size_t const behind = allocation.reserved - guard - allocation.bytes;
    auto const* const before = reinterpret_cast<const volatile unsigned char*>(memory - guard);
    auto const* const after = reinterpret_cast<const volatile unsigned char*>(memory + allocation.bytes);
    for (size_t i = 0; i < guard; ++i)
      if (before[i] != guard_byte)
        return cat("'", allocation.label, "' (", allocation.bytes, " bytes), ", guard - i, " bytes before its start");
    for (size_t i = 0; i < behind; ++i)
      if (after[i] != guard_byte)
        return cat("'", allocation.label, "' (", allocation.bytes, " bytes), ", i, " bytes behind its end");
  }
  return "";
}

}  // namespace mith::checker
