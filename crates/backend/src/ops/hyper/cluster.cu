// From one half layer to the next, as hyper.cu does it, for few tokens of four streams: what the last
// half gave is spread over the streams, and the next one's input is read from them and normed. A
// cluster of eight blocks has a token, and sums go from each to all others at once. FORMAT is that of
// the matrix [24, 4 d]: F16 or BF16.
//
// Each block takes an eighth of the channels of all four streams, holds them in shared memory, and
// multiplies the columns of the matrix that belong to them, on tensor cores. All of these are on their
// way before the kernels in front have ended, the last eight coefficients to registers and the others to
// shared memory: so a block needs no more of a processor than others leave. At the end the last warp of
// the last block makes the gates, while others read and norm.
//
// A value of a stream is as many numbers of the matrix's format as it takes to have its digits, each the
// rounding of what those before leave; they are columns of one product. F16 has few exponents, so what
// a block has is scaled by a power of two.
//
// Blocks meet once. With the coefficients they sum products of every two streams: those of streams
// with themselves scale what is read, and all together say how long the read row is, which is a sum of
// streams, before anybody has read it. The sum is of as many digits as streams are; a row that is much
// shorter than they are has fewer.

#define RANKS 8
#define COEFFICIENTS 24
// Products of two of the streams: 0 0, 0 1, 0 2, 0 3, 1 1, 1 2, 1 3, 2 2, 2 3, 3 3.
#define PRODUCTS 10
#define SUMS (COEFFICIENTS + PRODUCTS)
#define WARPS 8
#define THREADS (WARPS * WARP)
// Those that read streams and norm what they read.
#define READERS (THREADS - WARP)
// Columns are taken in blocks of four chunks, of which a warp has AHEAD on their way: those of LATE
// coefficients go to shared memory, and those of the last eight to registers.
#define AHEAD 8
#define LATE 16
#if FORMAT == 1
#define NARROW "f16"
#define PARTS 2
#else
#define NARROW "bf16"
#define PARTS 3
#endif

#if __CUDA_ARCH__ >= 900
struct Shared {
    float parts[WARPS][SUMS];     // of this block's warps
    float collected[RANKS][SUMS]; // of all blocks
    u64 coming;                   // bytes of those that are still to come
    u32 largest[WARPS];           // magnitudes, of this block's warps
    float base[COEFFICIENTS], scale[4];
};

// What no kernel changes and is small comes before anybody waits, too: it has left the caches since the
// last token, and memory takes its time. `weights` are this block's of the norm, which may be null.
DEVICE void fetch_weights(Shared &s, float4 *weights, const float *base, const float *scale,
                          const float *norm, u32 rank, u32 fours) {
    u32 i = threadIdx.x;
    if (i < COEFFICIENTS) copy4(s.base + i, base + i, true);
    if (i < 3) copy4(s.scale + i, scale + i, true);
    for (u32 j = i; norm && j < fours; j += THREADS)
        copy16(weights + j, (const float4 *)norm + rank * fours + j, true);
}

// Lanes that differ in the bit HALF, and in those below it, exchange halves of what is left to sum.
template <int HALF>
DEVICE void exchange(float (&v)[16]) {
    bool upper = threadIdx.x & HALF;
#pragma unroll
    for (int i = 0; i < HALF; i++) {
        float given = upper ? v[i] : v[i + HALF], kept = upper ? v[i + HALF] : v[i];
        v[i] = kept + __shfl_xor_sync(0xffffffff, given, HALF);
    }
    if constexpr (HALF > 1) exchange<HALF / 2>(v);
}

// Sums of products over a warp, to `to`.
DEVICE void put_products(float *to, const float (&products)[PRODUCTS]) {
    float v[16];
#pragma unroll
    for (int r = 0; r < 16; r++) v[r] = r < PRODUCTS ? products[r] : 0.0f;
    exchange<8>(v);
    v[0] += __shfl_xor_sync(0xffffffff, v[0], 16);
    if (threadIdx.x % WARP < PRODUCTS) to[threadIdx.x % WARP] = v[0];
}

// Where a token's block reads and writes its channels: of streams, and of what is spread, which may be
// null. `stride` is from one stream to the next, in pairs of channels.
struct Streams {
    float2 *h;
    const float2 *y;
    const float4 *gates;
    u32 pairs, stride;
};

