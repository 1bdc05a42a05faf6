// From one half layer to the next, as hyper.cu does it, for few tokens of four streams: what the last
// half gave is spread over the streams, and the next one's input is read from them and normed. A
// cluster of eight blocks has a token, and exchanges sums through shared memory. FORMAT is that of the
// matrix [24, 4 d], of float precision.
//
// Each block takes an eighth of the channels of all four streams, holds them in shared memory, and
// multiplies the columns of the matrix that belong to them. All of them are on their way before the
// kernels in front have ended, EARLY coefficients to registers and the others to shared memory: so a
// block needs no more of a processor than others leave. The last warp has no columns: in the last block
// it makes the gates while the others go on.

#define RANKS 8
#define COEFFICIENTS 24
// The coefficients, and the sum of squares.
#define SUMS (COEFFICIENTS + 1)
#define EARLY 6
#define WARPS 8
#define THREADS (WARPS * WARP)

#if __CUDA_ARCH__ >= 900
DEVICE void cluster_barrier() {
    cluster_arrive();
    cluster_wait();
}

// Stores a value where `at` is in the shared memory of another block of the cluster.
DEVICE void store_at(float *at, u32 rank, float value) {
    asm volatile("st.shared::cluster.f32 [%0], %1;" :: "r"(address_in(at, rank)), "f"(value) : "memory");
}

struct Shared {
    float parts[WARPS][SUMS];     // of this block's warps
    float collected[RANKS][SUMS]; // of all blocks
    float totals[SUMS];
    float pre[4];
    float squares[WARPS];
    float all_squares[RANKS];
    float base[COEFFICIENTS], scale[3];
};

// What no kernel changes and is small comes before anybody waits, too: it has left the caches since the
// last token, and memory takes its time. `weights` are this block's of the norm, which may be null.
DEVICE void hold_weights(Shared &s, float4 *weights, const float *base, const float *scale,
                         const float *norm, u32 rank, u32 fours) {
    u32 i = threadIdx.x;
    if (i < COEFFICIENTS) s.base[i] = fixed(base + i);
    if (i < 3) s.scale[i] = fixed(scale + i);
    for (u32 j = i; norm && j < fours; j += blockDim.x)
        weights[j] = fixed((const float4 *)norm + rank * fours + j);
}

// Lanes that differ in the bit HALF, and in those below it, exchange halves of what is left to sum.
template <int HALF>
DEVICE void exchange(float (&v)[WARP]) {
    bool upper = threadIdx.x & HALF;
#pragma unroll
    for (int i = 0; i < HALF; i++) {
        float given = upper ? v[i] : v[i + HALF], kept = upper ? v[i + HALF] : v[i];
        v[i] = kept + __shfl_xor_sync(0xffffffff, given, HALF);
    }
    if constexpr (HALF > 1) exchange<HALF / 2>(v);
}

// Sums of each of SUMS numbers over a warp: lane r has that of number r.
DEVICE float sums_by_lane(const float (&sums)[SUMS]) {
    float v[WARP];
#pragma unroll
    for (int r = 0; r < WARP; r++) v[r] = r < SUMS ? sums[r] : 0.0f;
    exchange<WARP / 2>(v);
    return v[0];
}

// This block's channels of the four streams, `fours` groups of four each, to `held`: as they are, or,
// with a y, post[k] y + sum over j of C[j][k] h[j], which is written back.
DEVICE void hold_streams(float4 *held, float4 *h, const float4 *y, const float4 *gates, u32 fours,
                         u32 stride) {
    float4 g[5];
    if (y)
#pragma unroll
        for (int k = 0; k < 5; k++) g[k] = gates[k];
    for (u32 i = threadIdx.x; i < fours; i += blockDim.x) {
        float4 v[4], value;
#pragma unroll
        for (int k = 0; k < 4; k++) v[k] = h[(u64)k * stride + i];
        if (y) value = y[i];
#pragma unroll
        for (int k = 0; k < 4; k++) {
            float4 sum = v[k];
            if (y) {
                float post = (&g[0].x)[k];
                sum = make_float4(post * value.x, post * value.y, post * value.z, post * value.w);
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    float c = (&g[1 + j].x)[k];
                    sum.x += c * v[j].x;
                    sum.y += c * v[j].y;
                    sum.z += c * v[j].z;
                    sum.w += c * v[j].w;
                }
                h[(u64)k * stride + i] = sum;
            }
            held[k * fours + i] = sum;
        }
    }
    __syncthreads();
}

