// The read of four streams and the norm of what was read, as hyper.cu does them, for few tokens: a
// cluster of eight blocks has a token, and exchanges sums through shared memory. FORMAT is that of the
// matrix [24, 4 d], of float precision.
//
// Each block takes an eighth of the columns of the matrix and, later, of the channels. The first piece
// of the matrix is on its way before the kernels in front have ended. The last warp has no columns: in
// the last block it makes the gates while the others go on.

#define RANKS 8
#define COEFFICIENTS 24
// The coefficients, and the sum of squares.
#define SUMS (COEFFICIENTS + 1)
#define WARPS 8
#define THREADS (WARPS * WARP)

#if __CUDA_ARCH__ >= 900
#define CLUSTER __cluster_dims__(RANKS, 1, 1)

DEVICE void cluster_barrier() {
    asm volatile("barrier.cluster.arrive.aligned;\n\tbarrier.cluster.wait.aligned;" ::: "memory");
}

// Stores a value where `at` is in the shared memory of another block of the cluster.
DEVICE void store_at(float *at, u32 rank, float value) {
    u32 here = (u32)__cvta_generic_to_shared(at), there;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(here), "r"(rank));
    asm volatile("st.shared::cluster.f32 [%0], %1;" :: "r"(there), "f"(value) : "memory");
}

struct Shared {
    float parts[WARPS][SUMS];     // of this block's warps
    float collected[RANKS][SUMS]; // of all blocks
    float totals[SUMS];
    float pre[4];
    float squares[WARPS];
    float all_squares[RANKS];
};

// Products of the streams h with the matrix, and the sum of squares of h, in s.totals of every block.
DEVICE void coefficients(Shared &s, Planes matrix, const float *h, u32 width, u32 rank) {
    u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    u32 chunks = width / CHUNK / RANKS, first = rank * chunks;
    Chunk loaded[COEFFICIENTS];
    u32 c = threadIdx.x;
#pragma unroll
    for (int r = 0; r < COEFFICIENTS; r++)
        if (warp < WARPS && c < chunks) load(loaded[r], matrix, r, width, first + c);
    wait_for_inputs();
    float sums[SUMS] = {};
    while (warp < WARPS && c < chunks) {
        float x[CHUNK];
#pragma unroll
        for (int i = 0; i < CHUNK; i += 4)
            *(float4 *)(x + i) = *(const float4 *)(h + (u64)(first + c) * CHUNK + i);
#pragma unroll
        for (int i = 0; i < CHUNK; i++) sums[COEFFICIENTS] += x[i] * x[i];
#pragma unroll
        for (int r = 0; r < COEFFICIENTS; r++) sums[r] += dot(loaded[r], {0, 0, 0, x}, 0);
        c += THREADS;
        if (c >= chunks) break;
#pragma unroll
        for (int r = 0; r < COEFFICIENTS; r++) load(loaded[r], matrix, r, width, first + c);
    }
    __syncwarp();
#pragma unroll
    for (int r = 0; r < SUMS; r++) {
        float sum = warp_sum(sums[r]);
        if (warp < WARPS && lane == 0) s.parts[warp][r] = sum;
    }
    __syncthreads();
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
DEVICE void make_gates(const Shared &s, const float *base, const float *scale, float *gates,
                       float rms, u32 iterations, float eps) {
    u32 i = threadIdx.x % WARP, k = i % 16;
    if (i < 4) gates[i] = 2.0f * sigmoid(s.totals[4 + i] * rms * scale[1] + base[4 + i]);
    float c = s.totals[8 + k] * rms * scale[2] + base[8 + k];
    c = sinkhorn_of_four(c, iterations, eps);
    if (i < 16) gates[4 + i] = c;
}

#else
#define CLUSTER
#endif

// One cluster per token: blocks 8 t to 8 t + 7. See hyper_mix for the arguments.
extern "C" __global__ void CLUSTER __launch_bounds__(THREADS + WARP, 1)
    cluster_mix(const u8 *a, const float *base, const float *scale, const float *h, float *gates,
                float *x, u32 d, u32 iterations, float eps, float rms_eps, const float *norm,
                float norm_eps, float *normed, i8 *codes, float *steps, float2 *halves) {
    let_next_begin();
#if __CUDA_ARCH__ >= 900
    __shared__ Shared s;
    u32 t = blockIdx.x / RANKS, rank = blockIdx.x % RANKS, i = threadIdx.x;
    h += (u64)t * 4 * d;
    coefficients(s, {a, 0, 0}, h, 4 * d, rank);
    float rms = 1.0f / sqrtf(s.totals[COEFFICIENTS] / (4 * d) + rms_eps);
    if (i >= THREADS) {
        if (rank == RANKS - 1)
            make_gates(s, base, scale, gates + (u64)t * 20, rms, iterations, eps);
        return;
    }
    if (i < 4) s.pre[i] = sigmoid(s.totals[i] * rms * scale[0] + base[i]) + eps;
    __syncthreads();
    u32 fours = d / 4, first = rank * (fours / RANKS), end = first + fours / RANKS;
    float4 *to = (float4 *)(x + (u64)t * d);
    float squares = 0;
    for (u32 j = first + i; j < end; j += THREADS) {
        float4 sum = {};
#pragma unroll
        for (u32 k = 0; k < 4; k++) {
            float4 v = ((const float4 *)h)[(u64)k * fours + j];
            float w = s.pre[k];
            sum = make_float4(sum.x + w * v.x, sum.y + w * v.y, sum.z + w * v.z, sum.w + w * v.w);
        }
        to[j] = sum;
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
    for (u32 j = first + i; j < end; j += THREADS) {
        float4 v = scaled(to[j], factor, fixed((const float4 *)norm + j));
        u64 at = (u64)t * fours + j;
        ((float4 *)normed)[at] = v;
        if (codes) round_four(v, at, {codes, steps, halves});
    }
#endif
}