// This block's channels of the four streams to `held`, [4, pairs]: as they are, or, with a y,
// post[k] y + sum over j of C[j][k] h[j], which is written back. Their products are added to `products`;
// the bits of the largest magnitude.
DEVICE u32 hold_streams(float2 *held, const Streams &s, float (&products)[PRODUCTS]) {
    u32 largest = 0;
    for (u32 i = threadIdx.x; i < s.pairs; i += THREADS) {
        float4 g[5] = {};
        float2 v[4] = {}, value = {};
#pragma unroll
        for (int k = 0; k < 4; k++) v[k] = s.h[(u64)k * s.stride + i];
        if (s.y) {
            value = s.y[i];
#pragma unroll
            for (int k = 0; k < 5; k++) g[k] = s.gates[k];
            float2 before[4] = {v[0], v[1], v[2], v[3]};
#pragma unroll
            for (int k = 0; k < 4; k++) {
                float post = (&g[0].x)[k];
                v[k] = make_float2(post * value.x, post * value.y);
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    float c = (&g[1 + j].x)[k];
                    v[k].x += c * before[j].x;
                    v[k].y += c * before[j].y;
                }
                s.h[(u64)k * s.stride + i] = v[k];
            }
        }
#pragma unroll
        for (int k = 0, n = 0; k < 4; k++) {
            held[k * s.pairs + i] = v[k];
            largest = max(largest, max(__float_as_uint(fabsf(v[k].x)), __float_as_uint(fabsf(v[k].y))));
#pragma unroll
            for (int j = k; j < 4; j++, n++) products[n] += v[k].x * v[j].x + v[k].y * v[j].y;
        }
    }
    return largest;
}

// By which power of two streams are multiplied, as the exponent of a float.
DEVICE u32 scale_exponent(const Shared &s) {
    u32 largest = 0;
#pragma unroll
    for (u32 w = 0; w < WARPS; w++) largest = max(largest, s.largest[w]);
    return FORMAT == 1 ? min(268 - (largest >> 23), 253) : 127;
}

