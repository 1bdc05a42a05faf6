// Meetings of threads: lanes of a warp, threads of a block, blocks of a cluster. The last to come
// lets the others go on; whoever ends counts as come.
#include "meetings.h"

#include <cstring>

#include "fibers.h"

namespace emulated {

namespace {

std::vector<Meeting *> unused_meetings;

unsigned lane_bit(const Fiber &fiber) { return 1u << fiber.thread % LANES; }

Warp &warp_of(const Fiber &fiber) { return fiber.block->warps[fiber.thread / LANES]; }

// The meeting of these lanes that waits for this one; a new one if there is none.
Meeting &joined(Warp &warp, unsigned mask, unsigned lane) {
    for (Meeting *meeting : warp.meetings)
        if (meeting->mask == mask && !meeting->complete && !(meeting->arrived & lane))
            return *meeting;
    if (unused_meetings.empty()) unused_meetings.push_back(new Meeting);
    Meeting *meeting = unused_meetings.back();
    unused_meetings.pop_back();
    meeting->mask = mask;
    meeting->arrived = 0;
    meeting->complete = false;
    warp.meetings.push_back(meeting);
    return *meeting;
}

void complete_if_all_came(const Warp &warp, Meeting &meeting) {
    if (meeting.complete || meeting.mask & ~(meeting.arrived | warp.ended)) return;
    meeting.complete = true;
    meeting.readers = __builtin_popcount(meeting.arrived);
    note_progress();
}

void forget(Warp &warp, Meeting &meeting) {
    for (Meeting *&place : warp.meetings) {
        if (place != &meeting) continue;
        place = warp.meetings.back();
        warp.meetings.pop_back();
        break;
    }
    unused_meetings.push_back(&meeting);
}

void open_if_all_came(Barrier &barrier, unsigned wanted) {
    if (barrier.arrived == 0 || barrier.arrived < wanted) return;
    barrier.verdict = barrier.vote;
    barrier.vote = false;
    barrier.arrived = 0;
    barrier.generation++;
    note_progress();
}

// The verdict stays until all have come again, so nobody misses it.
bool wait_at(Barrier &barrier, unsigned wanted, bool vote) {
    unsigned generation = barrier.generation;
    barrier.vote |= vote;
    barrier.arrived++;
    open_if_all_came(barrier, wanted);
    while (barrier.generation == generation) yield();
    return barrier.verdict;
}

}  // namespace

void meet(unsigned mask, const void *brought, size_t bytes, void *all) {
    Warp &warp = warp_of(*current);
    unsigned lane = lane_bit(*current);
    if (!(mask & lane)) fail("a lane that is not in its mask");
    Meeting &meeting = joined(warp, mask, lane);
    memcpy(meeting.brought + current->thread % LANES * bytes, brought, bytes);
    meeting.arrived |= lane;
    complete_if_all_came(warp, meeting);
    while (!meeting.complete) yield();
    memcpy(all, meeting.brought, LANES * bytes);
    if (--meeting.readers == 0) forget(warp, meeting);
}

bool meet_at_barrier(unsigned number, unsigned threads, bool vote) {
    if (number > 15) fail("there are 16 barriers, and this is none of them");
    Block &block = *current->block;
    unsigned wanted = threads ? threads : block.threads - block.ended;
    return wait_at(block.barriers[number], wanted, vote);
}

void meet_cluster() {
    Cluster &cluster = *current->block->cluster;
    wait_at(cluster.barrier, cluster.threads - cluster.ended, false);
}

void leave(Fiber &fiber) {
    Block &block = *fiber.block;
    Warp &warp = warp_of(fiber);
    warp.ended |= lane_bit(fiber);
    for (Meeting *meeting : warp.meetings) complete_if_all_came(warp, *meeting);
    block.ended++;
    open_if_all_came(block.barriers[0], block.threads - block.ended);
    Cluster &cluster = *block.cluster;
    cluster.ended++;
    open_if_all_came(cluster.barrier, cluster.threads - cluster.ended);
}

bool anybody_waits(const Block &block) {
    for (const Warp &warp : block.warps)
        if (!warp.meetings.empty()) return true;
    return false;
}

}  // namespace emulated
