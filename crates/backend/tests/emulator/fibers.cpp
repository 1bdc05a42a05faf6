// Fibers: a stack each, a switch of a few instructions, and turns in a circle. A thread runs until
// it waits for others, so a race between two waits shows in one order only.
#include "fibers.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>
#include <unistd.h>

uint3 threadIdx, blockIdx, blockDim, gridDim;

// Saves the registers that a call must keep and the stack pointer, and takes those of another.
extern "C" void emulated_switch(void **save, void *to);
asm(R"(
    .text
    .globl emulated_switch
emulated_switch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
)");

namespace emulated {

Fiber *current;
const char *kernel_name = "no kernel";
unsigned char *dynamic_memory;

namespace {

constexpr size_t STACK_BYTES = 128 << 10, PAGE_BYTES = 4096;
constexpr int REGISTERS_SAVED = 6;
// So many turns in which nothing happens are taken for a deadlock.
constexpr unsigned long IDLE_TURNS_MAX = 40'000'000;

std::vector<Fiber *> gang;
size_t turn;
unsigned long idle_turns;
void *host_stack_pointer;
void (*fiber_body)();

void say(const char *what) {
    fprintf(stderr, "emulator: %s in %s, block %u %u %u of %u %u %u, thread %u of %u\n", what,
            kernel_name, blockIdx.x, blockIdx.y, blockIdx.z, gridDim.x, gridDim.y, gridDim.z,
            threadIdx.x, blockDim.x);
}

void on_fault(int, siginfo_t *fault, void *) {
    char what[64];
    snprintf(what, sizeof what, "fault at address %p", fault->si_addr);
    say(what);
    _exit(139);
}

// The next fiber that has not ended, or the host when there is none.
void switch_to_next(void **save) {
    for (size_t tried = 0; tried < gang.size(); tried++) {
        turn = turn + 1 == gang.size() ? 0 : turn + 1;
        Fiber *next = gang[turn];
        if (next->ended) continue;
        if (next == current) return;
        current = next;
        threadIdx = {next->thread, 0, 0};
        blockIdx = next->block->index;
        dynamic_memory = next->block->memory + DYNAMIC_AT;
        emulated_switch(save, next->stack_pointer);
        return;
    }
    emulated_switch(save, host_stack_pointer);
}

void run_body() {
    fiber_body();
    Fiber *self = current;
    self->ended = true;
    note_progress();
    switch_to_next(&self->stack_pointer);
    fail("a thread that has ended went on");
}

}  // namespace

void fail(const char *what) {
    say(what);
    abort();
}

void catch_faults() {
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, nullptr);
    sigaction(SIGBUS, &action, nullptr);
}

// Handlers need a stack that is there when that of a fiber has been overrun.
void prepare_host_thread() {
    static thread_local unsigned char handler_stack[1 << 16];
    stack_t stack = {};
    stack.ss_sp = handler_stack;
    stack.ss_size = sizeof handler_stack;
    sigaltstack(&stack, nullptr);
}

Fiber *fiber(size_t number) {
    static std::vector<Fiber *> all;
    while (all.size() <= number) {
        int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        void *stack = mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);
        // The lowest page catches those who go too deep.
        if (stack == MAP_FAILED || mprotect(stack, PAGE_BYTES, PROT_NONE) != 0)
            fail("no memory for stacks");
        all.push_back(new Fiber((unsigned char *)stack));
    }
    return all[number];
}

void take_turns(const std::vector<Fiber *> &fibers, void (*body)()) {
    gang = fibers;
    fiber_body = body;
    for (Fiber *fiber : gang) {
        // What the switch takes from a stack: saved registers, then where to go on. One more word
        // aligns the stack as after a call.
        void **top = (void **)(fiber->stack + STACK_BYTES - 64);
        *--top = nullptr;
        *--top = (void *)run_body;
        for (int i = 0; i < REGISTERS_SAVED; i++) *--top = nullptr;
        fiber->stack_pointer = top;
    }
    turn = gang.size() - 1;
    idle_turns = 0;
    switch_to_next(&host_stack_pointer);
    current = nullptr;
}

void yield() {
    if (++idle_turns > IDLE_TURNS_MAX) fail("deadlock");
    switch_to_next(&current->stack_pointer);
}

void note_progress() { idle_turns = 0; }

}  // namespace emulated
