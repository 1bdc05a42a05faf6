// Attention on tensor cores, for packed rows; see mod.rs, seen.cuh and packed.cuh.
//
// A block takes HEADS heads of one token (16 or 32) and one part of its keys, 32 keys at a time. There
// is one row for all heads, so heads are the rows of a matrix and keys its columns. Packed rows are
// exact in BF16; queries and weights are two BF16 each, which costs twice the products and is as good
// as floats. Channels are cut into SLICES, each summed by warps of its own:
//
//   rows     codes of 32 keys, fetched one tile ahead, become BF16 in shared memory
//   scores   a warp has 16 heads, all keys, one slice of the channels
//   weights  slices are joined; maximum and sum of each head follow the tiles
//   sums     a warp has all heads and an eighth of the channels, in registers

#define KEYS PART_STEP
#define THREADS 256
#define WARPS (THREADS / WARP)
#define SLICES (WARPS * 16 / HEADS)
// Threads of a head's weights, and keys of each.
#define SHARERS (THREADS / HEADS)
#define OWN (KEYS / SHARERS)
// Matrices of eight channels of a warp's sums.
#define EIGHTS (CHUNKS / WARPS)
// Values of a row of weights; padded so that eight rows are in different banks.
#define WEIGHTS (KEYS + 8)

// Shared memory. Weights take the place of scores.
struct Pool {
    u32 high, low, rows;  // addresses of [HEADS], [HEADS], [KEYS] swizzled rows of WIDTH BF16
    u32 *high_words, *low_words;
    uint4 *row_chunks;
    float *scores;        // [SLICES][HEADS][KEYS], chunks of four swizzled
    u32 *weights;         // [2][HEADS][WEIGHTS] BF16: high parts, low parts
    float *factors;       // [HEADS]
    float *hidden;        // [KEYS]: 0, or -inf for a key that is not there
};

DEVICE Pool pool_at(u8 *bytes) {
    Pool pool;
    pool.high_words = (u32 *)bytes;
    pool.low_words = pool.high_words + HEADS * WIDTH / 2;
    pool.row_chunks = (uint4 *)(pool.low_words + HEADS * WIDTH / 2);
    pool.scores = (float *)(pool.row_chunks + KEYS * CHUNKS);
    pool.weights = (u32 *)pool.scores;
    pool.factors = pool.scores + SLICES * HEADS * KEYS;
    pool.hidden = pool.factors + HEADS;
    pool.high = shared_address(pool.high_words);
    pool.low = shared_address(pool.low_words);
    pool.rows = shared_address(pool.row_chunks);
    return pool;
}

// Queries [HEADS, WIDTH], those beyond `count` zero, as two BF16 each.
DEVICE void place_queries(const Pool &pool, const float *q, u32 count) {
#pragma unroll 4
    for (u32 i = threadIdx.x; i < HEADS * WIDTH / 4; i += THREADS) {
        u32 head = i / (WIDTH / 4), four = i % (WIDTH / 4);
        float4 v = head < count ? ((const float4 *)q)[i] : float4{};
        u32 a = pair_of(v.x, v.y), b = pair_of(v.z, v.w);
        u32 word = swizzled(head, four / 2, CHUNKS) * 4 + four % 2 * 2;
        *(uint2 *)(pool.high_words + word) = make_uint2(a, b);
        *(uint2 *)(pool.low_words + word) = make_uint2(rest_of(v.x, v.y, a), rest_of(v.z, v.w, b));
    }
}

DEVICE u32 score_at(u32 slice, u32 head, u32 key) {
    return ((slice * HEADS + head) * 8 + (key / 4 ^ (head & 7))) * 4 + key % 4;
}

