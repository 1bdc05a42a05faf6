// How packed rows come to the shared memory of a block of many.cu: two groups of four warps find them,
// hold those of the next 64 keys in registers, and put them to their places, where they are BF16, as
// soon as those that were there have been multiplied. Comes after many.cuh.

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
// The tiles of a block's items, one after the other.
struct Walk {
    u32 item, base;
    Seen s;

    __device__ __forceinline__ void enter(const Work &work) {
        base = 0;
        if (item >= work.items()) return;
        s = seen(work.call, item / work.groups);
        // Queries will be asked for when tiles on their way have been multiplied.
        u32 t = item / work.groups, first = item % work.groups * HEADS;
        const float *q = work.q + ((u64)t * work.heads + first) * WIDTH;
        u32 bytes = min(HEADS, work.heads - first) * WIDTH * 4;
        for (u32 at = threadIdx.x % GROUP * 128; at < bytes; at += GROUP * 128)
            asm volatile("prefetch.global.L2 [%0];" :: "l"((const u8 *)q + at));
    }
    __device__ __forceinline__ void next(const Work &work) {
        base += KEYS;
        if (item >= work.items() || base < s.total) return;
        item += gridDim.x;
        enter(work);
    }
};

// Notes where rows of the `tile`th tile are, which keys are there, whether there is such a tile, and
// whether it is the last of its item; by one group.
DEVICE void note(Pool &pool, const Work &work, const Walk &walk, u32 tile) {
    u32 r = threadIdx.x % GROUP;
    if (r >= KEYS) return;
    bool more = walk.item < work.items();
    u32 key = walk.base + r, row = more ? row_of(work.call, walk.s, key) : NO_PICK;
    Where where = {NOWHERE, NOWHERE, NOWHERE};
    if (row == DAMAGED) where = {WRONG, WRONG, WRONG};
    if (row < DAMAGED) {
        RowPlace place = place_of(work.call, walk.s, key, row);
        where = {place.first, place.second, place.third};
    }
    pool.where[tile % 2][r] = where;
    u32 there = __ballot_sync(0xffffffff, row != NO_PICK);
    if (r % WARP == 0) pool.there[tile % 4][r / WARP] = there;
    if (r == 0) {
        pool.more[tile % 4] = more;
        pool.last[tile % 4] = walk.base + KEYS >= walk.s.total;
    }
}

// A thread's parts of OWN rows: of every panel of its group eight channels; and the exponent of one
// panel's scale, which becomes the scale twice.
struct Held {
    uint2 codes[HALF][OWN];
    uint4 rotary[OWN];
    u32 scales[OWN];
};

// Asks for the panels of a group of the tile, all at once: to wait for one of them is to wait for all.
template <int G>
DEVICE void hold(const Pool &pool, Held &held, u32 tile) {
    u32 first = threadIdx.x % GROUP / FETCHERS, part = threadIdx.x % FETCHERS;
#pragma unroll
    for (u32 k = 0; k < OWN; k++) {
        Where where = pool.where[tile % 2][first + k * APART];
        bool there = where.codes > WRONG, wrong = where.codes == WRONG;
#pragma unroll
        for (u32 j = 0; j < HALF; j++) {
            u32 p = G * HALF + j;
            if (p < GROUPS) {
                held.codes[j][k] = {};
                if (there) held.codes[j][k] = ((const uint2 *)where.codes)[p * FETCHERS + part];
            } else {
                held.rotary[k] = all_of(wrong ? 0x7fc07fc0 : 0);
                if (there) held.rotary[k] = ((const uint4 *)where.rotary)[part];
            }
        }
        held.scales[k] = wrong ? 255 : 127;
        if (there && part < GROUPS) held.scales[k] = where.scales[part];
    }
}

// Puts panel `j` of a group's to its place.
template <int G>
DEVICE void put(Pool &pool, const Held &held, u32 j) {
    u32 first = threadIdx.x % GROUP / FETCHERS, part = threadIdx.x % FETCHERS;
    u32 p = G * HALF + j;
    // All rows of a thread are swizzled alike.
    u8 *to = pool.rows[p] + first * 128 + (part ^ (first & 7)) * 16;
#pragma unroll
    for (u32 k = 0; k < OWN; k++) {
        uint4 v = held.rotary[k];
        if (p < GROUPS) {
            u32 lane = threadIdx.x % WARP / FETCHERS * FETCHERS + p;
            v = expanded(held.codes[j][k], __shfl_sync(0xffffffff, held.scales[k], lane));
        }
        *(uint4 *)(to + k * APART * 128) = v;
    }
}

// Brings what group G multiplies.
template <int G>
DEVICE void bring_all(Pool &pool, const Work &work) {
    Walk walk;
    Held held;
    // The first group finds rows, one tile further ahead.
    if (G == 0) {
        walk.item = blockIdx.x;
        walk.enter(work);
        note(pool, work, walk, 0);
        walk.next(work);
        note(pool, work, walk, 1);
    }
    bringing_meet();
    hold<G>(pool, held, 0);
    bringing_meet();
    for (u32 tile = 0; pool.more[tile % 4]; tile++) {
#pragma unroll
        for (u32 k = 0; k < OWN; k++) held.scales[k] = scale_pair(held.scales[k]);
#pragma unroll
        for (u32 h = 0; h < 2; h++) {
            wait(pool.empty + G * 2 + h, ~tile & 1);
            put<G>(pool, held, 2 * h);
            put<G>(pool, held, 2 * h + 1);
            let_products_read();
            arrive(pool.full + G * 2 + h);
        }
        hold<G>(pool, held, tile + 1);
        if (G == 0) {
            walk.next(work);
            note(pool, work, walk, tile + 2);
        }
        bringing_meet();
    }
}
#endif
