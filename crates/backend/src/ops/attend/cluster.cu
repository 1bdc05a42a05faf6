// Attention of a few tokens on tensor cores, for packed rows, in one launch; see mod.rs, seen.cuh and
// packed.cuh. Eight blocks, a cluster, take HEADS heads of a token (8 or 16), each an eighth of its
// keys. Every block knows its keys before what they are written by has ended, and norms and rotates
// queries itself while rows are on their way:
//
//   rows     codes of 96 keys become BF16 in shared memory
//   scores   a warp has all heads, 32 keys, an eighth of the channels
//   weights  a warp has a head
//   sums     a warp has all heads and keys, every 24th eight of channels
//   join     sums of heads go to the block that joins them, which divides, rotates back, rounds
//
// A matrix of sixteen rows holds eight heads: the high parts of their queries or weights, and the low
// parts. So one product does both, and a thread adds what it has of them.

#define KEYS 96
#define RANKS 8
#define SETS (HEADS / 8)
#define SLICES 8
#define WARPS (SLICES * KEYS / WARP)
#define THREADS (WARPS * WARP)
// Sixteens of keys of a warp's scores at once.
#define AT_ONCE (2 / SETS)
// Values of a row of scores and of weights; padded so that eight rows are in different banks.
#define PADDED (KEYS + 8)
// Keys of a lane, and chunks of channels of a warp's sums.
#define OWN (KEYS / WARP)
#define EIGHTS ((CHUNKS + WARPS - 1) / WARPS)
#define FOURS (WIDTH / 4)
#define QUARTERS ((FOURS + WARP - 1) / WARP)

#if __CUDA_ARCH__ >= 900
// Dynamic shared memory, the sizes of which cuda.rs knows as well.
struct Pool {
    uint4 queries[2 * HEADS * CHUNKS];      // swizzled rows of WIDTH BF16: high parts, low parts
    uint4 rows[KEYS * CHUNKS];              // swizzled
    float received[RANKS][SETS][WIDTH];     // sums of this block's heads, from each block
    float2 tails[RANKS][SETS];              // their maxima, and sums of weights
    u64 coming[2];                          // bytes of both that are still to come; unused
    float scores[SLICES][HEADS][PADDED];
    u16 weights[2][HEADS][PADDED];          // BF16: high parts, low parts
    float factors[HEADS];
    float hidden[KEYS];                     // 0, or -inf for a key that is not there
};

// A head's query in the lanes of a warp, four channels and 32 times as many further, and the angles of
// the rotary channels of each.
struct Query {
    float4 of[QUARTERS], angles[QUARTERS];
};

// Of channels from 128 `j` on, some are rotated.
DEVICE constexpr bool rotates(u32 j) { return WARP * (j + 1) > PLAIN / 4; }

// angles [ROTARY / 2] of (cos, sin).
DEVICE Query query_of(const float4 *q, const float2 *angles) {
    Query query = {};
#pragma unroll
    for (u32 j = 0; j < QUARTERS; j++) {
        u32 i = threadIdx.x % WARP + WARP * j;
        if (i < FOURS) query.of[j] = q[i];
        if (rotates(j) && i >= PLAIN / 4 && i < FOURS)
            query.angles[j] = ((const float4 *)angles)[i - PLAIN / 4];
    }
    return query;
}

// Norms a query, rotates it, and puts it to row `head`, as two BF16 each; see rotate_unit in norm.cu.
DEVICE void place_query(Pool &pool, const Query &query, float eps, u32 head) {
    double sum = 0;
#pragma unroll
    for (u32 j = 0; j < QUARTERS; j++) {
        float4 v = query.of[j];
        sum += ((double)v.x * v.x + (double)v.y * v.y) + ((double)v.z * v.z + (double)v.w * v.w);
    }
    float scale = (float)rsqrt(warp_sum(sum) / WIDTH + (double)eps);
#pragma unroll
    for (u32 j = 0; j < QUARTERS; j++) {
        u32 i = threadIdx.x % WARP + WARP * j;
        if (i >= FOURS) continue;
        float4 v = query.of[j];
        v = make_float4(v.x * scale, v.y * scale, v.z * scale, v.w * scale);
        if (rotates(j) && i >= PLAIN / 4) v = turned(v, (const float2 *)&query.angles[j], 1.0f);
        u32 a = pair_of(v.x, v.y), b = pair_of(v.z, v.w);
        u32 high = swizzled(head, i / 2, CHUNKS) * 2 + i % 2;
        u32 low = swizzled(HEADS + head, i / 2, CHUNKS) * 2 + i % 2;
        ((uint2 *)pool.queries)[high] = make_uint2(a, b);
        ((uint2 *)pool.queries)[low] = make_uint2(rest_of(v.x, v.y, a), rest_of(v.z, v.w, b));
    }
}

