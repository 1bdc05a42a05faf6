// Running a kernel.
#pragma once
#include "machine.h"

namespace emulated {

struct Launch {
    const Kernel *kernel;
    uint3 grid;
    unsigned threads;
    unsigned dynamic_bytes;
};

// Returns when all blocks have ended. One kernel runs at a time.
void run(const Launch &launch, void **arguments);

}  // namespace emulated