// Chunk `c` of the columns that belong to this block's channels of stream after stream.
DEVICE u32 column_chunk(u32 c, u32 width, u32 rank) {
    u32 own = width / (4 * RANKS * CHUNK);
    return c / own * (own * RANKS) + rank * own + c % own;
}

// The coefficients of a thread's chunk of columns; those in shared memory are CHUNKs of THREADS
// threads for each coefficient.
struct Ahead {
    Chunk early[EARLY];
    Chunk *late;
};

DEVICE void fetch_ahead(Ahead &to, Planes matrix, u32 width, u32 c) {
#pragma unroll
    for (u32 r = 0; r < COEFFICIENTS; r++) {
        if (r < EARLY) load(to.early[r], matrix, r, width, c);
        else copy16(to.late + (r - EARLY) * THREADS + threadIdx.x,
                    (const uint4 *)matrix.a + r * (width / CHUNK) + c, true);
    }
}

// Products of the streams with the matrix, and the sum of their squares, in s.totals of every block.
DEVICE void coefficients(Shared &s, Ahead &ahead, Planes matrix, const float *held, u32 width,
                         u32 rank) {
    u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    u32 chunks = width / CHUNK / RANKS;
    float sums[SUMS] = {};
    for (u32 c = threadIdx.x; warp < WARPS && c < chunks; c += THREADS) {
        float x[CHUNK];
        if (c >= THREADS) fetch_ahead(ahead, matrix, width, column_chunk(c, width, rank));
        copies_done();
#pragma unroll
        for (int i = 0; i < CHUNK; i += 4)
            *(float4 *)(x + i) = *(const float4 *)(held + c * CHUNK + i);
#pragma unroll
        for (int i = 0; i < CHUNK; i++) sums[COEFFICIENTS] += x[i] * x[i];
#pragma unroll
        for (u32 r = 0; r < COEFFICIENTS; r++) {
            Chunk k = r < EARLY ? ahead.early[r] : ahead.late[(r - EARLY) * THREADS + threadIdx.x];
            sums[r] += dot(k, {0, 0, 0, x}, 0);
        }
    }
    __syncwarp();
    float sum = sums_by_lane(sums);
    if (warp < WARPS && lane < SUMS) s.parts[warp][lane] = sum;
    __syncthreads();
    // All blocks have begun, so their memory is there.
    cluster_wait();
    for (u32 i = threadIdx.x; i < RANKS * SUMS; i += blockDim.x) {
        u32 r = i % SUMS;
        float sum = 0;
        for (u32 w = 0; w < WARPS; w++) sum += s.parts[w][r];
        store_at(&s.collected[rank][r], i / SUMS, sum);
    }
    cluster_barrier();
    if (threadIdx.x < SUMS) {
        float sum = 0;
        for (u32 k = 0; k < RANKS; k++) sum += s.collected[k][threadIdx.x];
        s.totals[threadIdx.x] = sum;
    }
    __syncthreads();
}

// Gates of a token, by one warp.
DEVICE void make_gates(const Shared &s, float *gates, float rms, u32 iterations, float eps) {
    u32 i = threadIdx.x % WARP, k = i % 16;
    if (i < 4) gates[i] = 2.0f * sigmoid(s.totals[4 + i] * rms * s.scale[1] + s.base[4 + i]);
    float c = s.totals[8 + k] * rms * s.scale[2] + s.base[8 + k];
    c = sinkhorn_of_four(c, iterations, eps);
    if (i < 16) gates[4 + i] = c;
}

