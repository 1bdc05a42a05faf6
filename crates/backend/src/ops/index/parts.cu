// Rows picked for a few tokens in one launch: every block scores a part of the rows of one token,
// and the last to end selects among the scores of all of them; see tile.cuh and select.cuh.
//
// Blocks also count their keys by the highest bits. So the last knows at once which stretch of keys
// the last that is picked is in: only those above it and in it must be looked at more than once.
// Where they are too many, all are selected from.

// Keys are counted by stretches of a 32nd of an octave, from 2^-38 to 2^26 and to below -2^-38, and
// the largest alone for what is not a number.
#define STRETCHES 4096
#define STRETCHES_EACH (STRETCHES / THREADS)
#define STRETCH_SHIFT 18
#define SMALLEST (89u << 23)
// Keys of a stretch that are compared with each other.
#define COMPARED 256
// Keys that a warp takes in a step, and steps whose keys are loaded together.
#define FOURS (4 * WARP)
#define AHEAD 4
// Rows of a block at once.
#define ROWS (THREADS / GROUP * GROUP_ROWS)

// The stretch of a magnitude among those of its sign.
DEVICE u32 magnitude_stretch(u32 bits) {
    return bits < SMALLEST ? 0 : min((bits - SMALLEST) >> STRETCH_SHIFT, STRETCHES / 2 - 1);
}

DEVICE u32 stretch_of(u32 key) {
    u32 bits = key ^ 0x80000000u;
    if (key == NAN_KEY) return STRETCHES - 1;
    if (key < 0x80000000u) return STRETCHES / 2 - 1 - magnitude_stretch(0x7fffffffu - key);
    return STRETCHES / 2 + min(magnitude_stretch(bits), STRETCHES / 2 - 2);
}

// The least key of a stretch.
DEVICE u32 least_of(u32 stretch) {
    if (stretch == 0 || stretch == STRETCHES - 1) return stretch ? NAN_KEY : 0;
    int steps = (int)stretch - STRETCHES / 2;
    u32 magnitude = SMALLEST + ((u32)(steps < 0 ? -steps : steps) << STRETCH_SHIFT);
    return steps == 0 ? 0x80000000u : 0x80000000u + (steps < 0 ? 0 - magnitude : magnitude);
}

// What blocks leave for the last: keys, how many are in each stretch, and how many blocks have
// ended. Counts are zero before and after.
struct Left {
    u32 *keys, *counts, *ended;
};

// The stretch of the last key that is picked, `inside` keys in it of which `wanted` are.
struct Found {
    u32 stretch, inside, wanted;
    bool damaged;
};

// Scores rows `first` to `end`; what is at `counts`, in shared memory, is zero before.
DEVICE void score_part(const Pages &pages, u32 owner, u32 first, u32 end, const float *q,
                       const float *weights, u32 heads, float scale, u8 *bytes, u32 *counts,
                       const Left &left) {
    u32 own = threadIdx.x / WARP * 16, row = first;
    float *own_weights = (float *)(bytes + HEADS * WIDTH * 2);
    Stored stored = load_rows(pages, owner, row + own, end);
    place_queries(bytes, own_weights, q, weights, 1, HEADS, heads, scale);
    let_products_read();
    __syncthreads();
    for (; row + threadIdx.x / GROUP * GROUP_ROWS < end; row += ROWS) {
        Rows rows;
        decode_rows(rows, stored);
        if (row + ROWS < end) stored = load_rows(pages, owner, row + ROWS + own, end);
        Sums sums = {};
#pragma unroll
        for (u32 head = 0; head < HEADS; head += AT_ONCE) {
            Products d;
            begin_products(d, rows, shared_address(bytes) / 16, head, HEADS);
            products_but<0>();
            add_weighed(sums, d, own_weights + head);
        }
        put_scores(sums, [&](u32 i, u32 key) {
            if (row + own + i >= end) return;
            left.keys[row + own + i] = key;
            atomicAdd(counts + stretch_of(key), 1);
        });
    }
    __syncthreads();
#pragma unroll
    for (u32 i = threadIdx.x; i < STRETCHES / 4; i += THREADS) {
        uint4 four = ((const uint4 *)counts)[i];
        if (four.x) atomicAdd(left.counts + 4 * i, four.x);
        if (four.y) atomicAdd(left.counts + 4 * i + 1, four.y);
        if (four.z) atomicAdd(left.counts + 4 * i + 2, four.z);
        if (four.w) atomicAdd(left.counts + 4 * i + 3, four.w);
    }
}