// Sums over a warp's slice of the channels: 16 heads, all keys.
DEVICE void scores_of(const Pool &pool) {
    u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    u32 head = warp % (HEADS / 16) * 16, slice = warp / (HEADS / 16);
    u32 query = head + lane % 16, key = lane / 16 * 8 + lane % 8;
    float scores[KEYS / 8][4] = {};
#pragma unroll 2
    for (u32 k = slice; k < WIDTH / 16; k += SLICES) {
        u32 high[4], low[4];
        u32 at = swizzled(query, 2 * k + lane / 16, CHUNKS) * 16;
        load4(high, pool.high + at);
        load4(low, pool.low + at);
#pragma unroll
        for (u32 n = 0; n < KEYS / 16; n++) {
            u32 rows[4];
            load4(rows, pool.rows + swizzled(16 * n + key, 2 * k + lane / 8 % 2, CHUNKS) * 16);
            multiply(scores[2 * n], low, rows[0], rows[1]);
            multiply(scores[2 * n + 1], low, rows[2], rows[3]);
            multiply(scores[2 * n], high, rows[0], rows[1]);
            multiply(scores[2 * n + 1], high, rows[2], rows[3]);
        }
    }
#pragma unroll
    for (u32 n = 0; n < KEYS / 8; n++)
#pragma unroll
        for (u32 i = 0; i < 2; i++) {
            u32 at = score_at(slice, head + lane / 4 + 8 * i, 8 * n + lane % 4 * 2);
            *(float2 *)(pool.scores + at) = make_float2(scores[n][2 * i], scores[n][2 * i + 1]);
        }
}

// A head's maximum and sum so far, in each of its threads.
struct Running {
    float max, sum;
};

// Scores to weights, and by what earlier sums shrink.
DEVICE void weights_of(const Pool &pool, Running &running) {
    u32 head = threadIdx.x / SHARERS, key = threadIdx.x % SHARERS * OWN;
    float own[OWN], higher = running.max, sum = 0;
#pragma unroll
    for (u32 i = 0; i < OWN; i += 2) {
        float2 score = {};
        for (u32 slice = 0; slice < SLICES; slice++) {
            float2 part = *(const float2 *)(pool.scores + score_at(slice, head, key + i));
            score.x += part.x;
            score.y += part.y;
        }
        own[i] = score.x * rsqrtf((float)WIDTH) + pool.hidden[key + i];
        own[i + 1] = score.y * rsqrtf((float)WIDTH) + pool.hidden[key + i + 1];
        // NaN is no maximum, but makes its weight NaN.
        higher = fmaxf(higher, fmaxf(own[i], own[i + 1]));
    }
    for (u32 distance = 1; distance < SHARERS; distance *= 2)
        higher = fmaxf(higher, __shfl_xor_sync(0xffffffff, higher, distance));
#pragma unroll
    for (u32 i = 0; i < OWN; i++) {
        own[i] = expf(own[i] - higher);
        sum += own[i];
    }
    for (u32 distance = 1; distance < SHARERS; distance *= 2)
        sum += __shfl_xor_sync(0xffffffff, sum, distance);
    float less = expf(running.max - higher);
    running.max = higher;
    running.sum = running.sum * less + sum;
    // All scores are read before weights take their place.
    __syncthreads();
#pragma unroll
    for (u32 i = 0; i < OWN; i += 2) {
        u32 at = (head * WEIGHTS + key + i) / 2, pair = pair_of(own[i], own[i + 1]);
        pool.weights[at] = pair;
        pool.weights[HEADS * WEIGHTS / 2 + at] = rest_of(own[i], own[i + 1], pair);
    }
    if (key == 0) pool.factors[head] = less;
}

typedef float Sums[HEADS / 16][EIGHTS][4];