#endif

// One cluster per token: blocks 8 t to 8 t + 7. See hyper_mix and hyper_spread for the arguments; `y` is
// null if there is nothing to spread. Dynamic shared memory for this block's channels of the
// streams and of the norm, 5 d / 8 floats, and (COEFFICIENTS - EARLY) * THREADS chunks.
extern "C" __global__ void CLUSTER __launch_bounds__(THREADS + WARP, 2)
    cluster_turn(const u8 *a, const float *base, const float *scale, float *h, const float *y,
                 float *gates, float *x, u32 d, u32 iterations, float eps, float rms_eps,
                 const float *norm, float norm_eps, float *normed, i8 *codes, float *steps,
                 float2 *halves) {
    let_next_begin();
#if __CUDA_ARCH__ >= 900
    cluster_arrive();
    __shared__ Shared s;
    extern __shared__ float4 held[];
    u32 t = blockIdx.x / RANKS, rank = blockIdx.x % RANKS, i = threadIdx.x;
    u32 fours = d / 4 / RANKS, chunks = 4 * d / CHUNK / RANKS;
    u64 first = (u64)t * (d / 4) + rank * fours;
    float4 *weights = held + 4 * fours;
    Ahead ahead;
    ahead.late = (Chunk *)(weights + fours);
    if (i < THREADS && i < chunks)
        fetch_ahead(ahead, {a, 0, 0}, 4 * d, column_chunk(i, 4 * d, rank));
    hold_weights(s, weights, base, scale, norm, rank, fours);
    wait_for_inputs();
    gates += (u64)t * 20;
    float4 *streams = (float4 *)h + (u64)t * d + rank * fours;
    hold_streams(held, streams, y ? (const float4 *)y + first : 0, (const float4 *)gates, fours,
                 d / 4);
    coefficients(s, ahead, {a, 0, 0}, (const float *)held, 4 * d, rank);
    float rms = 1.0f / sqrtf(s.totals[COEFFICIENTS] / (4 * d) + rms_eps);
    if (i >= THREADS) {
        // Nobody needs the old gates any more: all blocks have met since they were read.
        if (rank == RANKS - 1) make_gates(s, gates, rms, iterations, eps);
        return;
    }
    if (i < 4) s.pre[i] = sigmoid(s.totals[i] * rms * s.scale[0] + s.base[i]) + eps;
    __syncthreads();
    float squares = 0;
    for (u32 j = i; j < fours; j += THREADS) {
        float4 sum = {};
#pragma unroll
        for (u32 k = 0; k < 4; k++) {
            float4 v = held[k * fours + j];
            float w = s.pre[k];
            sum = make_float4(sum.x + w * v.x, sum.y + w * v.y, sum.z + w * v.z, sum.w + w * v.w);
        }
        held[j] = sum;
        ((float4 *)x)[first + j] = sum;
        squares += sum.x * sum.x + sum.y * sum.y + sum.z * sum.z + sum.w * sum.w;
    }
    if (!norm) return;
    squares = warp_sum(squares);
    if (i % WARP == 0) s.squares[i / WARP] = squares;
    __syncthreads();
    if (i < RANKS) {
        float sum = 0;
        for (u32 w = 0; w < WARPS; w++) sum += s.squares[w];
        store_at(&s.all_squares[rank], i, sum);
    }
    cluster_barrier();
    float all = 0;
    for (u32 k = 0; k < RANKS; k++) all += s.all_squares[k];
    float factor = 1.0f / sqrtf(all / d + norm_eps);
    for (u32 j = i; j < fours; j += THREADS) {
        float4 v = scaled(held[j], factor, weights[j]);
        ((float4 *)normed)[first + j] = v;
        if (codes) round_four(v, first + j, {codes, steps, halves});
    }
#endif
}
