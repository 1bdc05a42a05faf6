// The key-value row of a token, from what a product left to what is stored: normed, rotated, rounded. By
// one block of threads. Comes after rows.cuh, and like it once for each layout of a unit.

// What a product left for one row per token: x [rows, width], to be normed to out with weight [width].
struct Normed {
    const float *x, *weight;
    float *out;
    float eps;
};

DEVICE void bring_norm_near(const float *weight) { bring_near(weight, WIDTH * 4); }

// out[t] = rms(x[t]) * weight, rotated; stored as row t of `fresh`, which has room for `capacity`, as the
// layout says. angles [rows, pairs]; `row` is in shared memory, aligned to 16 bytes.
DEVICE void store_normed(const Normed &n, const float2 *angles, u8 *fresh, u32 capacity, u32 pairs,
                         u32 t, float *row) {
    u64 first = (u64)t * WIDTH;
    float scale = rms_scale((const float4 *)(n.x + first), WIDTH / 4, n.eps);
    for (u32 i = threadIdx.x; i < WIDTH / 4; i += blockDim.x)
        ((float4 *)row)[i] =
            scaled(((const float4 *)(n.x + first))[i], scale, fixed((const float4 *)n.weight + i));
    __syncthreads();
    for (u32 i = threadIdx.x; i < pairs; i += blockDim.x) {
        float2 *pair = (float2 *)(row + WIDTH - 2 * pairs) + i;
        *pair = turned(*pair, angles[(u64)t * pairs + i]);
    }
    __syncthreads();
    for (u32 i = threadIdx.x; i < WIDTH; i += blockDim.x) n.out[first + i] = row[i];
    round_row(row, fresh, capacity, t);
}