// sums = sums * factors + weights rows, in a warp's channels.
DEVICE void add_rows(const Pool &pool, Sums &sums) {
    u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, weights = shared_address(pool.weights);
#pragma unroll
    for (u32 m = 0; m < HEADS / 16; m++) {
        float upper = pool.factors[16 * m + lane / 4], lower = pool.factors[16 * m + lane / 4 + 8];
        // Maxima seldom rise after the first tiles.
        if (__all_sync(0xffffffff, upper == 1 && lower == 1)) continue;
#pragma unroll
        for (u32 n = 0; n < EIGHTS; n++) {
            sums[m][n][0] *= upper;
            sums[m][n][1] *= upper;
            sums[m][n][2] *= lower;
            sums[m][n][3] *= lower;
        }
    }
#pragma unroll
    for (u32 k = 0; k < KEYS / 16; k++) {
        u32 high[HEADS / 16][4], low[HEADS / 16][4];
#pragma unroll
        for (u32 m = 0; m < HEADS / 16; m++) {
            u32 at = ((16 * m + lane % 16) * WEIGHTS + 16 * k + lane / 16 * 8) * 2;
            load4(high[m], weights + at);
            load4(low[m], weights + HEADS * WEIGHTS * 2 + at);
        }
#pragma unroll
        for (u32 n = 0; n < EIGHTS; n++) {
            u32 rows[2], key = 16 * k + lane % 16;
            load2_transposed(rows, pool.rows + swizzled(key, warp * EIGHTS + n, CHUNKS) * 16);
#pragma unroll
            for (u32 m = 0; m < HEADS / 16; m++) {
                multiply(sums[m][n], low[m], rows[0], rows[1]);
                multiply(sums[m][n], high[m], rows[0], rows[1]);
            }
        }
    }
}

// sums * factors to rows `stride` apart, of heads below `count`.
DEVICE void write(const Pool &pool, const Sums &sums, float *out, u64 stride, u32 count) {
    u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
#pragma unroll
    for (u32 m = 0; m < HEADS / 16; m++)
#pragma unroll
        for (u32 i = 0; i < 2; i++) {
            u32 head = 16 * m + 8 * i + lane / 4;
            if (head >= count) continue;
            float factor = pool.factors[head];
            float *row = out + head * stride + warp * EIGHTS * 8 + lane % 4 * 2;
#pragma unroll
            for (u32 n = 0; n < EIGHTS; n++)
                *(float2 *)(row + 8 * n) =
                    make_float2(sums[m][n][2 * i] * factor, sums[m][n][2 * i + 1] * factor);
        }
}

// Blocks: [tokens, groups of heads, parts]. The only part of a token writes the result itself.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
    attend_tile(const float *q, CALL_ARGUMENTS, u32 heads, u32 parts, const float *sinks,
                float *partial, float *out) {
    begin();
    extern __shared__ __align__(128) u8 bytes[];
    Call call = CALL;
    u32 t = blockIdx.x, first_head = blockIdx.y * HEADS, part = blockIdx.z;
    u32 count = min(HEADS, heads - first_head);
    u64 row = (u64)t * heads + first_head;
    Seen s = seen(call, t);
    u32 keys = part_keys(s.total, parts), first = part * keys, last = min(s.total, first + keys);
    if (first >= last) return;
    s.total = last;
    Pool pool = pool_at(bytes);
    u32 key = first + threadIdx.x / FETCHERS;
    Fetched fetched = fetch(call, s, key, row_of(call, s, key));
    place_queries(pool, q + row * WIDTH, count);
    Running running = {LOWEST, 0};
    Sums sums = {};
    for (u32 base = first; base < last; base += KEYS) {
        place_row(pool.row_chunks, pool.hidden, fetched);
        key += KEYS;
        u32 next = row_of(call, s, key);
        __syncthreads();
        scores_of(pool);
        fetched = fetch(call, s, key, next);
        __syncthreads();
        weights_of(pool, running);
        __syncthreads();
        add_rows(pool, sums);
        __syncthreads();
    }
    u32 head = threadIdx.x / SHARERS;
    bool one = threadIdx.x % SHARERS == 0;
    if (parts == 1) {
        float sink = head < count ? sinks[first_head + head] : 0.0f, max = fmaxf(running.max, sink);
        float weight = expf(running.max - max);
        if (one) pool.factors[head] = weight / (running.sum * weight + expf(sink - max));
        __syncthreads();
        write(pool, sums, out + row * WIDTH, WIDTH, count);
        return;
    }
    partial += (row * parts + part) * PARTIAL;
    if (one) pool.factors[head] = 1.0f;
    if (one && head < count) {
        float *tail = partial + (u64)head * parts * PARTIAL + WIDTH;
        tail[0] = running.max;
        tail[1] = running.sum;
    }
    __syncthreads();
    write(pool, sums, partial, (u64)parts * PARTIAL, count);
}