DEVICE u32 narrow(float low, float high) {
    u32 pair;
    asm("cvt.rn." NARROW "x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

// What is held, as PARTS numbers each: planes [4, pairs].
DEVICE void narrow_streams(u32 *planes, const float2 *held, u32 pairs, float factor) {
    for (u32 i = threadIdx.x; i < 4 * pairs; i += THREADS) {
        float2 left = make_float2(held[i].x * factor, held[i].y * factor);
#pragma unroll
        for (u32 p = 0; p < PARTS; p++) {
            u32 pair = narrow(left.x, left.y);
            planes[p * 4 * pairs + i] = pair;
            left.x -= value_of(pair & 0xffff);
            left.y -= value_of(pair >> 16);
        }
    }
    __syncthreads();
}

// Chunk `c` of the columns that belong to this block's channels of stream after stream.
DEVICE u32 column_chunk(u32 c, u32 width, u32 rank) {
    u32 own = width / (4 * RANKS * CHUNK);
    return c / own * (own * RANKS) + rank * own + c % own;
}

// The matrix, and which of its chunks belong to a block of threads: `blocks` times four of a row. Warp
// after warp takes AHEAD blocks beside each other, and in each a lane the chunk lane % 4 of three rows:
// lane / 4, and 8 and 16 more. Those of the first two are at `late` in shared memory, for each warp
// rows [16, WARP]; of odd rows, fours of chunks change places, so that eight lanes read different banks.
struct Columns {
    const uint4 *matrix;
    uint4 *late;
    u32 width, rank, blocks;

    // The first block that this warp takes of those from `first` on.
    __device__ __forceinline__ u32 own(u32 first) const {
        return first + threadIdx.x / WARP * AHEAD;
    }
    // Chunk `c` of the block's own, of row `r`.
    __device__ __forceinline__ const uint4 *at(u32 r, u32 c) const {
        return matrix + (u64)r * (width / CHUNK) + column_chunk(c, width, rank);
    }
    __device__ __forceinline__ uint4 *late_at(u32 r, u32 c) const {
        return late + (threadIdx.x / WARP * LATE + r) * WARP + (c ^ r % 2 * 4);
    }
};

DEVICE void fetch_columns(uint4 (&early)[AHEAD], const Columns &c, u32 first) {
    u32 lane = threadIdx.x % WARP, own = c.own(first);
    // Whole lines of each row, which other lanes of the warp take from there.
    if (4 * own + lane < 4 * c.blocks) {
#pragma unroll
        for (u32 r = 0; r < LATE; r++) copy16(c.late_at(r, lane), c.at(r, 4 * own + lane), true);
    }
#pragma unroll
    for (u32 n = 0; n < AHEAD; n++)
        if (own + n < c.blocks) early[n] = fixed(c.at(LATE + lane / 4, 4 * (own + n) + lane % 4));
}

// d [16, 8] += a [16, 16] b [16, 8].
DEVICE void multiply(float (&d)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32." NARROW "." NARROW ".f32 {%0, %1, %2, %3}, "
        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// Products of the streams with the matrix, of which the first AHEAD blocks have been fetched: sums of a
// warp's columns, to `to`. What a lane has of a chunk serves as two steps of eight rows: which columns
// meet in a step does not matter as long as both factors have them in the same order.
DEVICE void multiply_columns(float *to, uint4 (&early)[AHEAD], const Columns &c, const uint4 *planes,
                             float over) {
    u32 lane = threadIdx.x % WARP, part = lane / 4;
    float low[4] = {}, high[4] = {};
    for (u32 first = 0; first < c.blocks; first += AHEAD * WARPS) {
        // Every lane has read what comes next to its place.
        __syncwarp();
        if (first > 0) fetch_columns(early, c, first);
        copies_done();
        __syncwarp();
#pragma unroll
        for (u32 n = 0; n < AHEAD; n++) {
            u32 block = c.own(first) + n, chunk = 4 * n + lane % 4;
            if (block >= c.blocks) continue;
            uint4 b = {}, w = *c.late_at(lane / 4, chunk), v = *c.late_at(8 + lane / 4, chunk);
            uint4 u = early[n];
            if (part < PARTS) b = planes[(part * c.blocks + block) * 4 + lane % 4];
            multiply(low, w.x, v.x, w.y, v.y, b.x, b.y);
            multiply(high, u.x, 0, u.y, 0, b.x, b.y);
            multiply(low, w.z, v.z, w.w, v.w, b.z, b.w);
            multiply(high, u.z, 0, u.w, 0, b.z, b.w);
        }
    }
    float sums[3] = {low[0] + low[1], low[2] + low[3], high[0] + high[1]};
#pragma unroll
    for (u32 k = 0; k < 3; k++) {
        if (PARTS > 2) sums[k] += __shfl_xor_sync(0xffffffff, sums[k], 1);
        if (lane % 4 == 0) to[8 * k + lane / 4] = sums[k] * over;
    }
}

// Sums of all warps to all blocks.
DEVICE void send_sums(Shared &s, u32 rank) {
    const u32 pairs = SUMS / 2;
    for (u32 i = threadIdx.x; i < RANKS * pairs; i += THREADS) {
        u32 pair = i % pairs;
        float2 sum = {};
#pragma unroll
        for (u32 w = 0; w < WARPS; w++) {
            float2 part = *(const float2 *)&s.parts[w][2 * pair];
            sum.x += part.x;
            sum.y += part.y;
        }
        send_to(&s.collected[rank][2 * pair], &s.coming, i / pairs, sum.x, sum.y);
    }
}

DEVICE float total_of(const Shared &s, u32 r) {
    float sum = 0;
#pragma unroll
    for (u32 k = 0; k < RANKS; k++) sum += s.collected[k][r];
    return sum;
}

DEVICE float gate_of(float x) { return __fdividef(1.0f, 1.0f + expf(-x)); }

// How a token's row is read from its streams, and by what it is scaled then, in all lanes of a warp.
struct Reading {
    float pre[4], factor;
};

DEVICE Reading reading_of(const Shared &s, u32 d, float eps, float rms_eps,
                          float norm_eps) {
    // Lanes 0 to 3 have coefficients, those from 4 on products of streams.
    u32 lane = threadIdx.x % WARP;
    float own = total_of(s, lane < 4 ? lane : min(lane + COEFFICIENTS - 4, SUMS - 1));
    float of[PRODUCTS], over = __fdividef(1.0f, (float)d);
#pragma unroll
    for (u32 n = 0; n < PRODUCTS; n++) of[n] = __shfl_sync(0xffffffff, own, 4 + n);
    float rms = rsqrtf((of[0] + of[4] + (of[7] + of[9])) * (0.25f * over) + rms_eps);
    float pre = gate_of(own * rms * s.scale[0] + s.base[lane % 4]) + eps, all = 0;
    Reading r;
#pragma unroll
    for (u32 k = 0; k < 4; k++) r.pre[k] = __shfl_sync(0xffffffff, pre, k);
#pragma unroll
    for (u32 k = 0, n = 0; k < 4; k++)
#pragma unroll
        for (u32 j = k; j < 4; j++, n++) all += (j > k ? 2.0f : 1.0f) * r.pre[k] * r.pre[j] * of[n];
    // Where streams cancel, rounding may leave less than nothing.
    r.factor = rsqrtf(fmaxf(all * over, 0.0f) + norm_eps);
    return r;
}

// Gates of a token, by one warp.
DEVICE void make_gates(const Shared &s, float *gates, u32 d, u32 iterations, float eps,
                       float rms_eps) {
    u32 i = threadIdx.x % WARP, k = i % 16, stream = i % 4;
    // The products of streams with themselves.
    float square = total_of(s, COEFFICIENTS + stream * 4 - stream * (stream - 1) / 2);
    float rms = rsqrtf(sum_of_four(square) * __fdividef(0.25f, (float)d) + rms_eps);
    float post = 2.0f * gate_of(total_of(s, 4 + stream) * rms * s.scale[1] + s.base[4 + stream]);
    float c = total_of(s, 8 + k) * rms * s.scale[2] + s.base[8 + k];
    c = sinkhorn_of_four(c, iterations, eps);
    if (i < 4) gates[i] = post;
    if (i < 16) gates[4 + i] = c;
}
#endif

// One cluster per token: blocks 8 t to 8 t + 7. See hyper_mix and hyper_spread for the arguments; `y` is
// null if there is nothing to spread; d is a multiple of 256. Dynamic shared memory for this block's
// channels of the streams and of the norm, 5 d / 8 floats, the streams again in PARTS planes of half as
// many bytes, and LATE * THREADS chunks.
//
// The next kernel's loads would come between this one's and what those wait for, so it begins once
// they are there.
extern "C" __global__ void CLUSTER __launch_bounds__(THREADS, 2)
    cluster_turn(const u8 *a, const float *base, const float *scale, float *h, const float *y,
                 float *gates, float *x, u32 d, u32 iterations, float eps, float rms_eps,
                 const float *norm, float norm_eps, float *normed, i8 *codes, float *steps,
                 float2 *halves) {
#if __CUDA_ARCH__ >= 900
    __shared__ __align__(16) Shared s;
    extern __shared__ float4 held[];
    u32 t = blockIdx.x / RANKS, rank = blockIdx.x % RANKS, i = threadIdx.x;
    u32 fours = d / 4 / RANKS;
    u64 first = (u64)t * (d / 4) + rank * fours;
    if (i == 0) {
        coming_begin(&s.coming);
        coming_expect(&s.coming, RANKS * SUMS * 4);
    }
    __syncwarp();
    cluster_begin();
    float4 *weights = held + 4 * fours;
    uint4 early[AHEAD], *planes = (uint4 *)(weights + fours), *late = planes + PARTS * 2 * fours;
    Columns columns = {(const uint4 *)a, late, 4 * d, rank, d / (8 * RANKS)};
    fetch_columns(early, columns, 0);
    fetch_weights(s, weights, base, scale, norm, rank, fours);
    wait_for_inputs();
    gates += (u64)t * 20;
    Streams streams = {(float2 *)((float4 *)h + (u64)t * d + rank * fours),
                       y ? (const float2 *)((const float4 *)y + first) : 0, (const float4 *)gates,
                       2 * fours, d / 2};
    float products[PRODUCTS] = {};
    u32 largest = __reduce_max_sync(0xffffffff, hold_streams((float2 *)held, streams, products));
    if (i % WARP == 0) s.largest[i / WARP] = largest;
    __syncthreads();
    let_next_begin();
    u32 exponent = scale_exponent(s);
    narrow_streams((u32 *)planes, (const float2 *)held, 2 * fours, __uint_as_float(exponent << 23));
    float *parts = s.parts[i / WARP];
    multiply_columns(parts, early, columns, planes, __uint_as_float((254 - exponent) << 23));
    put_products(parts + COEFFICIENTS, products);
    copies_done();
    __syncthreads();
    // All blocks have begun, so their memory is there, and counts what comes.
    cluster_wait();
    send_sums(s, rank);
    coming_wait(&s.coming, 0);
    if (i >= READERS) {
        // Nobody needs the old gates any more: all blocks have read them.
        if (rank == RANKS - 1) make_gates(s, gates, d, iterations, eps, rms_eps);
        return;
    }
    Reading r = reading_of(s, d, eps, rms_eps, norm_eps);
    for (u32 j = i; j < fours; j += READERS) {
        float4 sum = {};
#pragma unroll
        for (u32 k = 0; k < 4; k++) {
            float4 v = held[k * fours + j];
            float w = r.pre[k];
            sum = make_float4(sum.x + w * v.x, sum.y + w * v.y, sum.z + w * v.z, sum.w + w * v.w);
        }
        ((float4 *)x)[first + j] = sum;
        if (!norm) continue;
        float4 v = scaled(sum, r.factor, weights[j]);
        ((float4 *)normed)[first + j] = v;
        if (codes) round_four(v, first + j, {codes, steps, halves});
    }
#endif
}