// Sums over a warp's slice of the channels: all heads, 32 of the `there` keys.
DEVICE void scores_of(Pool &pool, u32 there) {
    u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, slice = warp % SLICES;
    u32 first = warp / SLICES * WARP, query = lane / 8 % 2 * HEADS + lane % 8;
    if (first >= there) return;
    u32 key = first + lane / 16 * 8 + lane % 8;
    u32 queries = shared_address(pool.queries), rows = shared_address(pool.rows);
    // More heads take fewer keys at once, since sums of both are in registers.
#pragma unroll
    for (u32 n = 0; n < 2; n += AT_ONCE) {
        float scores[SETS][2 * AT_ONCE][4] = {};
#pragma unroll 2
        for (u32 k = slice; k < WIDTH / 16; k += SLICES) {
            u32 own[SETS][4];
#pragma unroll
            for (u32 s = 0; s < SETS; s++)
                load4(own[s], queries + swizzled(query + 8 * s, 2 * k + lane / 16, CHUNKS) * 16);
#pragma unroll
            for (u32 m = 0; m < AT_ONCE; m++) {
                u32 two[4];
                load4(two, rows + swizzled(key + 16 * (n + m), 2 * k + lane / 8 % 2, CHUNKS) * 16);
#pragma unroll
                for (u32 s = 0; s < SETS; s++) {
                    multiply(scores[s][2 * m], own[s], two[0], two[1]);
                    multiply(scores[s][2 * m + 1], own[s], two[2], two[3]);
                }
            }
        }
#pragma unroll
        for (u32 s = 0; s < SETS; s++)
#pragma unroll
            for (u32 m = 0; m < 2 * AT_ONCE; m++) {
                u32 at = first + 16 * n + 8 * m + lane % 4 * 2;
                const float(&v)[4] = scores[s][m];
                *(float2 *)&pool.scores[slice][8 * s + lane / 4][at] =
                    make_float2(v[0] + v[2], v[1] + v[3]);
            }
    }
}

// A head's maximum and sum so far, in each lane of its warp.
struct Running {
    float max, sum;
};

// Scores of `there` keys to weights, and by what earlier sums shrink. By a warp for each head.
DEVICE void weights_of(Pool &pool, Running &running, u32 there) {
    u32 head = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    float own[OWN], higher = running.max, sum = 0;
#pragma unroll
    for (u32 i = 0; i < OWN; i++) {
        u32 key = lane + WARP * i;
        float score = 0;
#pragma unroll
        for (u32 slice = 0; slice < SLICES; slice++) score += pool.scores[slice][head][key];
        score = score * rsqrtf((float)WIDTH) + pool.hidden[key];
        // Nothing has been computed for keys beyond the last.
        own[i] = key < there ? score : -INFINITE;
        // NaN is no maximum, but makes its weight NaN.
        higher = fmaxf(higher, own[i]);
    }
    higher = warp_max(higher);
#pragma unroll
    for (u32 i = 0; i < OWN; i++) {
        float weight = expf(own[i] - higher);
        u32 key = lane + WARP * i, high = pair_of(weight, weight);
        sum += weight;
        pool.weights[0][head][key] = (u16)high;
        pool.weights[1][head][key] = (u16)rest_of(weight, weight, high);
    }
    float less = expf(running.max - higher);
    running.max = higher;
    running.sum = running.sum * less + warp_sum(sum);
    if (lane == 0) pool.factors[head] = less;
}

