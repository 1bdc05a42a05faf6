// Threads of a kernel as fibers of one host thread, which take turns.
#pragma once
#include "block.h"

namespace emulated {

// The thread that is running; null between kernels.
extern Fiber *current;
extern const char *kernel_name;

// Ends the process with a sentence that says where.
[[noreturn]] void fail(const char *what);
// Faults of memory end with such a sentence too. Once per process, and once per host thread.
void catch_faults();
void prepare_host_thread();

// A fiber with a stack of its own, used again by each launch.
Fiber *fiber(size_t number);
// Runs `body` in all of them until they have ended.
void take_turns(const std::vector<Fiber *> &fibers, void (*body)());
// Lets others go on. Who waits calls it in a loop.
void yield();
// Something has happened that others may wait for. Without, waiting is a deadlock.
void note_progress();

}  // namespace emulated
