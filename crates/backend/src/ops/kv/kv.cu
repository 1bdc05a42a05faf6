// Storing and keeping rows; see mod.rs and normed.cuh. One block of threads per row.

// fresh[t] = x[t], rounded as the layout says. x [rows, WIDTH].
extern "C" __global__ void store_rows(const float *x, u8 *fresh, u32 capacity) {
    begin();
    __shared__ float row[WIDTH];
    for (u32 i = threadIdx.x; i < WIDTH; i += blockDim.x) row[i] = x[(u64)blockIdx.x * WIDTH + i];
    __syncthreads();
    round_row(row, fresh, capacity, blockIdx.x);
}

// Blocks: tokens (x); key-value rows, then the latents of queries (y), `fours` groups of four values
// wide. `codes` and so on are the latents' rounded copy, if it has one.
extern "C" __global__ void latents(const float *row, const float *row_weight, float *row_out,
                                   float row_eps, const float2 *angles, u8 *fresh, u32 capacity,
                                   u32 pairs, const float4 *query, const float4 *query_weight,
                                   float4 *query_out, float query_eps, i8 *codes, float *steps,
                                   float2 *halves, u32 fours) {
    __shared__ __align__(16) float stored[WIDTH];
    begin();
    if (blockIdx.y == 0)
        return store_normed({row, row_weight, row_out, row_eps}, angles, fresh, capacity, pairs,
                            blockIdx.x, stored);
    norm_row(query, query_weight, query_out, {codes, steps, halves}, fours, blockIdx.x, query_eps);
}

// The last min(len, ring) rows of segment blockIdx.y, as they are, to the ring of its session.
extern "C" __global__ void keep_window(const u8 *fresh, u32 capacity, const Segment *segments,
                                       u8 *slots, u64 slot_bytes, u64 offset, u32 ring) {
    begin();
    Segment s = segments[blockIdx.y];
    u32 skipped = s.len > ring ? s.len - ring : 0;
    keep_row(fresh, capacity, s, skipped + blockIdx.x, slots, slot_bytes, offset, ring);
}

// A warp takes a head of so many channels, four of them in each lane.
#if KIND == 1 && ROUNDED && WIDTH == 4 * WARP
// `v` and that of the lane `distance` further or before, as their sum and difference.
DEVICE float crossed(float v, u32 distance) {
    float other = __shfl_xor_sync(0xffffffff, v, distance);
    return threadIdx.x & distance ? other - v : v + other;
}

// A channel in units of its group's scale, which are powers of two, as its code stands for.
DEVICE float rounded_to(float v, float inverse, float scale) {
    return e2m1_value(e2m1_code(v * inverse)) * scale;
}

// Four channels of a head, rounded; see round_row.
DEVICE float4 rounded_four(float4 v) {
    v = make_float4(v.x + v.y, v.x - v.y, v.z + v.w, v.z - v.w);
    v = make_float4(v.x + v.z, v.y + v.w, v.x - v.z, v.y - v.w);
#pragma unroll
    for (u32 distance = 1; distance < WARP; distance *= 2)
        v = make_float4(crossed(v.x, distance), crossed(v.y, distance), crossed(v.z, distance),
                        crossed(v.w, distance));
    float all = rsqrtf((float)WIDTH);
    v = make_float4(v.x * all, v.y * all, v.z * all, v.w * all);
    float max = fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
    bool finite = fabsf(v.x) < INFINITE && fabsf(v.y) < INFINITE && fabsf(v.z) < INFINITE
               && fabsf(v.w) < INFINITE;
    // Eight lanes have a group.
    u32 lanes = 0xffu << (threadIdx.x % WARP & ~7u);
    finite = (__ballot_sync(0xffffffff, finite) & lanes) == lanes;
    for (u32 distance = 1; distance < 8; distance *= 2)
        max = fmaxf(max, __shfl_xor_sync(0xffffffff, max, distance));
    u32 exponent = ceil_exponent(fmaxf(max, 6.0f * __uint_as_float(1u << 23)) / 6.0f);
    float scale = finite ? exponent_scale(exponent) : NOT_A_NUMBER;
    float inverse = finite ? exponent_scale(254 - exponent) : 0.0f;
    return make_float4(rounded_to(v.x, inverse, scale), rounded_to(v.y, inverse, scale),
                       rounded_to(v.z, inverse, scale), rounded_to(v.w, inverse, scale));
}
#endif

// Rotates each head of x [tokens * heads, WIDTH], if there are angles [tokens, pairs], and rounds it,
// in place. A block of four warps takes a head, or four of them.
extern "C" __global__ void round_heads(float *x, const float2 *angles, u32 rows, u32 heads,
                                       u32 pairs) {
    begin();
#if KIND == 1 && ROUNDED && WIDTH == 4 * WARP
    u32 head = blockIdx.x * 4 + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (head >= rows) return;
    float4 *at = (float4 *)x + (u64)head * WARP + lane;
    float4 v = *at;
    u32 plain = WIDTH / 2 - pairs;
    if (angles && 2 * lane >= plain) {
        float4 a = *(const float4 *)(angles + (u64)(head / heads) * pairs + 2 * lane - plain);
        v = turned(v, (const float2 *)&a, 1.0f);
    }
    *at = rounded_four(v);
#else
    __shared__ __align__(8) float row[WIDTH];
    x += (u64)blockIdx.x * WIDTH;
    for (u32 i = threadIdx.x; i < WIDTH; i += blockDim.x) row[i] = x[i];
    __syncthreads();
    if (angles) {
        angles += (u64)(blockIdx.x / heads) * pairs;
        for (u32 i = threadIdx.x; i < pairs; i += blockDim.x) {
            float2 *pair = (float2 *)(row + WIDTH - 2 * pairs) + i;
            *pair = turned(*pair, angles[i]);
        }
        __syncthreads();
    }
    round_row(row, 0, 1, 0);
    for (u32 i = threadIdx.x; i < WIDTH; i += blockDim.x) x[i] = row[i];
#endif
}
