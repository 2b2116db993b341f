#include "kernels/checker/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <new>

#include "kernels/checker/sanitizers.h"

#if !defined(__x86_64__) && !defined(__aarch64__) && !defined(MITH_UCONTEXT)
#define MITH_UCONTEXT
#endif
#if defined(MITH_UCONTEXT)
#include <ucontext.h>
#endif

// mith_switch_fiber(void** from, void* to) saves the registers that a call must keep on this stack, stores the stack
// pointer in *from, and goes on where the stack `to` was left. Signal masks and the floating-point mode stay.
#if defined(MITH_UCONTEXT)
#elif defined(__x86_64__)
asm(R"(
.text
.globl mith_switch_fiber
.type mith_switch_fiber, @function
mith_switch_fiber:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size mith_switch_fiber, . - mith_switch_fiber
)");
#else
asm(R"(
.text
.globl mith_switch_fiber
.type mith_switch_fiber, %function
mith_switch_fiber:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size mith_switch_fiber, . - mith_switch_fiber
)");
#endif

namespace mith::checker {
namespace {

#if !defined(MITH_UCONTEXT)
extern "C" void mith_switch_fiber(void** from, void* to);
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(MITH_TSAN)
constexpr size_t stack_bytes = 256 << 10;
#else
constexpr size_t stack_bytes = 64 << 10;
#endif

/// An execution that can be left and entered again.
struct Context {
#if defined(MITH_UCONTEXT)
  ucontext_t registers;
#else
  void* stack_pointer = nullptr;
#endif
  // AddressSanitizer's view of it.
  void* fake_stack = nullptr;
  const void* stack_bottom = nullptr;
  size_t stack_size = 0;
  void* tsan = nullptr;
};

Context scheduler;
Context* running = nullptr;  ///< the fiber that is running, if any
void (*first_call)() = nullptr;

/// Leaves `from` for `to`; comes back when somebody leaves for `from`.
void change(Context& from, Context& to, [[maybe_unused]] bool for_good) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(for_good ? nullptr : &from.fake_stack, to.stack_bottom, to.stack_size);
#endif
#if defined(MITH_TSAN)
  __tsan_switch_to_fiber(to.tsan, __tsan_switch_to_fiber_no_sync);
#endif
#if defined(MITH_UCONTEXT)
  swapcontext(&from.registers, &to.registers);
#else
  mith_switch_fiber(&from.stack_pointer, to.stack_pointer);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
}

/// The first frame of every fiber.
void trampoline() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &scheduler.stack_bottom, &scheduler.stack_size);
#endif
  first_call();
  std::abort();  // entries end with leave()
}

}  // namespace

struct Fiber::State {
  Context context;
  void* memory = nullptr;
  char* top = nullptr;
};

Fiber::Fiber(size_t colour) : state_(std::make_unique<State>()) {
  size_t const page = 4096, total = stack_bytes + 2 * page;
  state_->memory = mmap(nullptr, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (state_->memory == MAP_FAILED) throw std::bad_alloc();
  mprotect(state_->memory, page, PROT_NONE);  // an overflowing stack faults instead of writing into its neighbour
  char* const bottom = static_cast<char*>(state_->memory) + page;
  state_->top = bottom + stack_bytes + page - colour % 16 * 256;
  state_->context.stack_bottom = bottom;
  state_->context.stack_size = static_cast<size_t>(state_->top - bottom);
#if defined(MITH_TSAN)
  state_->context.tsan = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
#if defined(MITH_TSAN)
  __tsan_destroy_fiber(state_->context.tsan);
#endif
  munmap(state_->memory, stack_bytes + 2 * 4096);
}

void Fiber::start(void (*entry)()) {
  first_call = entry;
  Context& context = state_->context;
  unpoison(context.stack_bottom, context.stack_size);  // what a fiber that left may have poisoned
#if defined(MITH_UCONTEXT)
  getcontext(&context.registers);
  context.registers.uc_stack.ss_sp = const_cast<void*>(context.stack_bottom);
  context.registers.uc_stack.ss_size = context.stack_size;
  context.registers.uc_link = nullptr;
  makecontext(&context.registers, trampoline, 0);
#elif defined(__x86_64__)
  auto** slots = reinterpret_cast<void**>(state_->top);
  *--slots = nullptr;  // where trampoline would return to; keeps its stack aligned
  *--slots = reinterpret_cast<void*>(&trampoline);
  for (int i = 0; i < 6; ++i) *--slots = nullptr;
  context.stack_pointer = slots;
#else
  auto** const slots = reinterpret_cast<void**>(state_->top - 160);
  for (int i = 0; i < 20; ++i) slots[i] = nullptr;
  slots[11] = reinterpret_cast<void*>(&trampoline);  // the link register
  context.stack_pointer = slots;
#endif
}

void Fiber::resume() {
#if defined(MITH_TSAN)
  scheduler.tsan = __tsan_get_current_fiber();
#endif
  running = &state_->context;
  change(scheduler, *running, false);
  running = nullptr;
}

void Fiber::suspend() { change(*running, scheduler, false); }

void Fiber::leave() {
  change(*running, scheduler, true);
  std::abort();  // nobody resumes a fiber that left
}

}  // namespace mith::checker
