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

// Rotates each head of x [tokens * heads, WIDTH], if there are angles [tokens, pairs], and rounds it,
// in place.
extern "C" __global__ void round_heads(float *x, const float2 *angles, u32 heads, u32 pairs) {
    begin();
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
}
