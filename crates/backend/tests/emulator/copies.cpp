// Shared memory: its addresses, copies into it that happen late, and barriers that lie in it.
#include <cstring>

#include "fibers.h"

namespace emulated {

namespace {

constexpr unsigned OFFSET_MASK = (1 << 24) - 1, RANK_SHIFT = 24;
// Alignment that every static variable gets.
constexpr unsigned STATIC_ALIGNMENT = 128;

Block &block_of(unsigned address) {
    unsigned rank = address >> RANK_SHIFT;
    Block &own = *current->block;
    if (rank == 0) return own;
    if (rank > own.cluster->blocks.size()) fail("a shared address in a block that is not there");
    return *own.cluster->blocks[rank - 1];
}

CountingBarrier &counting(unsigned barrier) {
    auto &all = block_of(barrier).counting;
    auto found = all.find(barrier & OFFSET_MASK);
    if (found == all.end()) fail("a barrier that was not begun");
    return found->second;
}

void end_phase_if_done(CountingBarrier &barrier) {
    if (barrier.pending != 0 || barrier.bytes != 0) return;
    barrier.phase ^= 1;
    barrier.pending = barrier.arrivals;
    note_progress();
}

void perform(std::vector<Copy> &copies) {
    for (const Copy &copy : copies) {
        unsigned char *to = at(copy.to);
        memset(to, 0, copy.bytes);
        if (copy.present) memcpy(to, copy.from, copy.present);
    }
    copies.clear();
}

}  // namespace

void *static_memory(const void *key, size_t bytes) {
    Block &block = *current->block;
    auto [entry, fresh] = block.statics.try_emplace(key, block.static_end);
    if (fresh) {
        size_t end = block.static_end + bytes;
        if (end > MEMORY_BYTES) fail("too much static shared memory");
        block.static_end = (end + STATIC_ALIGNMENT - 1) / STATIC_ALIGNMENT * STATIC_ALIGNMENT;
    }
    return block.memory + entry->second;
}

unsigned char *at(unsigned address) {
    unsigned offset = address & OFFSET_MASK;
    if (offset >= MEMORY_BYTES) fail("a shared address behind the end");
    return block_of(address).memory + offset;
}

unsigned address_of(const void *place) {
    size_t offset = (const unsigned char *)place - current->block->memory;
    if (offset >= MEMORY_BYTES) fail("the shared address of what is not in shared memory");
    return offset;
}

unsigned address_in(unsigned address, unsigned rank) {
    return (address & OFFSET_MASK) | (rank + 1) << RANK_SHIFT;
}

void copy(unsigned to, const void *from, unsigned bytes, unsigned present) {
    if (to % bytes || (present && (uintptr_t)from % bytes)) fail("a misaligned copy");
    at(to + bytes - 1);
    current->open.push_back({to, from, bytes, present});
}

void commit_copies() {
    current->committed.push_back(std::move(current->open));
    current->open = {};
}

void wait_for_copies(unsigned groups_left) {
    auto &groups = current->committed;
    while (groups.size() > groups_left) {
        perform(groups.front());
        groups.erase(groups.begin());
    }
}

void wait_for_all_copies() {
    wait_for_copies(0);
    perform(current->open);
}

void begin_barrier(unsigned barrier, unsigned arrivals) {
    int count = (int)arrivals;
    current->block->counting[barrier & OFFSET_MASK] = {count, count, 0, 0};
    note_progress();
}

void arrive(unsigned barrier) { arrive_expecting(barrier, 0); }

void arrive_expecting(unsigned barrier, unsigned bytes) {
    CountingBarrier &counted = counting(barrier);
    if (counted.pending <= 0) fail("more arrivals at a barrier than it waits for");
    counted.bytes += bytes;
    counted.pending--;
    end_phase_if_done(counted);
}

bool phase_is_over(unsigned barrier, unsigned parity) {
    if (counting(barrier).phase != (parity & 1)) return true;
    yield();
    return counting(barrier).phase != (parity & 1);
}

void store_and_count(unsigned to, std::initializer_list<float> values, unsigned barrier) {
    unsigned bytes = values.size() * sizeof(float);
    if (to % bytes) fail("a misaligned store to another block");
    memcpy(at(to), values.begin(), bytes);
    CountingBarrier &counted = counting(barrier);
    counted.bytes -= bytes;
    end_phase_if_done(counted);
}

}  // namespace emulated