// Whether this block is the last of `used` that ends; what the others left can be read then.
DEVICE bool last_of(u32 *ended, u32 used) {
    __shared__ bool last;
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        last = atomicAdd(ended, 1) == used - 1;
        __threadfence();
        if (last) *ended = 0;
    }
    __syncthreads();
    return last;
}

// Finds the stretch by counting from the largest, and leaves counts zero.
DEVICE Found find_stretch(u32 *counts, u32 wanted) {
    __shared__ u32 sums[WARPS];
    __shared__ Found found;
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    u32 top = STRETCHES - 1 - STRETCHES_EACH * threadIdx.x, own[STRETCHES_EACH], sum = 0;
#pragma unroll
    for (u32 i = 0; i < STRETCHES_EACH / 4; i++) {
        uint4 *four = (uint4 *)(counts + top - 3 - 4 * i), n = __ldcg(four);
        *four = {};
        own[4 * i] = n.w;
        own[4 * i + 1] = n.z;
        own[4 * i + 2] = n.y;
        own[4 * i + 3] = n.x;
        sum += n.x + n.y + n.z + n.w;
    }
    u32 through = sum;
    for (u32 distance = 1; distance < WARP; distance *= 2) {
        u32 before = __shfl_up_sync(0xffffffff, through, distance);
        if (lane >= distance) through += before;
    }
    if (lane == WARP - 1) sums[warp] = through;
    __syncthreads();
    u32 before = through - sum + warp_sum(lane < warp ? sums[lane] : 0);
    // The largest stretch is that of NAN_KEY alone.
    if (threadIdx.x == 0) found.damaged = own[0] > 0;
    if (before < wanted && wanted <= before + sum) {
#pragma unroll
        for (u32 i = 0; i < STRETCHES_EACH; i++) {
            if (before < wanted && wanted <= before + own[i]) {
                found.stretch = top - i;
                found.inside = own[i];
                found.wanted = wanted - before;
            }
            before += own[i];
        }
    }
    __syncthreads();
    return found;
}

// Candidates that a warp keeps: keys from the least of the stretch on, and their rows.
struct Candidates {
    u32 *keys, *rows;
    u32 count;

    template <typename F>
    __device__ __forceinline__ void each(F f) const {
        for (u32 i = threadIdx.x % WARP; i < (count + WARP - 1) / WARP * WARP; i += WARP)
            f(i, i < count ? keys[i] : 0);
    }
};

// A warp's share of a token's keys: those from `first` to `end`, four of each lane in a step.
struct Share {
    const u32 *keys;
    u32 first, end;
    uint4 ahead[AHEAD];

    // Loads the keys of the next steps.
    __device__ __forceinline__ void load() {
        u32 row = first + threadIdx.x % WARP * 4;
#pragma unroll
        for (u32 i = 0; i < AHEAD; i++, row += FOURS)
            ahead[i] = row < end ? __ldcg((const uint4 *)(keys + row)) : make_uint4(0, 0, 0, 0);
    }
};

DEVICE Share begin_share(const u32 *keys, u32 visible) {
    u32 count = (visible + 4 * THREADS - 1) / (4 * THREADS) * FOURS;
    u32 first = threadIdx.x / WARP * count;
    Share share = {keys, first, min(first + count, visible)};
    share.load();
    return share;
}

// Takes a step's candidates, of rows from `row` on four in each lane, to `own`. Those that are more
// than `room` are counted and not taken.
DEVICE void take_step(Candidates &own, u32 room, uint4 four, u32 row, u32 end, u32 least) {
    u32 keys[4] = {four.x, four.y, four.z, four.w}, below = (1u << threadIdx.x % WARP) - 1;
    u32 place = own.count, all = 0;
    bool taken[4];
#pragma unroll
    for (u32 k = 0; k < 4; k++) {
        taken[k] = row + k < end && keys[k] >= least;
        u32 votes = __ballot_sync(0xffffffff, taken[k]);
        place += __popc(votes & below);
        all += __popc(votes);
    }
#pragma unroll
    for (u32 k = 0; k < 4; k++) {
        if (taken[k] && place < room) {
            own.keys[place] = keys[k];
            own.rows[place] = row + k;
        }
        place += taken[k];
    }
    own.count += all;
}

// Takes candidates among a warp's share, in order.
DEVICE Candidates take_candidates(u32 *to, u32 room, Share &share, u32 least) {
    Candidates own = {to, to + room, 0};
    while (share.first < share.end) {
        u32 row = share.first + threadIdx.x % WARP * 4;
#pragma unroll
        for (u32 i = 0; i < AHEAD; i++)
            if (share.first + i * FOURS < share.end)
                take_step(own, room, share.ahead[i], row + i * FOURS, share.end, least);
        share.first += AHEAD * FOURS;
        share.load();
    }
    __syncwarp();
    return own;
}