typedef float Sums[SETS][EIGHTS][4];

// sums = sums * factors + weights rows, in a warp's channels, over `there` keys.
DEVICE void add_rows(Pool &pool, Sums &sums, u32 there) {
    u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, rows = shared_address(pool.rows);
#pragma unroll
    for (u32 s = 0; s < SETS; s++) {
        float factor = pool.factors[8 * s + lane / 4];
#pragma unroll
        for (u32 e = 0; e < EIGHTS; e++)
#pragma unroll
            for (u32 i = 0; i < 4; i++) sums[s][e][i] *= factor;
    }
#pragma unroll 2
    for (u32 k = 0; k < (there + 15) / 16; k++) {
        u32 weights[SETS][4];
#pragma unroll
        for (u32 s = 0; s < SETS; s++)
            load4(weights[s], shared_address(&pool.weights[lane / 8 % 2][8 * s + lane % 8]
                                                          [16 * k + lane / 16 * 8]));
#pragma unroll
        for (u32 e = 0; e < EIGHTS; e++) {
            u32 two[2], n = warp + WARPS * e;
            if (n >= CHUNKS) continue;
            load2_transposed(two, rows + swizzled(16 * k + lane % 16, n, CHUNKS) * 16);
#pragma unroll
            for (u32 s = 0; s < SETS; s++) multiply(sums[s][e], weights[s], two[0], two[1]);
        }
    }
}

// Sums of the first `count` heads to the blocks that join them; one without heads may have ended.
DEVICE void send(Pool &pool, const Sums &sums, const Running &running, u32 count, u32 rank) {
    u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
#pragma unroll
    for (u32 s = 0; s < SETS; s++)
#pragma unroll
        for (u32 e = 0; e < EIGHTS; e++) {
            u32 head = 8 * s + lane / 4, n = warp + WARPS * e;
            const float(&v)[4] = sums[s][e];
            float *to = &pool.received[rank][head % SETS][8 * n + lane % 4 * 2];
            if (n < CHUNKS && head < count)
                send_to(to, pool.coming, head / SETS, v[0] + v[2], v[1] + v[3]);
        }
    if (warp < count && lane == 0)
        send_to(&pool.tails[rank][warp % SETS], pool.coming, warp / SETS, running.max, running.sum);
}

// Channels 4 `i` to 4 `i` + 3 of one of this block's heads, from `used` blocks and the sink.
DEVICE float4 joined(const Pool &pool, u32 head, u32 i, u32 used, float sink) {
    float max = sink;
    for (u32 p = 0; p < used; p++) max = fmaxf(max, pool.tails[p][head].x);
    float sum = expf(sink - max);
    float4 value = {};
#pragma unroll
    for (u32 p = 0; p < RANKS; p++) {
        if (p >= used) break;
        float4 part = ((const float4 *)pool.received[p][head])[i];
        float weight = expf(pool.tails[p][head].x - max);
        sum += pool.tails[p][head].y * weight;
        value.x += part.x * weight;
        value.y += part.y * weight;
        value.z += part.z * weight;
        value.w += part.w * weight;
    }
    float share = 1.0f / sum;
    return make_float4(value.x * share, value.y * share, value.z * share, value.w * share);
}

// Keeps the row of a token that is alone in its segment in the ring of its session: it takes the place of
// a row that nobody sees any more. Thread `i` of at least PLAIN / 16 + ROTARY / 8 + GROUPS has a piece.
DEVICE void keep_packed(const Call &call, const Seen &s, u32 t, u32 i) {
    const u8 *slot = call.slots + s.segment.slot * call.slot_bytes + call.ring_offset;
    RowPlace from = row_place(call.fresh, call.capacity, t);
    RowPlace to = row_place(slot, call.ring, s.segment.start % call.ring);
    const u32 plain = PLAIN / 16, rotary = plain + ROTARY / 8;
    if (i < plain)
        ((uint4 *)to.first)[i] = ((const uint4 *)from.first)[i];
    else if (i < rotary)
        ((uint4 *)to.second)[i - plain] = ((const uint4 *)from.second)[i - plain];
    else if (i < rotary + GROUPS)
        ((u8 *)to.third)[i - rotary] = from.third[i - rotary];
}

