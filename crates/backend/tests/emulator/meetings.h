// Where threads wait for each other, as far as those who end have to know.
#pragma once
#include "block.h"

namespace emulated {

// A thread has ended: nobody waits for it from now on.
void leave(Fiber &fiber);
// Whether lanes still wait for some that have not come.
bool anybody_waits(const Block &block);

}  // namespace emulated
