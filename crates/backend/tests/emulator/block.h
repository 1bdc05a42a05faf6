// Blocks, clusters and threads while they run: plain data, which the other files work on.
#pragma once
#include <unordered_map>
#include <vector>

#include "machine.h"

namespace emulated {

// Lanes of a warp that wait for each other, with what they bring.
struct Meeting {
    unsigned mask, arrived, readers;
    bool complete;
    // One after another, each as long as all who meet say.
    char brought[LANES * BROUGHT_BYTES_MAX];
};

struct Warp {
    std::vector<Meeting *> meetings;
    // Lanes that have ended, or that never were.
    unsigned ended = 0;
};

struct Barrier {
    unsigned arrived = 0, generation = 0;
    // Of those who come, and of those who came last time.
    bool vote = false, verdict = false;
};

// A barrier in shared memory: a phase ends when nothing is pending and all bytes have come.
struct CountingBarrier {
    int arrivals, pending;
    long bytes;
    unsigned phase;
};

struct Copy {
    unsigned to;
    const void *from;
    unsigned bytes, present;
};

struct Block;

struct Cluster {
    std::vector<Block *> blocks;
    unsigned threads = 0, ended = 0;
    Barrier barrier;
};

struct Block {
    uint3 index;
    Cluster *cluster;
    unsigned threads, ended = 0;
    // Dynamic shared memory at its beginning, static behind it.
    unsigned char *memory;
    unsigned static_end;
    std::unordered_map<const void *, unsigned> statics;
    Barrier barriers[16];
    Warp warps[32];
    std::unordered_map<unsigned, CountingBarrier> counting;
};

// A thread of a kernel.
struct Fiber {
    unsigned char *stack;
    void *stack_pointer = nullptr;
    Block *block = nullptr;
    unsigned thread = 0;
    bool ended = true;
    // What it has begun to copy: of the group that is open, and groups before.
    std::vector<Copy> open;
    std::vector<std::vector<Copy>> committed;

    explicit Fiber(unsigned char *memory) : stack(memory) {}
};

constexpr unsigned MEMORY_BYTES = 320 << 10;
// The first bytes are nobody's, so that address 0 is none.
constexpr unsigned DYNAMIC_AT = 1 << 10, STATIC_AT = 240 << 10;

}  // namespace emulated