#endif

// Blocks: [ranks, groups of heads, tokens]. Queries [tokens, heads, WIDTH] as their product left them,
// `angles` [tokens, ROTARY / 2] for them and, back, for heads; `codes` and so on are the heads' rounded
// copy, if they have one. If `keeping` is said, no segment has two tokens, and rows are kept. The next
// kernel begins when the first rows are there.
extern "C" __global__ void CLUSTER __launch_bounds__(THREADS, 1)
    attend_cluster(const float *q, CALL_ARGUMENTS, u32 heads, const float *sinks, float4 *out, float eps,
                   const float2 *angles, i8 *codes, float *steps, float2 *halves, u32 keeping) {
#if __CUDA_ARCH__ >= 900
    extern __shared__ __align__(128) u8 bytes[];
    Pool &pool = *(Pool *)bytes;
    if (threadIdx.x == 0) coming_begin(pool.coming);
    __syncwarp();
    cluster_begin();
    Call call = CALL;
    u32 rank = blockIdx.x, first_head = blockIdx.y * HEADS, t = blockIdx.z, warp = threadIdx.x / WARP;
    u32 count = min(HEADS, heads - first_head);
    u64 row = (u64)t * heads + first_head;
    angles += (u64)t * (ROTARY / 2);
    Seen s = told(call, t);
    u32 keys = ((s.total + RANKS - 1) / RANKS + 15) / 16 * 16, used = (s.total + keys - 1) / keys;
    u32 first = min(s.total, rank * keys), last = min(s.total, first + keys);
    s.total = last;
    u32 mine = count > rank * SETS ? min(SETS, count - rank * SETS) : 0;
    if (threadIdx.x == 0) coming_expect(pool.coming, used * mine * (4 * WIDTH + 8));
    wait_for_inputs();
    Query query = {};
    if (warp < count) query = query_of((const float4 *)q + (row + warp) * FOURS, angles);
    // Where scores are not numbers, nothing beyond the window is.
    bool damaged = call.beyond == 2 && last > s.window && s.picks[0] == DAMAGED;
    Running running = {LOWEST, 0};
    Sums sums = {};
    for (u32 base = first; base < last; base += KEYS) {
        u32 key = base + threadIdx.x / FETCHERS, there = min(KEYS, last - base);
        u32 picked = row_of(call, s, key);
        if (damaged && key >= s.window && key < last) picked = DAMAGED;
        Fetched fetched = fetch(call, s, key, picked);
        if (base == first && warp < HEADS) place_query(pool, query, eps, warp);
        // What was here has been added.
        if (base > first) __syncthreads();
        place_row(pool.rows, pool.hidden, fetched);
        __syncthreads();
        if (base == first) let_next_begin();
        scores_of(pool, there);
        __syncthreads();
        if (warp < HEADS)
            weights_of(pool, running, there);
        else if (keeping && blockIdx.y == 0 && base == 0)
            keep_packed(call, s, t, threadIdx.x - HEADS * WARP);
        __syncthreads();
        add_rows(pool, sums, there);
    }
    // All blocks have begun, so their memory is there, and counts what comes.
    cluster_wait();
    if (first < last) send(pool, sums, running, count, rank);
    u32 own = threadIdx.x / FOURS, head = rank * SETS + own, i = threadIdx.x % FOURS;
    if (own >= mine) return;
    bool rotated = i >= PLAIN / 4;
    float sink = fixed(sinks + first_head + head);
    float4 back = rotated ? ((const float4 *)angles)[i - PLAIN / 4] : float4{};
    coming_wait(pool.coming, 0);
    float4 v = joined(pool, own, i, used, sink);
    if (rotated) v = turned(v, (const float2 *)&back, -1.0f);
    u64 at = (row + head) * FOURS + i;
    out[at] = v;
    if (codes) round_four(v, at, {codes, steps, halves});
#endif
}
