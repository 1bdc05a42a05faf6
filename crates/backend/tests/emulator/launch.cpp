// A launch: the blocks of a grid one after another, those of a cluster together.
#include "launch.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "fibers.h"
#include "meetings.h"

namespace emulated {

namespace {

// Matrices for `wgmma` lie where addresses are multiples of 1024; more does no harm.
constexpr size_t MEMORY_ALIGNMENT = 1 << 18;

const Kernel *running;
void **running_arguments;

unsigned char *shared_memory(unsigned rank) {
    static std::vector<unsigned char *> all;
    while (all.size() <= rank) {
        void *memory = aligned_alloc(MEMORY_ALIGNMENT, 2 * MEMORY_ALIGNMENT);
        if (!memory) fail("no memory for shared memory");
        all.push_back((unsigned char *)memory);
    }
    return all[rank];
}

void start_block(Block &block, Cluster &cluster, uint3 index, unsigned threads) {
    block.index = index;
    block.cluster = &cluster;
    block.threads = threads;
    block.memory = shared_memory(cluster.blocks.size());
    block.static_end = STATIC_AT;
    // What nobody has written is NaN.
    memset(block.memory, 0xff, MEMORY_BYTES);
    for (unsigned absent = threads; absent % LANES; absent++)
        block.warps[absent / LANES].ended |= 1u << absent % LANES;
    cluster.blocks.push_back(&block);
    cluster.threads += threads;
}

void run_thread() {
    running->call(running_arguments);
    // Copies that nobody has waited for are lost.
    current->open.clear();
    current->committed.clear();
    leave(*current);
}

void run_cluster(const Launch &launch, uint3 first) {
    Cluster cluster;
    std::vector<Block> blocks(launch.kernel->cluster_blocks);
    std::vector<Fiber *> fibers;
    for (Block &block : blocks) {
        start_block(block, cluster, first, launch.threads);
        first.x++;
        for (unsigned thread = 0; thread < launch.threads; thread++) {
            Fiber *next = fiber(fibers.size());
            next->block = &block;
            next->thread = thread;
            next->ended = false;
            fibers.push_back(next);
        }
    }
    take_turns(fibers, run_thread);
    for (const Block &block : blocks)
        if (anybody_waits(block)) fail("a kernel ended while lanes waited for others");
}

}  // namespace

void run(const Launch &launch, void **arguments) {
    static std::mutex one_at_a_time;
    std::lock_guard<std::mutex> guard(one_at_a_time);
    static bool traced = getenv("DWARFSTAR_EMULATED_TRACE");
    kernel_name = launch.kernel->name;
    blockDim = {launch.threads, 1, 1};
    gridDim = launch.grid;
    running = launch.kernel;
    running_arguments = arguments;
    auto [x, y, z] = launch.grid;
    if (traced)
        fprintf(stderr, "emulator: %s, %u %u %u blocks of %u\n", kernel_name, x, y, z,
                launch.threads);
    if (DYNAMIC_AT + launch.dynamic_bytes > STATIC_AT) fail("too much dynamic shared memory");
    if (x % launch.kernel->cluster_blocks) fail("a grid that is no multiple of its clusters");
    for (unsigned k = 0; k < z; k++)
        for (unsigned j = 0; j < y; j++)
            for (unsigned i = 0; i < x; i += launch.kernel->cluster_blocks)
                run_cluster(launch, {i, j, k});
}

}  // namespace emulated
