// Storing and keeping rows; see mod.rs. One block of threads per row.

// fresh[t] = x[t], rounded as the layout says. x [rows, WIDTH].
extern "C" __global__ void store_rows(const float *x, u8 *fresh, u32 capacity) {
    begin();
    __shared__ float row[WIDTH];
    for (u32 i = threadIdx.x; i < WIDTH; i += blockDim.x) row[i] = x[(u64)blockIdx.x * WIDTH + i];
    __syncthreads();
    round_row(row, fresh, capacity, blockIdx.x);
}

// normed[t] = rms(x[t]) * weight, rotated; stored as above. angles [rows, pairs].
extern "C" __global__ void store_normed(const float *x, const float *weight, const float2 *angles,
                                        float *normed, u8 *fresh, u32 capacity, u32 pairs,
                                        float eps) {
    __shared__ __align__(8) float row[WIDTH];
    begin();
    u64 first = (u64)blockIdx.x * WIDTH;
    double sum = 0;
    for (u32 i = threadIdx.x; i < WIDTH; i += blockDim.x) {
        row[i] = x[first + i];
        sum += (double)row[i] * row[i];
    }
    float scale = (float)(1.0 / sqrt(block_sum(sum) / WIDTH + (double)eps));
    for (u32 i = threadIdx.x; i < WIDTH; i += blockDim.x) row[i] = row[i] * scale * fixed(weight + i);
    __syncthreads();
    for (u32 i = threadIdx.x; i < pairs; i += blockDim.x) {
        float2 *pair = (float2 *)(row + WIDTH - 2 * pairs) + i;
        *pair = turned(*pair, angles[(u64)blockIdx.x * pairs + i]);
    }
    __syncthreads();
    for (u32 i = threadIdx.x; i < WIDTH; i += blockDim.x) normed[first + i] = row[i];
    round_row(row, fresh, capacity, blockIdx.x);
}

DEVICE void copy(const u8 *from, u8 *to, u32 bytes) {
    for (u32 i = threadIdx.x; i < bytes; i += blockDim.x) to[i] = from[i];
}

// The last min(len, ring) rows of segment blockIdx.y, as they are, to the ring of its session.
extern "C" __global__ void keep_window(const u8 *fresh, u32 capacity, const Segment *segments,
                                       u8 *slots, u64 slot_bytes, u64 offset, u32 ring) {
    begin();
    Segment s = segments[blockIdx.y];
    u32 skipped = s.len > ring ? s.len - ring : 0, i = skipped + blockIdx.x;
    if (i >= s.len) return;
    RowPlace from = row_place(fresh, capacity, s.first_row + i);
    RowPlace to = row_place(slots + s.slot * slot_bytes + offset, ring, (s.start + i) % ring);
#if !PACKED
    copy(from.first, (u8 *)to.first, 4 * WIDTH);
#elif KIND == 0
    copy(from.first, (u8 *)to.first, PLAIN);
    copy(from.second, (u8 *)to.second, 2 * ROTARY);
    copy(from.third, (u8 *)to.third, PLAIN / 64);
#else
    copy(from.first, (u8 *)to.first, WIDTH / 2);
    copy(from.second, (u8 *)to.second, WIDTH / 32);
#endif
}

// Rounds each head of x [heads, WIDTH], in place.
extern "C" __global__ void round_heads(float *x) {
    begin();
    __shared__ float row[WIDTH];
    x += (u64)blockIdx.x * WIDTH;
    for (u32 i = threadIdx.x; i < WIDTH; i += blockDim.x) row[i] = x[i];
    __syncthreads();
    round_row(row, 0, 1, 0);
    for (u32 i = threadIdx.x; i < WIDTH; i += blockDim.x) x[i] = row[i];
}