// The last block: picks from what is left. In shared memory `keys` has room for `listed` keys of
// the stretch, and `kept` for `room` candidates.
DEVICE void pick_from(const Left &left, u32 visible, u32 top_k, u32 *picks, u32 *keys, u32 listed,
                      u32 *kept, u32 room) {
    __shared__ u32 count;
    if (threadIdx.x == 0) count = 0;
    Share share = begin_share(left.keys, visible);
    Found found = find_stretch(left.counts, top_k);
    if (found.damaged) return pick_damaged(picks, top_k, threadIdx.x, THREADS);
    u32 least = least_of(found.stretch), most = least_of(found.stretch + 1) - 1;
    u32 each = room / WARPS, lane = threadIdx.x % WARP;
    Candidates own = take_candidates(kept + threadIdx.x / WARP * 2 * each, each, share, least);
    bool many = own.count > each || found.inside > listed;
    if (!many)
        own.each([&](u32, u32 key) {
            bool inside = least <= key && key <= most;
            u32 all = __ballot_sync(0xffffffff, inside), at = 0;
            if (lane == 0) at = atomicAdd(&count, __popc(all));
            at = __shfl_sync(0xffffffff, at, 0) + __popc(all & ((1u << lane) - 1));
            if (inside) keys[at] = key;
        });
    if (__syncthreads_or(many)) {
        select<false>({left.keys, 0, visible}, top_k,
                      [&](u32 place, u32 row, u32) { picks[place] = row; });
        return;
    }
    u32 wanted = found.wanted, last;
    if (found.inside <= COMPARED) {
        uint2 both = compared(keys, found.inside, wanted);
        last = both.x;
        wanted = both.y;
    } else {
        last = last_key<true>({0, keys, found.inside}, least, most, wanted);
    }
    each_chosen(own, last, wanted, [&](u32 place, u32 i, u32) { picks[place] = own.rows[i]; });
}

// Blocks: parts (x), tokens (y). q [T, heads * WIDTH], weights [T, heads] -> picks [T, top_k], for
// tokens from `first_token` on. For what blocks leave, for each token of the launch: keys [stride],
// a multiple of 4, counts [STRETCHES], ended. Shared memory: queries [HEADS, WIDTH] BF16, weights
// [HEADS], STRETCHES counts, `room` candidates.
extern "C" __global__ void __launch_bounds__(THREADS)
    pick_parts(const float *q, const float *weights, const u32 *positions, const u32 *owners,
               const u32 *page_table, u32 table_width, const u8 *pages, u64 page_bytes, u64 offset,
               u32 ratio, u32 heads, u32 top_k, float scale, u32 *picks, u32 *keys, u32 *counts,
               u32 *ended, u32 stride, u32 room, u32 first_token) {
    let_next_begin();
    extern __shared__ __align__(1024) u8 bytes[];
    const u32 words = HEADS * (WIDTH / 2 + 1);
    u32 *own_counts = (u32 *)bytes + words;
    for (u32 i = threadIdx.x; i < STRETCHES / 4; i += THREADS) ((uint4 *)own_counts)[i] = {};
    wait_for_inputs();
    u64 t = first_token + blockIdx.y;
    u32 visible = (positions[t] + 1) / ratio, owner = owners[t];
    picks += t * top_k;
    if (visible <= top_k) {
        if (blockIdx.x == 0) pick_all(picks, visible, top_k, threadIdx.x, THREADS);
        return;
    }
    u32 part = (visible + gridDim.x - 1) / gridDim.x;
    part = (part + GROUP_ROWS - 1) / GROUP_ROWS * GROUP_ROWS;
    u32 first = blockIdx.x * part, used = (visible + part - 1) / part;
    if (blockIdx.x >= used) return;
    Left left = {keys + (u64)blockIdx.y * stride, counts + blockIdx.y * STRETCHES,
                 ended + blockIdx.y};
    Pages place = {pages, page_bytes, offset, page_table, table_width, page_shift(ratio)};
    score_part(place, owner, first, min(first + part, visible), q + t * heads * WIDTH,
               weights + t * heads, heads, scale, bytes, own_counts, left);
    if (!last_of(left.ended, used)) return;
    pick_from(left, visible, top_k, picks, (u32 *)bytes, words + STRETCHES, own_counts + STRETCHES,
              room);
}
